"""A Keras model from a network's description (tests/worker/engine/support/description.h)."""

import json
import math

import keras
import numpy as np
from keras import layers

from networks import window


def padding_of(kind, options):
    """-> Keras' name of it, and the zeros to put around before, where it has none."""
    padding = options.get("padding", [0, 0, 0, 0])
    if padding == "same":
        return "same", None
    if not any(padding):
        return "valid", None
    if kind != "conv":
        raise ValueError(f"{kind}: found a padding of {padding}, expected none or \"same\"")
    return "valid", (tuple(padding[:2]), tuple(padding[2:]))


def make_window(kind, options, shape, name):
    """-> the layers of a convolution or a pool, and the shape of what they give."""
    kernel, stride, pads, out = window(options, shape, pool=kind != "conv")
    padding, zeros = padding_of(kind, options)
    if zeros and stride == [1, 1] and all(2 * before == 2 * after == kernel[i] - 1
                                          for i, (before, after) in enumerate(pads)):
        padding, zeros = "same", None  # needs no copy with zeros around it
    if kind != "conv":
        pool = {"max_pool": layers.MaxPooling2D, "avg_pool": layers.AveragePooling2D}[kind]
        return [pool(kernel, stride, padding)], (shape[0], *out)
    filters = options["filters"]
    conv = layers.Conv2D(filters, kernel, stride, padding, groups=options.get("groups", 1),
                         use_bias=options.get("bias", True), kernel_initializer="he_normal", name=name)
    return ([layers.ZeroPadding2D(zeros)] if zeros else []) + [conv], (filters, *out)


def apply_layer(kind, options, x, shape, name):
    """-> what the layer gives of x, and its shape as (channels, height, width)."""
    if kind in ("conv", "max_pool", "avg_pool"):
        made, shape = make_window(kind, options, shape, name)
        for layer in made:
            x = layer(x)
        return x, shape
    if kind == "batch_norm":
        return layers.BatchNormalization(momentum=options.get("momentum", 0.9),
                                         epsilon=options.get("epsilon", 1e-5), name=name)(x), shape
    if kind == "relu":
        slope = options.get("slope", 0.0)
        return (layers.LeakyReLU(negative_slope=slope) if slope else layers.ReLU())(x), shape
    if kind == "global_avg_pool":
        return layers.GlobalAveragePooling2D()(x), (shape[0], 1, 1)
    if kind == "dropout":
        return layers.Dropout(options.get("rate", 0.5))(x), shape
    if kind == "flatten":
        return layers.Flatten()(x), shape  # the dense layer behind it wants to know what was flattened
    if kind == "dense":
        units = options["units"]
        return layers.Dense(units, use_bias=options.get("bias", True), kernel_initializer="he_normal",
                            name=name)(x), (units, 1, 1)
    if kind == "residual":
        body, out = apply_layers(options["body"], x, shape, f"{name}.body")
        shortcut, _ = apply_layers(options.get("shortcut", []), x, shape, f"{name}.shortcut")
        return layers.Add()([body, shortcut]), out
    raise ValueError(f"found a layer '{kind}', which this reader does not know")


def apply_layers(described, x, shape, name):
    for i, layer in enumerate(described):
        (kind, options), = layer.items()
        x, shape = apply_layer(kind, options, x, shape, f"{name}.{i}")
    return x, shape


def make_model(description):
    """Layers have the names that Trainyard's files give them ("layers.0"), images are (height, width, channels)."""
    channels, height, width = description["input"]
    x = keras.Input((height, width, channels))
    return keras.Model(x, apply_layers(description["layers"], x, (channels, height, width), "layers")[0])


def read_safetensors(path):
    """-> {name: array}, in the shapes that the file says."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        values = np.frombuffer(file.read(), dtype="<f4")
    header.pop("__metadata__", None)
    return {name: values[entry["data_offsets"][0] // 4:entry["data_offsets"][1] // 4].reshape(entry["shape"])
            for name, entry in header.items()}


def dense_kernel(weight, before):
    """(out, in) to (in, out); `before`: (height, width, channels) of an image that was flattened, in our order
    channel by channel, in Keras' pixel by pixel."""
    height, width, channels = before
    ordered = weight.reshape(len(weight), channels, height, width).transpose(2, 3, 1, 0)
    return ordered.reshape(math.prod(before), len(weight))


def load(model, path):
    """Reads all weights and running statistics from a safetensors file; each must be there, and nothing else."""
    found = read_safetensors(path)
    flattened = None
    for layer in model.layers:
        if isinstance(layer, layers.Flatten):
            flattened = tuple(layer.input.shape[1:])
        if isinstance(layer, layers.Conv2D):
            values = [found.pop(f"{layer.name}.weight").transpose(2, 3, 1, 0)]
        elif isinstance(layer, layers.Dense):
            weight = found.pop(f"{layer.name}.weight")
            weight = weight.reshape(len(weight), -1)
            values = [dense_kernel(weight, flattened or (1, 1, weight.shape[1]))]
            flattened = None
        elif isinstance(layer, layers.BatchNormalization):
            values = [found.pop(f"{layer.name}.{of}") for of in ("gamma", "beta", "running_mean", "running_var")]
        else:
            continue
        if getattr(layer, "use_bias", False):
            values.append(found.pop(f"{layer.name}.bias"))
        layer.set_weights(values)
    if found:
        raise ValueError(f"{path}: found {', '.join(found)}, which the description does not have")
