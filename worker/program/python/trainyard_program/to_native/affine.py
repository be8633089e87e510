"""What Rescaling and Normalization do, made part of the weights: y = scale * x + offset, by channel.

The engine gives a network pixels / 255 (`normalise: false`). It goes into the next weights where that is exact: an
offset does not pass through zeros around an image. Where it is not, it becomes a convolution of one pixel.
"""

import numpy

from trainyard_program.to_native.native import Layer
from trainyard_program.to_native.refused import Refused

BYTE = 255.0
RAW_SCALE_MAX = 1 / 16  # a smaller factor is meant for bytes


def settle(chain, tensors, channels):
    """(native layers, whether the model takes pixels of 0 to 255, what was done, a line each).

    `tensors` has a {role: array} for each layer with weights, and {"scale", "offset"} for each affine one, by id;
    those of the layers that come out of it are right in there.
    """
    told = []
    raw = bool(chain) and chain[0].kind == "affine" and _takes_bytes(tensors[id(chain[0])])
    if raw:
        front = Layer("affine", "", {"channels": channels})
        tensors[id(front)] = {"scale": BYTE, "offset": 0.0}
        chain = [front, *chain]
    return _settle(chain, tensors, told), raw, told


def _takes_bytes(constants):
    if "mean" in constants:
        return bool(numpy.max(numpy.abs(constants["mean"])) > 1)
    return bool(numpy.max(numpy.abs(constants["scale"])) <= RAW_SCALE_MAX)


def _by_channel(value, layer):
    channels = layer.options["channels"]
    value = numpy.asarray(value, "float64").reshape(-1)
    if value.size not in (1, channels) or not numpy.all(numpy.isfinite(value)):
        raise Refused(f"{layer.origin}: found {value.size} constants, expected 1 or {channels}, all of them finite")
    return numpy.broadcast_to(value, channels)


def _settle(chain, tensors, told):
    result, index = [], 0
    while index < len(chain):
        layer = chain[index]
        index += 1
        if layer.kind != "affine":
            layer.body, layer.shortcut = (_settle(side, tensors, told) for side in (layer.body, layer.shortcut))
            result.append(layer)
            continue
        scale, offset = numpy.ones(layer.options["channels"]), 0.0
        origins = []
        index -= 1
        while index < len(chain) and chain[index].kind == "affine":
            constants = tensors[id(chain[index])]
            factor = _by_channel(constants["scale"], chain[index])
            scale, offset = scale * factor, offset * factor + _by_channel(constants["offset"], chain[index])
            origins.append(chain[index].origin)
            index += 1
        origin = ", ".join(filter(None, origins)) or "the model takes pixels of 0 to 255"
        if numpy.allclose(scale, 1, rtol=1e-7, atol=0) and numpy.all(offset == 0):
            told.append(f"{origin} -> nothing, the engine does the same")
            continue
        into = _fold(scale, offset, chain[index:], tensors)
        if into is None:
            result.append(_one_pixel(scale, offset, origin, tensors))
        else:
            told.append(f"{origin} -> the weights of {into.origin}")
    return result


def _fold(scale, offset, rest, tensors):
    """The layer that comes next, if its weights could take it up."""
    if rest and rest[0].kind == "flatten":
        rest = rest[1:]
    if not rest or rest[0].kind not in ("conv", "dense"):
        return None
    layer = rest[0]
    if layer.kind == "conv" and layer.options["padding"] != (0, 0, 0, 0) and numpy.any(offset != 0):
        return None
    weight = tensors[id(layer)]["weight"].astype("float64")
    if layer.kind == "conv":  # (out, in / groups, height, width): the input channel of each
        groups = layer.options["groups"]
        out, inside = weight.shape[:2]
        channel = (numpy.arange(out) // (out // groups))[:, None] * inside + numpy.arange(inside)
        factor, summand = scale[channel][:, :, None, None], offset[channel][:, :, None, None]
    else:  # (out, channels * pixels)
        pixels = weight.shape[1] // scale.size
        factor, summand = numpy.repeat(scale, pixels), numpy.repeat(offset, pixels)
    shift = (weight * summand).sum(axis=tuple(range(1, weight.ndim)))
    folded = {"weight": (weight * factor).astype("float32")}
    if layer.options["bias"] or numpy.any(shift != 0):
        folded["bias"] = (tensors[id(layer)].get("bias", 0.0) + shift).astype("float32")
        layer.options["bias"] = True
        layer.dims = {"weight": weight.shape, "bias": weight.shape[:1]}
    tensors[id(layer)] = folded
    return layer


def _one_pixel(scale, offset, origin, tensors):
    channels = scale.size
    options = {"filters": channels, "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "groups": channels}
    dims = {"weight": (channels, 1, 1, 1), "bias": (channels,)}
    layer = Layer("conv", origin, {**options, "bias": True}, dims)
    tensors[id(layer)] = {
        "weight": scale.reshape(channels, 1, 1, 1).astype("float32"),
        "bias": numpy.broadcast_to(offset, channels).astype("float32"),
    }
    return layer
