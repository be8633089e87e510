"""From a Keras CNN to a native spec and its weights: `python3 -m trainyard_program.to_native PATH`.

`files` and `program` get at a model's configuration, `config` makes a graph of it, `translate` native layers of that
(by the table in `layers`), `affine` settles what stands before the first weights, `spec` and `weights` write, and
`verify` compares Keras' logits with the native engine's. Nothing of a file is built before all of it is known to be
translatable and of a bearable size. docs/import.md says what users see of it.
"""
