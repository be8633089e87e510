"""trainyard.yaml of an imported model."""

import json
import math

from trainyard_program.to_native.refused import shown

DATA_FORMS = {
    "idx": """\
#data:
#  format: idx                      # the MNIST family: one file of images, one of labels
#  train: {images: data/train-images-idx3-ubyte.gz, labels: data/train-labels-idx1-ubyte.gz}
#  test: {images: data/t10k-images-idx3-ubyte.gz, labels: data/t10k-labels-idx1-ubyte.gz}
""",
    "cifar": """\
#data:
#  format: cifar                    # the binary form of CIFAR
#  train: [data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin]
#  test: test_batch.bin
""",
    "folder": """\
#data:
#  format: folder                   # a folder for each class, PNG or JPEG inside
#  train: photos/train
#  test: photos/test
#  image: {image}
""",
}
DATA_SETS = {"mnist": "idx", "fashion_mnist": "idx", "cifar10": "cifar", "cifar100": "cifar"}


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):  # with a point, which some readers of YAML want before an exponent
        text = repr(float(f"{value:.7g}"))
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    return str(value)


def flow(options):
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in options.items()) + "}"


def _short(pair):
    return pair[0] if pair[0] == pair[1] else list(pair)


def written(layer):
    options = dict(layer.options)
    for key in ("kernel", "stride"):
        if key in options:
            options[key] = _short(options[key])
    padding = options.get("padding")
    if isinstance(padding, tuple):
        top, bottom, left, right = padding
        if (top, left) == (bottom, right):
            options["padding"] = _short((top, left))
        else:
            options["padding"] = flow(dict(zip(("top", "bottom", "left", "right"), padding)))
    if options.get("groups") == 1:
        del options["groups"]
    return options


def _lines(layers, indent):
    for layer in layers:
        comment = f"  # {shown(layer.origin)}" if layer.origin else ""
        if layer.kind == "residual":
            yield f"{indent}- residual:{comment}"
            yield f"{indent}    layers:"
            yield from _lines(layer.body, indent + "      ")
            if layer.shortcut:
                yield f"{indent}    shortcut:"
                yield from _lines(layer.shortcut, indent + "      ")
            continue
        options = written(layer)
        form = f"{layer.kind}: {flow(options)}" if options else layer.kind
        yield f"{indent}- {form}{comment}"


def network(shape, layers):
    """The section of the network."""
    head = f"network:\n  input: [{shape.channels}, {shape.height}, {shape.width}]\n  layers:\n"
    return head + "".join(line + "\n" for line in _lines(layers, "    "))


def _data(shape, classes, data_set):
    form = DATA_SETS.get(data_set, "folder")
    image = f"[{shape.channels}, {shape.height}, {shape.width}]"
    told = "# The data are not part of a Keras model: say where they lie, and take the # away (docs/spec.md).\n"
    if data_set:
        told += f"# The program trains on keras.datasets.{data_set}.\n"
    told += f"# Images of {shape.height}x{shape.width} pixels and {shape.channels} channel(s), {classes} classes.\n"
    return told + DATA_FORMS[form].replace("{image}", image)


def _number(config, key, default):
    value = config.get(key, default)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _optimizer(compiled):
    """(keys of `train`, remark): SGD, Adam and AdamW have the engine's formulas."""
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if isinstance(optimizer, str):
        optimizer = {"class_name": optimizer, "config": {}}
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("config"), dict):
        return {}, None
    name, config = str(optimizer.get("class_name")), optimizer["config"]
    kind = name.lower()
    rate = _number(config, "learning_rate", {"sgd": 0.01}.get(kind, 0.001))
    keys = {"schedule": "constant"} if rate is not None else {}
    if rate is not None and 0 < rate <= 100:
        keys["lr"] = rate
    decay = _number(config, "weight_decay", 0.004 if kind == "adamw" else 0.0) or 0.0
    if kind == "sgd":
        keys = {"optimizer": "sgd", **keys, "momentum": _number(config, "momentum", 0.0) or 0.0}
        keys["nesterov"] = config.get("nesterov") is True
        keys["weight_decay"] = 0.0
    elif kind in ("adam", "adamw"):
        beta1, beta2 = _number(config, "beta_1", 0.9), _number(config, "beta_2", 0.999)
        epsilon = _number(config, "epsilon", 1e-7)
        keys = {"optimizer": "adamw", **keys, "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": decay}
        keys = {key: value for key, value in keys.items() if value is not None}
    else:
        return {}, f"its optimizer {shown(name)} has no native form"
    remark = None if rate is not None else "its schedule of the learning rate is not translated"
    return keys, remark


def _train(compiled, program):
    keys, remark = _optimizer(compiled)
    lines = [f"  # {remark}"] if remark else []
    if program is not None:
        if type(program.epochs) is int and program.epochs >= 1:
            keys = {"epochs": program.epochs, **keys}
        if program.epochs is not None:
            keys["batch_size"] = program.batch_size if type(program.batch_size) is int else 32
    lines += [f"  {key}: {_value(value)}" for key, value in keys.items()]
    lines.append("  augmentation: {normalise: false}  # the network takes pixels / 255")
    return "train:\n" + "\n".join(lines) + "\n"


def render(source, name, shape, classes, layers, compiled=None, program=None, with_weights=True):
    parts = [
        f"# Made by `trainyard import` from {shown(source)}.\n",
        f"name: {json.dumps(shown(name))}\n",
        _data(shape, classes, program.data_set if program is not None else None),
    ]
    if program is not None and isinstance(program.validation_split, float) and 0 < program.validation_split < 1:
        parts.append(f"validation: {program.validation_split}\n")
    parts.append(network(shape, layers))
    parts.append(_train(compiled, program))
    if with_weights:
        parts.append("weights: weights.safetensors  # what training starts from\n")
    return "\n".join(parts)
