"""Keras' logits against the native engine's, on random images."""

import json
import os
import subprocess
import tempfile

import numpy

from trainyard_program.to_native import native
from trainyard_program.to_native.refused import Refused, shown

VALUES = 1 << 26  # of all activations together, roughly
IMAGES_MAX = 32
LIMIT_S = 1_800


def images(shape, activations, seed=1):
    """Bytes, (count, channels, height, width)."""
    count = max(2, min(IMAGES_MAX, VALUES // max(1, activations)))
    random = numpy.random.default_rng(seed)
    return random.integers(0, 256, (count, shape.channels, shape.height, shape.width), dtype="uint8")


def of_keras(model, head, pixels, raw, input_shape):
    """The model's output without the softmax or sigmoid at its end."""
    import keras

    if head is not None:
        layer = model.get_layer(head.source)
        if hasattr(layer, "activation"):
            layer.activation = keras.activations.linear
        else:
            layer.call = lambda inputs, mask=None: inputs
    values = pixels.astype("float32") if raw else (pixels / 255.0).astype("float32")
    values = values.transpose(0, 2, 3, 1).reshape(len(pixels), *input_shape)
    logits = keras.ops.convert_to_numpy(model(values, training=False)).astype("float64")
    logits = logits.reshape(len(pixels), -1)
    if head is not None and head.options["function"] == "sigmoid":
        logits = numpy.concatenate([numpy.zeros_like(logits), logits], axis=1)
    return logits


def of_engine(network, weights_path, pixels):
    """Asks the engine itself: the program that TRAINYARD_LOGITS names."""
    program = os.environ.get("TRAINYARD_LOGITS")
    if not program:
        raise Refused("TRAINYARD_LOGITS is not set: expected the path of trainyard-logits, which checks the translation")
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("network.json", "pixels", "logits")]
        with open(paths[0], "w", encoding="utf-8") as file:
            json.dump(network, file)
        pixels.tofile(paths[1])
        command = [program, "--network", paths[0], "--weights", weights_path, "--pixels", paths[1], "--logits", paths[2]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise Refused(f"the native engine could not be asked: {shown(error)}") from None
        if done.returncode != 0:
            raise Refused(f"the native engine refuses the network: {done.stderr.strip()[-1000:] or done.returncode}")
        return numpy.fromfile(paths[2], dtype="float32").reshape(len(pixels), -1).astype("float64")


def message(shape, classes, layers):
    """The network as a Network of spec.proto, in JSON form."""
    image = {"channels": shape.channels, "height": shape.height, "width": shape.width}
    return {"input": image, "classes": classes, "layers": list(map(native.message, layers))}


def distance(expected, found):
    """Relative L2."""
    if expected.shape != found.shape or not numpy.all(numpy.isfinite(expected)):
        raise Refused(f"Keras' own logits are not finite, or not {found.shape} but {expected.shape} in shape")
    norm = float(numpy.linalg.norm(expected))
    return float(numpy.linalg.norm(expected - found)) / (norm if norm > 0 else 1.0)
