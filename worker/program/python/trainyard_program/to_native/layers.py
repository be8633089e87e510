"""The table of what is translated: a Keras layer and the shape that reaches it give native layers and a shape.

Keras has images as (height, width, channels), the engine as (channels, height, width). A Flatten therefore leaves the
values of an image in another order; `Shape.image` remembers it until a dense layer's weights take it up.
"""

import dataclasses

import numpy

from trainyard_program.to_native import native
from trainyard_program.to_native.native import Layer
from trainyard_program.to_native.refused import Refused, shown

DEFAULT_LEAKY_SLOPE = {"leaky_relu": 0.2, "LeakyReLU": 0.3}


@dataclasses.dataclass(frozen=True)
class Shape:
    channels: int
    height: int = 1
    width: int = 1
    flat: bool = False  # a vector to Keras
    image: tuple = None  # (channels, height, width) that was flattened and not yet permuted

    def size(self):
        return self.channels * self.height * self.width

    def __str__(self):
        return str(self.channels) if self.flat else f"{self.height}x{self.width}x{self.channels}"


class Reader:
    """A node's settings, checked."""

    def __init__(self, node):
        self.node = node
        self.config = node.config

    def refuse(self, why):
        raise Refused(f"{self.node}: {why}")

    def expect(self, key, *accepted):
        value = self.config.get(key, accepted[0])
        if value not in accepted:
            self.refuse(f"{key} {shown(value)} has no native form; supported: {', '.join(map(str, accepted))}")
        return value

    def integer(self, key, high, default=None):
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
            self.refuse(f"{key}: found {shown(value)}, expected 1 to {high}")
        return value

    def number(self, key, default, low, high):
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
            self.refuse(f"{key}: found {shown(value)}, expected {low} to less than {high}")
        return float(value)

    def pair(self, key, default=None):
        value = self.config.get(key)
        value = default if value is None else value
        if isinstance(value, int):
            value = (value, value)
        valid = isinstance(value, (list, tuple)) and len(value) == 2
        if not valid or not all(type(v) is int and 1 <= v <= native.EXTENT_MAX for v in value):
            self.refuse(f"{key}: found {shown(value)}, expected one or two numbers of 1 to {native.EXTENT_MAX}")
        return tuple(value)

    def flag(self, key, default=True):
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            self.refuse(f"{key}: found {shown(value)}, expected true or false")
        return value

    def padding(self):
        value = self.expect("padding", "valid", "same")
        return "same" if value == "same" else (0, 0, 0, 0)

    def image(self, shape):
        """Refuses what is no image of a layout that is known."""
        self.expect("data_format", "channels_last", None)
        if shape.flat:
            self.refuse("expected an image to reach it, found a vector")
        return shape


