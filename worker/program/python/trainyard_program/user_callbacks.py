"""The state of the program's own callbacks, and of the random generators that its data may come
from.
"""

import glob
import json
import os
import random
import shutil

import numpy

HELD = {
    "params",
    "model",
    "_model",
    "min_delta",
    "monitor_op",
}  # what Keras gives to or derives from each
KERAS_MODULES = ("keras.", "tf_keras.", "tensorflow.")
# Of Keras' own callbacks, those that decide by what they have seen, and what they have seen.
SEEN = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best",),
}


def _attributes(callback):
    """Names of what makes up a callback's state; of the program's own classes all that JSON can
    hold.
    """
    for kind in type(callback).__mro__:
        if (kind.__module__ + ".").startswith(KERAS_MODULES):
            own = () if kind is type(callback) else vars(callback)
            return {*own, *SEEN.get(kind.__name__, ())} - HELD
    return set(vars(callback)) - HELD


def _plain(value):
    if isinstance(value, numpy.generic):
        value = value.item()
    return json.loads(json.dumps(value))


def capture(callbacks):
    states = []
    for callback in callbacks:
        state = {}
        for name in sorted(_attributes(callback)):
            try:
                state[name] = _plain(getattr(callback, name, None))
            except (TypeError, ValueError):  # a model, a function, a file: no state of training
                continue
        states.append({"class": type(callback).__name__, "state": state})
    return states


def restore(callbacks, states):
    for callback, stored in zip(callbacks, states):
        if type(callback).__name__ != stored["class"]:
            continue
        for name, value in stored["state"].items():
            if hasattr(callback, name):
                setattr(callback, name, value)


def save_best_weights(callbacks, folder):
    """EarlyStopping(restore_best_weights=True) keeps the best weights in memory only."""
    for index, callback in enumerate(callbacks):
        best = getattr(callback, "best_weights", None)
        if isinstance(best, list) and best:
            with open(os.path.join(folder, f"best-{index}.npz"), "wb") as file:
                numpy.savez(file, **{f"{i:05}": numpy.asarray(w) for i, w in enumerate(best)})


def load_best_weights(callbacks, folder):
    for index, callback in enumerate(callbacks):
        path = os.path.join(folder, f"best-{index}.npz")
        if os.path.exists(path) and hasattr(callback, "best_weights"):
            with numpy.load(path, allow_pickle=False) as file:
                callback.best_weights = [file[name] for name in sorted(file.files)]


def written_files(callbacks):
    """The files of ModelCheckpoint and CSVLogger that the program may read after training."""
    paths = []
    for callback in callbacks:
        if type(callback).__name__ in ("ModelCheckpoint", "CSVLogger"):
            path = str(getattr(callback, "filepath", None) or getattr(callback, "filename", ""))
            if path and "{" not in path:
                paths += [path] if os.path.exists(path) else glob.glob(glob.escape(path) + ".*")
    return paths


def copy(source, target):
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def append_to_logs(callbacks):
    """A CSVLogger starts its file anew at each fit; one that is continued must not."""
    for callback in callbacks:
        if type(callback).__name__ == "CSVLogger":
            callback.append = True


def random_state():
    kind, keys, position, has_gauss, cached = numpy.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "numpy": [kind, [int(key) for key in keys], position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state):
    numpy.random.set_state(tuple(state["numpy"]))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
