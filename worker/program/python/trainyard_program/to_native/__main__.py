"""python3 -m trainyard_program.to_native PATH: writes trainyard.yaml, weights.safetensors and translation.txt.

They go to TRAINYARD_OUTPUT_DIR. The result is the relative L2 distance between Keras' logits and the native ones.
"""

import math
import os
import sys

import numpy
from safetensors.numpy import save_file

from trainyard_program import channel
from trainyard_program.to_native import affine, config, files, native, program, spec, verify
from trainyard_program.to_native.refused import Refused, shown
from trainyard_program.to_native.translate import translate

ENDINGS = (".keras", ".h5", ".hdf5", ".json", ".py")
DISTANCE_MAX = 1e-4


def tensors_of(chain, model):
    """{id of the layer: {role: array}}, each of the shape that the engine expects."""
    found = {}
    for layer in chain:
        if layer.tensors is not None:
            try:
                made = layer.tensors(model.get_layer(layer.source))
            except (ValueError, AttributeError) as error:
                raise Refused(f"{layer.origin}: its weights do not fit it: {shown(error)}") from None
            for role, dims in layer.dims.items():
                if made[role].shape != tuple(dims):
                    raise Refused(f"{layer.origin}: {role}: found {made[role].shape}, expected {tuple(dims)}")
                made[role] = numpy.ascontiguousarray(made[role], dtype="float32")
            found[id(layer)] = made
        found.update(tensors_of(layer.body, model))
        found.update(tensors_of(layer.shortcut, model))
    return found


def names_of(layers, tensors):
    return {f"{name}.{role}": tensors[id(layer)][role] for name, layer in native.named(layers) for role in layer.dims}


def table(layers, indent=""):
    """What became of each layer, one a line."""
    for layer in layers:
        options = spec.written(layer)
        yield f"{indent}{shown(layer.origin)} -> {layer.kind}" + (f" {spec.flow(options)}" if options else "")
        yield from table(layer.body, indent + "  ")
        yield from table(layer.shortcut, indent + "  shortcut: ")


class Import:
    def __init__(self, path):
        if not path.endswith(ENDINGS):
            raise Refused(f"{shown(path)}: expected a name that ends in {', '.join(ENDINGS)}")
        if not os.path.isfile(path):
            raise Refused(f"{shown(path)}: no such file")
        self.path = path
        self.program = program.run(path) if path.endswith(".py") else None
        text = self.program.config if self.program else files.read_config(path)
        self.config = config.parse(text, path)
        self.graph = config.graph_of(self.config)
        self.chain, self.shape, self.classes, self.head = translate(self.graph)

    def run(self, output):
        model = self.program.model if self.program else self._load()
        tensors = tensors_of(self.chain, model)
        layers, raw, told = affine.settle(self.chain, tensors, self.shape.channels)
        with_weights = not self.path.endswith(".json")
        weights_path = os.path.join(output if with_weights else os.environ.get("TMPDIR", "/tmp"), "weights.safetensors")
        save_file(names_of(layers, tensors), weights_path)
        self.lines = told + list(table(layers)) + self._remarks(raw)
        self._write(output, layers, with_weights)
        pixels = verify.images(self.shape, self._activations())
        expected = verify.of_keras(model, self.head, pixels, raw, self.graph.input_shape)
        found = verify.of_engine(verify.message(self.shape, self.classes, layers), weights_path, pixels)
        return layers, verify.distance(expected, found)

    def _load(self):
        return files.load(self.path, self.config, native.parameters(self.chain))

    def _activations(self):
        return self.shape.size() * len(self.graph.nodes) * 4

    def _remarks(self, raw):
        lines = [f"images: as bytes; the Keras model is taken to expect them from 0 to {255 if raw else 1}"]
        if self.head is not None:
            lines.insert(0, f"{self.head.origin}: {self.head.options['function']} -> nothing, the loss contains it")
        if self.program is not None and self.program.stand_in:
            lines.append(f"data: random images stood in for keras.datasets.{self.program.data_set}")
        return lines

    def _write(self, output, layers, with_weights):
        name = os.path.splitext(os.path.basename(self.path))[0]
        compiled = self.config.get("compile_config")
        text = spec.render(
            os.path.basename(self.path), name, self.shape, self.classes, layers, compiled, self.program, with_weights
        )
        for file, content in (("trainyard.yaml", text), ("translation.txt", "\n".join(self.lines) + "\n")):
            with open(os.path.join(output, file), "w", encoding="utf-8") as out:
                out.write(content)


def main(path):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU rounds differently, and is not worth waiting for
    output = os.environ.get("TRAINYARD_OUTPUT_DIR") or os.getcwd()
    channel.phase("loading")
    work = Import(path)
    layers, distance = work.run(output)
    for line in work.lines:
        print(line)
    channel.emit({"model": {"description": work.graph.name, "parameters": native.parameters(layers, True)}})
    print(f"relative L2 distance of the logits: {distance:.3g}")
    channel.emit({"epoch": 1, "step": 1, "loss": distance, "val_loss": distance})
    if not math.isfinite(distance) or distance > DISTANCE_MAX:
        raise Refused(
            f"the native logits differ from Keras' by {distance:.3g} (relative L2), expected at most {DISTANCE_MAX:g}"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m trainyard_program.to_native PATH")
    try:
        main(sys.argv[1])
    except Refused as refusal:
        channel.fail(str(refusal))
    except MemoryError:
        channel.fail(f"{sys.argv[1]}: not enough memory to build the model")
