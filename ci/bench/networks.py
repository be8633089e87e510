"""The networks that ci/bench.sh cpu and ci/gpu_check.sh bench measure: one description each, from which Trainyard's
engine, PyTorch and Keras build theirs. The JSON is that of tests/worker/engine/support/description.h.
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


def dropout(rate):
    return {"dropout": {"rate": rate}}


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


def classic():
    """The CNN of Keras' first example."""
    layers = [conv(32, 3, pad=0, bias=True), RELU, conv(64, 3, pad=0, bias=True), RELU, max_pool(2), dropout(0.25),
              FLATTEN, dense(128), RELU, dropout(0.5), dense(10)]
    return {"input": [1, 28, 28], "classes": 10, "layers": layers}


def small_norm(widths=(16, 32, 64)):
    """Pools before it normalises, where there is less to normalise."""
    def pooled(filters):
        return [conv(filters, 3), max_pool(2), BATCH_NORM, RELU]

    first, second, third = widths
    layers = [*pooled(first), *pooled(second), *conv_norm_relu(third, 3), FLATTEN, dense(10)]
    return {"input": [1, 28, 28], "classes": 10, "layers": layers}


def small_resnet(widths=(32, 64, 128)):
    """One basic block a width (He et al. 2015), all but the first with stride 2."""
    layers = conv_norm_relu(widths[0], 3)
    for i, filters in enumerate(widths):
        stride = 2 if i > 0 else 1
        block = {"body": [*conv_norm_relu(filters, 3, stride), *conv_norm(filters, 3)],
                 "shortcut": conv_norm(filters, 1, stride) if i > 0 else []}
        layers = [*layers, {"residual": block}, RELU]
    return {"input": [1, 28, 28], "classes": 10, "layers": [*layers, GLOBAL_POOL, dense(10)]}


def vgg(widths=(64, 128, 256)):
    layers = []
    for filters in widths:
        layers += [conv(filters, 3, bias=True), RELU] * 2 + [max_pool(2)]
    layers += [FLATTEN, dense(widths[-1]), RELU, dropout(0.5), dense(10)]
    return {"input": [3, 32, 32], "classes": 10, "layers": layers}


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
    fastest: tuple = ()  # the same, of whichever PyTorch trains fastest


MNIST_LIKE, CIFAR_LIKE = {"shift": 2}, {"flip": True, "shift": 4}


def gpu_nets(tiny=False):
    """-> {name: Net} of ci/gpu_check.sh bench. `tiny`: the same shapes of networks, small enough for a CPU's test."""
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


def cpu_nets(tiny=False):
    """-> {name: Net} of ci/bench.sh cpu. `tiny`: the same kinds of networks, small enough for a test."""
    networks = [("classic", classic(), 40, (4.5, 6.5)), ("small-norm", small_norm(), 200, (2, 3)),
                ("resnet", small_resnet((8, 12, 16) if tiny else (32, 64, 128)), 25, (2, 4)),
                ("vgg", vgg((8, 12, 16) if tiny else (64, 128, 256)), 8, (2, 4))]
    return {name: Net(network, *((8, 3, 64) if tiny else (128, steps, 4096)), {}, fastest=fastest)
            for name, network, steps, fastest in networks}


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
    """Of one image: forward, and twice as much backward, but for the gradient of the image itself, which nobody
    needs. Convolutions count as if they were computed directly, however they are."""
    shape = tuple(network["input"])
    first = next(layer for layer in network["layers"] if "conv" in layer or "dense" in layer)
    return 3 * forward_flops(network["layers"], shape)[0] - forward_flops([first], shape)[0]


def traffic(layers, shape):
    """-> floats that one step reads and writes for one image, and the output's shape. Convolutions, pools, batch norms,
    sums and dense layers each read their input and write their output, once; backward, they read the gradient of the
    one and write that of the other, and what a derivative needs of the input. What is between them is thought to be
    fused; weights are left out, for a batch shares them."""
    total = 0
    for layer in layers:
        (kind, options), = layer.items()
        size = math.prod(shape)
        if kind == "residual":
            body, out = traffic(options["body"], shape)
            shortcut, _ = traffic(options.get("shortcut", []), shape)
            total += body + shortcut + 3 * math.prod(out)  # two summands and a sum; their gradient is the sum's
            shape = out
            continue
        _, shape = forward_flops([layer], shape)
        if kind in ("conv", "dense", "batch_norm"):
            total += 2 * (size + math.prod(shape)) + size
        elif kind.endswith("_pool"):
            total += 2 * (size + math.prod(shape))
    return total, shape


def training_bytes(network):
    return 4 * traffic(network["layers"], tuple(network["input"]))[0]
