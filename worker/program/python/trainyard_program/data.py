"""Keras' data sets without the network: `load_data()` answered from TRAINYARD_DATA_DIR, whatever
form lies there.

Keras' own cache gets links to everything configured too, so that `get_file(NAME, ...)` finds it.
"""

import functools
import os
import sys

from trainyard_program import channel, data_forms

# Files that Keras looks for in its cache, by what holds them.
CACHED_FOLDERS = {"fashionmnist": "fashion-mnist"}


class DataSetMissing(FileNotFoundError):
    """A data set of Keras' that is neither configured nor to be had from the network."""


def _plain(name):
    return name.replace("-", "").replace("_", "").lower()


def _configured():
    folder = os.environ.get("TRAINYARD_DATA_DIR")
    try:
        return (
            {name: os.path.join(folder, name) for name in sorted(os.listdir(folder))}
            if folder
            else {}
        )
    except OSError:
        return {}


def _link(source, target):
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(source, target)


def fill_keras_cache():
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    cache = os.path.join(home, "datasets")
    for name, path in _configured().items():
        try:
            _link(path, os.path.join(cache, name))
            for file in os.listdir(path) if os.path.isdir(path) else ():
                inside = CACHED_FOLDERS.get(_plain(name), "")
                _link(os.path.join(path, file), os.path.join(cache, inside, file))
        except OSError as error:
            channel.note(f"data set '{name}' is not linked into Keras' cache: {error}")


def patch(module):
    """Wraps load_data of a module of Keras' data sets."""
    original = getattr(module, "load_data", None)
    name = module.__name__.rsplit(".", 1)[1]
    if original is None or hasattr(original, "_trainyard"):
        return

    @functools.wraps(original)
    def load_data(*args, **kwargs):
        channel.phase("loading")
        for configured, path in _configured().items():
            if _plain(configured) == _plain(name):
                return _load(name, configured, path, *args, **kwargs)
        try:
            return original(*args, **kwargs)
        except Exception as error:
            raise _missing(name, error) from None

    load_data._trainyard = True
    module.load_data = load_data


def _load(name, configured, path, *args, **kwargs):
    label_mode = kwargs.get("label_mode", "fine")
    if name == "cifar100" and args:
        label_mode = args[0]
    try:
        return data_forms.load(name, path, label_mode)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise _reported(f"data set '{configured}' cannot be read as {name}: {error}") from None


def _missing(name, error):
    names = ", ".join(_configured()) or "none"
    reason = (str(error).strip().split("\n") or [""])[0]
    return _reported(
        f"data set '{name}' is not configured and cannot be downloaded ({reason}); configure it as "
        f"`program: data: {name}: PATH` in trainyard.yaml; configured are: {names}"
    )


def _reported(text):
    """The exception, which becomes the attempt's error if the program does not catch it."""
    missing = DataSetMissing(text)
    before = sys.excepthook

    def hook(kind, value, traceback):
        if value is missing:
            channel.emit({"error": text})
            print(f"trainyard: error: {text}", file=sys.stderr)
        else:
            before(kind, value, traceback)

    sys.excepthook = hook
    return missing
