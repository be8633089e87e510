"""The networks that ci/gpu_check.sh bench measures: one description each, from which both Trainyard's engine
and PyTorch build theirs. The JSON is that of tests/worker/engine/support/description.h.
"""

import math
from dataclasses import dataclass

RELU, BATCH_NORM, FLATTEN, GLOBAL_POOL = {"relu": {}}, {"batch_norm": {}}, {"flatten": {}}, {"global_avg_pool": {}}


def conv(filters, kernel, stride=1, pad=None, bias=False):
    """Padded by half a kernel, as PyTorch's networks do it, unless told otherwise."""
    pad = kernel // 2 if pad is None else pad
    return {"conv": {"filters": filters, "kernel": [kernel, kernel], "stride": [stride, stride],
                     "padding": [pad] * 4, "bias": bias}}


def max_pool(kernel, stride=None, pad=0):
    stride = stride or kernel
    return {"max_pool": {"kernel": [kernel, kernel], "stride": [stride, stride], "padding": [pad] * 4}}


def dense(units):
    return {"dense": {"units": units}}


def conv_norm(filters, kernel, stride=1):
    return [conv(filters, kernel, stride), BATCH_NORM]


def conv_norm_relu(filters, kernel, stride=1):
    return [*conv_norm(filters, kernel, stride), RELU]


def lenet():
    layers = [conv(6, 5, bias=True), RELU, max_pool(2), conv(16, 5, pad=0, bias=True), RELU, max_pool(2), FLATTEN,
              dense(120), RELU, dense(84), RELU, dense(10)]
    return {"input": [1, 28, 28], "classes": 10, "layers": layers}


def resnet9(width=64):
    def twice(filters):
        return {"residual": {"body": conv_norm_relu(filters, 3) * 2}}

    layers = [*conv_norm_relu(width, 3), *conv_norm_relu(2 * width, 3), max_pool(2), twice(2 * width),
              *conv_norm_relu(4 * width, 3), max_pool(2), *conv_norm_relu(8 * width, 3), max_pool(2),
              twice(8 * width), max_pool(4), FLATTEN, dense(10)]
    return {"input": [3, 32, 32], "classes": 10, "layers": layers}


def resnet50(side, classes, width=64, blocks=(3, 4, 6, 3)):
    """He et al. 2016, with the stride in the 3x3 convolution. Small images keep their size in the stem."""
    layers = [*conv_norm_relu(width, 7, 2), max_pool(3, 2, 1)] if side > 32 else conv_norm_relu(width, 3)
    for stage, count in enumerate(blocks):
        filters = width << stage
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            body = [*conv_norm_relu(filters, 1), *conv_norm_relu(filters, 3, stride), *conv_norm(4 * filters, 1)]
            shortcut = conv_norm(4 * filters, 1, stride) if block == 0 else []
            layers += [{"residual": {"body": body, "shortcut": shortcut}}, RELU]
    return {"input": [3, side, side], "classes": classes, "layers": [*layers, GLOBAL_POOL, dense(classes)]}


@dataclass
class Net:
    network: dict
    batch: int
    steps: int  # of one timed round: about a second's
    images: int
    augmentation: dict
    learning_rate: float = 0.02
    # Times the images per second of PyTorch eager and of torch.compile: what is accepted, what is aimed at.
    eager: tuple = ()
    compiled: tuple = ()


MNIST_LIKE, CIFAR_LIKE = {"shift": 2}, {"flip": True, "shift": 4}


def nets(tiny=False):
    """-> {name: Net}. `tiny`: the same shapes of networks, small enough for a test on a CPU."""
    width, blocks, images = (8, (1, 1, 1, 1), 64) if tiny else (64, (3, 4, 6, 3), 51200)

    def size(batch, steps):
        return (8, 3) if tiny else (batch, steps)

    large = 64 if tiny else 224
    return {
        "lenet-128": Net(lenet(), *size(128, 2000), images, MNIST_LIKE, 0.01, (4, 8), (1.5, 2.5)),
        "lenet-1024": Net(lenet(), *size(1024, 1000), images, MNIST_LIKE, 0.02, (2, 3), (1.2, 1.6)),
        "resnet9-512": Net(resnet9(width), *size(512, 100), images, CIFAR_LIKE, 0.02, (1.3, 1.6), (1.0, 1.2)),
        "resnet50-32-128": Net(resnet50(32, 10, width, blocks), *size(128, 100), images, CIFAR_LIKE, 0.02,
                               (2, 2.5), (1.2, 1.5)),
        "resnet50-224-256": Net(resnet50(large, 1000, width, blocks), *size(256, 20), 64 if tiny else 4096,
                                CIFAR_LIKE, 0.02, (1.1, 1.3), (0.95, 1.1)),
    }


def training(net):
    """Its "training" of description.h: the rate is the same at every step."""
    return {"batch_size": net.batch, "augmentation": net.augmentation, "schedule": {"kind": "constant"},
            "optimizer": {"kind": "sgd", "learning_rate": net.learning_rate, "momentum": 0.9, "nesterov": True,
                          "weight_decay": 5e-4}}


def padded(padding, size, kernel, stride):
    """-> (before, after) along each axis: `padding` is "same" or [top, bottom, left, right]."""
    if padding != "same":
        return (padding[0], padding[1]), (padding[2], padding[3])
    total = [max((math.ceil(size[i] / stride[i]) - 1) * stride[i] + kernel[i] - size[i], 0) for i in (0, 1)]
    return tuple((t // 2, t - t // 2) for t in total)


def window(options, shape, pool=False):
    """-> kernel, stride, padding and the output's (height, width) of a convolution or pool."""
    kernel = options.get("kernel", [2, 2] if pool else [3, 3])
    stride = options.get("stride", [2, 2] if pool else [1, 1])
    pads = padded(options.get("padding", [0, 0, 0, 0]), shape[1:], kernel, stride)
    out = tuple((shape[1 + i] + sum(pads[i]) - kernel[i]) // stride[i] + 1 for i in (0, 1))
    return kernel, stride, pads, out


def forward_flops(layers, shape):
    """-> operations of one image forward (a multiply and an add are two), and the output's shape."""
    total = 0
    for layer in layers:
        (kind, options), = layer.items()
        if kind == "conv":
            kernel, _, _, out = window(options, shape)
            channels = shape[0] // options.get("groups", 1)
            total += 2 * math.prod(kernel) * channels * options["filters"] * math.prod(out)
            shape = (options["filters"], *out)
        elif kind in ("max_pool", "avg_pool"):
            shape = (shape[0], *window(options, shape, pool=True)[3])
        elif kind == "global_avg_pool":
            shape = (shape[0], 1, 1)
        elif kind == "flatten":
            shape = (math.prod(shape), 1, 1)
        elif kind == "dense":
            total += 2 * math.prod(shape) * options["units"]
            shape = (options["units"], 1, 1)
        elif kind == "residual":
            body, out = forward_flops(options["body"], shape)
            total += body + forward_flops(options.get("shortcut", []), shape)[0]
            shape = out
    return total, shape


def training_flops(network):
    """Of one image: forward, and twice as much backward."""
    return 3 * forward_flops(network["layers"], tuple(network["input"]))[0]
