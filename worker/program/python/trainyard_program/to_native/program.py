"""The model of a program: it runs as ever until it calls `fit`, and no further."""

import dataclasses
import functools
import json
import os
import runpy
import sys
import traceback

import numpy

from trainyard_program.to_native.refused import Refused, shown

# What stands in for Keras' data sets where they are not to be had: nothing is learned from them here.
SHAPES = {
    "mnist": ((28, 28), 10),
    "fashion_mnist": ((28, 28), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
}
STAND_INS = 256


@dataclasses.dataclass
class Found:
    model: object
    config: str  # JSON
    epochs: int = None
    batch_size: int = None
    validation_split: float = None
    data_set: str = None
    stand_in: bool = False


class _Reached(BaseException):
    """Thrown by `fit`, through whatever the program catches."""


class _Watch:
    def __init__(self):
        self.fitted = None  # model and arguments of fit
        self.compiled = None
        self.data_set = None
        self.stand_in = False

    def fit(self, model, x=None, y=None, batch_size=None, epochs=1, *rest, **named):
        self.fitted = (model, x, batch_size, epochs, named.get("validation_split"))
        raise _Reached()

    def load_data(self, name, original, *args, **kwargs):
        self.data_set = name
        try:
            return original(*args, **kwargs)
        except Exception:
            self.stand_in = True
            shape, classes = SHAPES[name]
            random = numpy.random.default_rng(1)
            images = random.integers(0, 256, (STAND_INS, *shape), dtype="uint8")
            labels = (numpy.arange(STAND_INS) % classes).astype("uint8")
            labels = labels if len(shape) == 2 else labels[:, None].astype("int64")
            return (images, labels), (images.copy(), labels.copy())


def _hook(watch):
    import keras

    try:
        import keras._tf_keras.keras  # what tensorflow.keras is
    except ImportError:
        pass
    compile_model = keras.Model.compile

    @functools.wraps(compile_model)
    def compile_hook(model, *args, **kwargs):
        watch.compiled = model
        return compile_model(model, *args, **kwargs)

    keras.Model.compile = compile_hook
    keras.Model.fit = lambda model, *args, **kwargs: watch.fit(model, *args, **kwargs)
    for module in list(sys.modules.values()):
        folder, _, name = getattr(module, "__name__", "").rpartition(".")
        if name in SHAPES and folder.endswith("datasets") and callable(getattr(module, "load_data", None)):
            module.load_data = functools.partial(watch.load_data, name, module.load_data)


def run(path):
    """Runs the program in the folder it lies in."""
    watch = _Watch()
    metrics = os.environ.pop("TRAINYARD_METRICS_FILE", None)  # what it says is not about a training
    arguments, folder = sys.argv, os.getcwd()
    try:
        _hook(watch)
        sys.argv = [path]
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        runpy.run_path(path, run_name="__main__")
    except _Reached:
        pass
    except SystemExit as end:
        if watch.compiled is None:
            raise Refused(f"{path}: ended with status {shown(end.code)} before it called fit") from None
    except BaseException as error:
        raise Refused(f"{path}: {_where(error, path)}{_told(error)} before it called fit") from None
    finally:
        if metrics is not None:
            os.environ["TRAINYARD_METRICS_FILE"] = metrics
        sys.argv = arguments
        os.chdir(folder)
    return _found(watch, path)


def _where(error, path):
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.abspath(f.filename) == os.path.abspath(path)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    return f"line {line}: " if line else ""


def _told(error):
    first = (str(error).strip().split("\n") or [""])[0]
    return f"{type(error).__name__}: {shown(first)}" if first else type(error).__name__


def _found(watch, path):
    model, x, batch_size, epochs, split = watch.fitted or (watch.compiled, None, None, None, None)
    if model is None:
        raise Refused(f"{path}: ended without compiling or fitting a Keras model")
    kind = type(model)
    if not kind.__module__.split(".")[0] == "keras":
        raise Refused(
            f"{path}: the model is a {shown(kind.__name__)}, a class of the program's own: expected a Sequential or "
            "functional model"
        )
    if not model.built:
        _build(model, x, path)
    try:
        config = model.to_json()
    except Exception as error:
        raise Refused(f"{path}: the model's configuration cannot be had: {_told(error)}") from None
    return Found(model, _with_optimizer(config, model), epochs, batch_size, split, watch.data_set, watch.stand_in)


def _build(model, x, path):
    shape = getattr(x, "shape", None)
    if shape is None and hasattr(x, "element_spec"):
        spec = x.element_spec
        shape = getattr(spec[0] if isinstance(spec, tuple) else spec, "shape", None)
    if shape is None:
        raise Refused(f"{path}: the model has no input shape: put keras.Input(shape=(height, width, channels)) first")
    try:
        model.build((None, *tuple(shape)[1:]))
    except Exception as error:
        raise Refused(f"{path}: the model cannot be built: {_told(error)}") from None


def _with_optimizer(config, model):
    """The configuration as model.save() writes it: with what it was compiled with."""
    config = json.loads(config)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and "compile_config" not in config:
        settings = {k: v for k, v in optimizer.get_config().items() if isinstance(v, (int, float, bool, str))}
        config["compile_config"] = {"optimizer": {"class_name": type(optimizer).__name__, "config": settings}}
    return json.dumps(config, default=str)
