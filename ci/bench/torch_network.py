"""A PyTorch module from a network's description (tests/worker/engine/support/description.h)."""

import json
import math

import torch
from torch import nn

from networks import window


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def symmetric(pads, kind):
    """-> (vertical, horizontal), which is all that PyTorch's own layers know."""
    if any(before != after for before, after in pads):
        raise ValueError(f"{kind}: found a padding of {pads}, expected the same on both sides")
    return tuple(before for before, _ in pads)


def make_window(kind, options, shape):
    """-> a convolution or a pool, and the shape of what it gives."""
    kernel, stride, pads, out = window(options, shape, pool=kind != "conv")
    pad = symmetric(pads, kind)
    if kind == "max_pool":
        return nn.MaxPool2d(tuple(kernel), tuple(stride), pad), (shape[0], *out)
    if kind == "avg_pool":
        return nn.AvgPool2d(tuple(kernel), tuple(stride), pad, count_include_pad=False), (shape[0], *out)
    filters = options["filters"]
    conv = nn.Conv2d(shape[0], filters, tuple(kernel), tuple(stride), pad, groups=options.get("groups", 1),
                     bias=options.get("bias", True))
    return conv, (filters, *out)


def make_layer(kind, options, shape, in_place):
    """-> the module, and the shape (channels, height, width) of what it gives. `in_place`: nobody else reads its
    input."""
    if kind in ("conv", "max_pool", "avg_pool"):
        return make_window(kind, options, shape)
    if kind == "batch_norm":
        kept = options.get("momentum", 0.9)
        return nn.BatchNorm2d(shape[0], options.get("epsilon", 1e-5), 1 - kept), shape
    if kind == "relu":
        slope = options.get("slope", 0.0)
        return nn.LeakyReLU(slope, in_place) if slope else nn.ReLU(in_place), shape
    if kind == "global_avg_pool":
        return nn.AdaptiveAvgPool2d(1), (shape[0], 1, 1)
    if kind == "dropout":
        return nn.Dropout(options.get("rate", 0.5)), shape
    if kind == "flatten":
        return nn.Identity(), (math.prod(shape), 1, 1)  # what follows is a dense layer, which does it
    if kind == "dense":
        linear = nn.Linear(math.prod(shape), options["units"], options.get("bias", True))
        return Dense(linear), (options["units"], 1, 1)
    if kind == "residual":
        body, out = make_layers(options["body"], shape)
        return Residual(body, make_layers(options.get("shortcut", []), shape)[0]), out
    raise ValueError(f"found a layer '{kind}', which this reader does not know")


class Dense(nn.Module):
    """Of an image or a vector; what it gives is a vector."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.linear(x.flatten(1))


def make_layers(layers, shape):
    made = []
    for layer in layers:
        (kind, options), = layer.items()
        module, shape = make_layer(kind, options, shape, in_place=bool(made))
        made.append(module)
    return nn.Sequential(*made), shape


class Network(nn.Module):
    def __init__(self, description):
        super().__init__()
        self.layers, _ = make_layers(description["layers"], tuple(description["input"]))

    def forward(self, x):
        return self.layers(x)

    def named_tensors(self):
        """Weights and running statistics by the names that Trainyard's files give them."""
        for name, module in self.named_modules():
            name = name.removesuffix(".linear")
            if isinstance(module, nn.BatchNorm2d):
                yield f"{name}.gamma", module.weight
                yield f"{name}.beta", module.bias
                yield f"{name}.running_mean", module.running_mean
                yield f"{name}.running_var", module.running_var
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                yield f"{name}.weight", module.weight
                if module.bias is not None:
                    yield f"{name}.bias", module.bias

    def initialise(self, seed):
        """He's normal weights, everything else 0 or 1, as Trainyard starts."""
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, tensor in self.named_tensors():
                if name.endswith(".weight"):
                    nn.init.kaiming_normal_(tensor)
                else:
                    tensor.fill_(1 if name.endswith((".gamma", ".running_var")) else 0)

    def load(self, path):
        """Reads all of them from a safetensors file; each must be there, and nothing else."""
        found = read_safetensors(path)
        with torch.no_grad():
            for name, tensor in self.named_tensors():
                tensor.copy_(found.pop(name).reshape(tensor.shape))
        if found:
            raise ValueError(f"{path}: found {', '.join(found)}, which the description does not have")


def read_safetensors(path):
    """-> {name: float tensor}, in the shapes that the file says."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    values = torch.frombuffer(data, dtype=torch.float32)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = values[begin // 4:end // 4].reshape(entry["shape"])
    return tensors
