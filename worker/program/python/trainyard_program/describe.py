"""A model in one line: `conv2d 32 - max_pooling2d - flatten - dense 10`."""

import re

LAYERS_SHOWN = 12


def snake(name):
    """conv2d for Conv2D, max_pooling2d for MaxPooling2D: as Keras names its layers."""
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def size_of(layer):
    """The number that tells what a layer is: filters, units or rate."""
    for key in ("filters", "units", "rate"):
        value = getattr(layer, key, None)
        if isinstance(value, (int, float)):
            return key, value
    return None, None


def describe(model):
    words = []
    for layer in model.layers:
        if type(layer).__name__ != "InputLayer":
            size = size_of(layer)[1]
            words.append(snake(type(layer).__name__) + ("" if size is None else f" {size:g}"))
    if len(words) > LAYERS_SHOWN:
        left_out = len(words) - LAYERS_SHOWN + 1
        words[LAYERS_SHOWN // 2 : LAYERS_SHOWN // 2 + left_out] = [f"({left_out} more)"]
    return " - ".join(words) or type(model).__name__


def signature(model):
    """Tells whether two models have the same layers, whoever made them."""
    parts = []
    for layer in model.layers:
        inner = signature(layer) if hasattr(layer, "layers") and hasattr(layer, "compile") else ()
        parts.append((layer.name, type(layer).__name__, size_of(layer), inner))
    return tuple(parts)