def slide(reader, shape, channels, kernel, stride, padding):
    """The shape behind a window, as network/shapes.cc has it."""
    sides = []
    for length, size, step in zip((shape.height, shape.width), kernel, stride):
        if padding == "same":
            sides.append(-(-length // step))
        elif length < size:
            reader.refuse(f"its kernel of {size} is larger than its input of {length}")
        else:
            sides.append((length - size) // step + 1)
    return Shape(channels, *sides)


def activation(reader, value, shape, behind):
    """What follows a layer that has an activation of its own."""
    origin = behind or str(reader.node)
    if value is None or value == "linear":
        return []
    if value == "relu":
        return [Layer("relu", origin)]
    if value == "leaky_relu":
        return [Layer("leaky_relu", origin, {"negative_slope": DEFAULT_LEAKY_SLOPE[value]})]
    if value in ("softmax", "sigmoid"):
        return [Layer("head", origin, {"function": value}, source=reader.node.name)]
    reader.refuse(
        f"activation {shown(value)} has no native form; supported: relu, leaky_relu, linear, and softmax at the end"
    )


def _own_activation(reader, shape):
    return activation(reader, reader.config.get("activation"), shape, None)


# ---- Layers with weights -----------------------------------------------------------------------


def _array(variable):
    import keras

    return keras.ops.convert_to_numpy(variable)


def _with_bias(weight, layer, bias):
    return {"weight": weight, "bias": _array(layer.bias)} if bias else {"weight": weight}


def _dims(weight, bias):
    return {"weight": weight, "bias": weight[:1]} if bias else {"weight": weight}


def _conv(reader, filters, kernel, stride, padding, groups, bias, channels, tensors):
    options = {"filters": filters, "kernel": kernel, "stride": stride, "padding": padding, "groups": groups}
    dims = _dims((filters, channels // groups, *kernel), bias)
    return Layer("conv", str(reader.node), {**options, "bias": bias}, dims, tensors, reader.node.name)


def conv2d(reader, shape):
    shape = reader.image(shape)
    reader.expect("dilation_rate", [1, 1], (1, 1), 1)
    filters = reader.integer("filters", native.FILTERS_MAX)
    kernel, stride, padding = reader.pair("kernel_size"), reader.pair("strides", 1), reader.padding()
    groups, bias = reader.integer("groups", native.FILTERS_MAX, 1), reader.flag("use_bias")
    if shape.channels % groups or filters % groups:
        reader.refuse(f"groups {groups} does not divide {shape.channels} channels and {filters} filters")

    def tensors(layer):  # (height, width, in, out)
        return _with_bias(_array(layer.kernel).transpose(3, 2, 0, 1), layer, bias)

    conv = _conv(reader, filters, kernel, stride, padding, groups, bias, shape.channels, tensors)
    shape = slide(reader, shape, filters, kernel, stride, padding)
    return [conv] + _own_activation(reader, shape), shape


def _depthwise(reader, shape, bias, variable):
    """A convolution of each channel by itself: groups, one for each channel."""
    shape = reader.image(shape)
    reader.expect("dilation_rate", [1, 1], (1, 1), 1)
    filters = shape.channels * reader.integer("depth_multiplier", native.FILTERS_MAX, 1)
    if filters > native.FILTERS_MAX:
        reader.refuse(f"gives {filters} channels, expected at most {native.FILTERS_MAX}")
    kernel, stride, padding = reader.pair("kernel_size"), reader.pair("strides", 1), reader.padding()

    def tensors(layer):  # (height, width, in, multiplier)
        weight = _array(getattr(layer, variable))
        return _with_bias(weight.transpose(2, 3, 0, 1).reshape(filters, 1, *kernel), layer, bias)

    conv = _conv(reader, filters, kernel, stride, padding, shape.channels, bias, shape.channels, tensors)
    return conv, slide(reader, shape, filters, kernel, stride, padding)


def depthwise_conv2d(reader, shape):
    conv, shape = _depthwise(reader, shape, reader.flag("use_bias"), "kernel")
    return [conv] + _own_activation(reader, shape), shape


def separable_conv2d(reader, shape):
    bias, filters = reader.flag("use_bias"), reader.integer("filters", native.FILTERS_MAX)
    depthwise, shape = _depthwise(reader, shape, False, "depthwise_kernel")

    def tensors(layer):
        return _with_bias(_array(layer.pointwise_kernel).transpose(3, 2, 0, 1), layer, bias)

    pointwise = _conv(reader, filters, (1, 1), (1, 1), (0, 0, 0, 0), 1, bias, shape.channels, tensors)
    shape = Shape(filters, shape.height, shape.width)
    return [depthwise, pointwise] + _own_activation(reader, shape), shape


def dense(reader, shape):
    units, bias = reader.integer("units", native.UNITS_MAX), reader.flag("use_bias")
    if not shape.flat and (shape.height, shape.width) != (1, 1):  # Keras: of each pixel by itself

        def pixelwise(layer):
            return _with_bias(_array(layer.kernel).T.reshape(units, shape.channels, 1, 1), layer, bias)

        conv = _conv(reader, units, (1, 1), (1, 1), (0, 0, 0, 0), 1, bias, shape.channels, pixelwise)
        after = Shape(units, shape.height, shape.width)
        return [conv] + _own_activation(reader, after), after

    def tensors(layer):  # (in, out)
        weight = _array(layer.kernel)
        if shape.image is not None:
            channels, height, width = shape.image
            weight = weight.reshape(height, width, channels, units).transpose(2, 0, 1, 3)
        return _with_bias(weight.reshape(shape.size(), units).T, layer, bias)

    options, dims = {"units": units, "bias": bias}, _dims((units, shape.size()), bias)
    after = Shape(units, flat=shape.flat)
    layer = Layer("dense", str(reader.node), options, dims, tensors, reader.node.name)
    return [layer] + _own_activation(reader, after), after


def batch_normalization(reader, shape):
    axis = reader.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 1 if shape.flat else 3):
        reader.refuse(f"axis {shown(axis)} has no native form; supported: the last one, channels")
    if shape.image is not None:
        reader.refuse("stands behind a Flatten of an image; supported there: relu, Dropout and Dense")
    momentum = reader.number("momentum", 0.99, 0, 1)
    epsilon = reader.number("epsilon", 1e-3, 1e-30, 1 + 1e-9)
    scale, center = reader.flag("scale"), reader.flag("center")
    if reader.config.get("renorm"):
        reader.refuse("renorm has no native form")

    def tensors(layer):
        mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
        gamma = _array(layer.gamma) if scale else numpy.ones_like(mean)
        beta = _array(layer.beta) if center else numpy.zeros_like(mean)
        return {"gamma": gamma, "beta": beta, "running_mean": mean, "running_var": variance}

    dims = {role: (shape.channels,) for role in ("gamma", "beta", "running_mean", "running_var")}
    options = {"momentum": momentum, "epsilon": epsilon}
    return [Layer("batch_norm", str(reader.node), options, dims, tensors, reader.node.name)], shape


# ---- Layers without ----------------------------------------------------------------------------


def _pool(kind):
    def pool(reader, shape):
        shape = reader.image(shape)
        kernel = reader.pair("pool_size", 2)
        stride, padding = reader.pair("strides", kernel), reader.padding()
        options = {"kernel": kernel, "stride": stride, "padding": padding}
        return [Layer(kind, str(reader.node), options)], slide(reader, shape, shape.channels, kernel, stride, padding)

    return pool


def global_average(reader, shape):
    shape = reader.image(shape)
    after = Shape(shape.channels, flat=not reader.flag("keepdims", False))
    return [Layer("global_avg_pool", str(reader.node))], after


def global_max(reader, shape):
    shape = reader.image(shape)
    kernel = (shape.height, shape.width)
    if max(kernel) > native.EXTENT_MAX:
        reader.refuse(f"found an input of {shape}, expected at most {native.EXTENT_MAX} pixels a side")
    options = {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0)}
    after = Shape(shape.channels, flat=not reader.flag("keepdims", False))
    return [Layer("max_pool", str(reader.node), options)], after


def zero_padding(reader, shape):
    shape = reader.image(shape)
    value = reader.config.get("padding", 1)
    pairs = [value, value] if isinstance(value, int) else value
    try:
        sides = [v for pair in pairs for v in ([pair, pair] if isinstance(pair, int) else pair)]
        valid = len(pairs) == 2 and len(sides) == 4
    except TypeError:
        valid = False
    if not valid or not all(type(v) is int and 0 <= v < native.EXTENT_MAX for v in sides):
        reader.refuse(f"padding: found {shown(value)}, expected numbers of 0 to {native.EXTENT_MAX - 1}")
    top, bottom, left, right = sides
    after = Shape(shape.channels, shape.height + top + bottom, shape.width + left + right)
    return [Layer("pad", str(reader.node), {"padding": tuple(sides)})], after


def flatten(reader, shape):
    if shape.flat:
        return [], shape
    if (shape.height, shape.width) == (1, 1):
        return [], Shape(shape.channels, flat=True)
    reader.expect("data_format", "channels_last", None)
    image = (shape.channels, shape.height, shape.width)
    return [Layer("flatten", str(reader.node))], Shape(shape.size(), flat=True, image=image)


def reshape(reader, shape):
    target = reader.config.get("target_shape")
    if isinstance(target, list) and len(target) == 1 and target[0] in (-1, shape.size()):
        return flatten(reader, shape)
    if target == [shape.height, shape.width, shape.channels] and not shape.flat:
        return [], shape
    reader.refuse(
        f"target_shape {shown(target)} has no native form; supported: [-1], and of the input to [height, width, channels]"
    )


def dropout(reader, shape):
    if reader.config.get("noise_shape") is not None:
        reader.refuse("noise_shape has no native form; supported: none")
    return [Layer("dropout", str(reader.node), {"rate": reader.number("rate", 0.5, 0, 1)})], shape


def relu(reader, shape):
    reader.expect("max_value", None)
    reader.expect("threshold", 0, 0.0, None)
    slope = reader.number("negative_slope", 0, 0, 1)
    return [_sloped(reader, slope)], shape


def leaky_relu(reader, shape):
    key = "alpha" if "alpha" in reader.config else "negative_slope"
    return [_sloped(reader, reader.number(key, DEFAULT_LEAKY_SLOPE["LeakyReLU"], 0, 1))], shape


def _sloped(reader, slope):
    if slope == 0:
        return Layer("relu", str(reader.node))
    return Layer("leaky_relu", str(reader.node), {"negative_slope": slope})


def softmax(reader, shape):
    reader.expect("axis", -1, 1 if shape.flat else 3)
    return [Layer("head", str(reader.node), {"function": "softmax"}, source=reader.node.name)], shape


def _affine(reader, shape, constants):
    if shape.image is not None:
        reader.refuse("stands behind a Flatten of an image; put it before that")
    return [Layer("affine", str(reader.node), {"channels": shape.channels}, {}, constants, reader.node.name)], shape


def rescaling(reader, shape):
    def constants(layer):
        return {"scale": layer.scale, "offset": layer.offset}

    return _affine(reader, shape, constants)


def normalization(reader, shape):
    axis = reader.config.get("axis", -1)
    if axis not in (-1, [-1], None, 1 if shape.flat else 3, [1 if shape.flat else 3], []):
        reader.refuse(f"axis {shown(axis)} has no native form; supported: the last one, channels")
    if reader.config.get("invert"):
        reader.refuse("invert has no native form")

    def constants(layer):  # (x - mean) / max(sqrt(variance), epsilon)
        if getattr(layer, "mean", None) is None:
            reader.refuse("has not been adapted to data: it has no mean and variance")
        mean, variance = (_array(v).astype("float64").reshape(-1) for v in (layer.mean, layer.variance))
        scale = 1 / numpy.maximum(numpy.sqrt(variance), 1e-7)
        return {"scale": scale, "offset": -mean * scale, "mean": mean}

    return _affine(reader, shape, constants)


def nothing(reader, shape):
    return [], shape


TABLE = {
    "Conv2D": conv2d,
    "DepthwiseConv2D": depthwise_conv2d,
    "SeparableConv2D": separable_conv2d,
    "Dense": dense,
    "BatchNormalization": batch_normalization,
    "MaxPooling2D": _pool("max_pool"),
    "AveragePooling2D": _pool("avg_pool"),
    "GlobalAveragePooling2D": global_average,
    "GlobalMaxPooling2D": global_max,
    "ZeroPadding2D": zero_padding,
    "Flatten": flatten,
    "Reshape": reshape,
    "Dropout": dropout,
    "Activation": lambda reader, shape: (_own_activation(reader, shape), shape),
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "Softmax": softmax,
    "Rescaling": rescaling,
    "Normalization": normalization,
    "ActivityRegularization": nothing,
    "Identity": nothing,
}
SUPPORTED = ", ".join(sorted([*TABLE, "Add", "InputLayer"]))


def translate(node, shape):
    function = TABLE.get(node.kind)
    if function is None:
        raise Refused(f"{node}: has no native form; supported are {SUPPORTED}")
    reader = Reader(node)
    policy = node.config.get("dtype")
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name") if isinstance(policy.get("config"), dict) else policy
    if policy not in (None, "float32"):
        reader.refuse(f"dtype {shown(policy)}: the engine computes in float32; save the model in it")
    return function(reader, shape)
