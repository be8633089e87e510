"""Native layers as values: what network/network.h holds, with the tensors that come from Keras."""

import dataclasses
import math

# Limits of network/shapes.h, and what an attempt can bear to hold several times over.
FILTERS_MAX = 65_536
UNITS_MAX = 1 << 20
EXTENT_MAX = 1_024
SIDE_MAX = 16_384
NESTING_MAX = 16
PARAMETERS_MAX = 1 << 29
ACTIVATIONS_MAX = 1 << 28  # of one image, over all layers

POOLS = {"max_pool": "MAX", "avg_pool": "AVERAGE"}


@dataclasses.dataclass
class Layer:
    """`kind` and `options` in the words of trainyard.yaml; extents are (vertical, horizontal), padding is "same" or
    (top, bottom, left, right). Kinds that only the translation knows: "pad", "affine", "head" (softmax or sigmoid).
    """

    kind: str
    origin: str  # the Keras layer, for people
    options: dict = dataclasses.field(default_factory=dict)
    dims: dict = dataclasses.field(default_factory=dict)  # role -> shape, in the file's order
    tensors: object = None  # function(arrays of the Keras layer) -> {role: array}
    source: str = ""  # name of the Keras layer that has the arrays
    body: list = dataclasses.field(default_factory=list)
    shortcut: list = dataclasses.field(default_factory=list)


def parameters(layers, trainable=False):
    """How many values the tensors of all layers have; `trainable`: without running statistics."""
    return sum(
        math.prod(dims)
        for _, layer in named(layers)
        for role, dims in layer.dims.items()
        if not (trainable and role.startswith("running"))
    )


def named(layers, prefix="layers"):
    """(name in the weights file, layer) of all that have tensors, in the engine's order."""
    for index, layer in enumerate(layers):
        name = f"{prefix}.{index}"
        yield from named(layer.body, name + ".body")
        yield from named(layer.shortcut, name + ".shortcut")
        if layer.dims:
            yield name, layer


def _extent(pair):
    return {"height": pair[0], "width": pair[1]}


def _padding(padding):
    if padding == "same":
        return {"same": True}
    return dict(zip(("top", "bottom", "left", "right"), padding))


def message(layer):
    """The layer as a Layer of spec.proto, in JSON form."""
    options = dict(layer.options)
    for key in ("kernel", "stride"):
        if key in options:
            options[key] = _extent(options[key])
    if "padding" in options:
        options["padding"] = _padding(options["padding"])
    if layer.kind in POOLS:
        return {"pool": {"kind": POOLS[layer.kind], **options}}
    if layer.kind == "leaky_relu":
        return {"relu": options}
    if layer.kind == "residual":
        return {"residual": {"body": list(map(message, layer.body)), "shortcut": list(map(message, layer.shortcut))}}
    return {layer.kind: options}
