"""Calls functions after a module was imported, without importing it: through sys.meta_path."""

import importlib.util
import sys
import threading

KERAS = ("keras", "tf_keras")
DATA_SETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
DATA_FOLDERS = (
    "keras.src.datasets",
    "keras.datasets",
    "tf_keras.src.datasets",
    "tf_keras.datasets",
)


class PostImportFinder:
    """Finds nothing itself; what others find for its names gets a call after its execution."""

    def __init__(self, actions):
        self._actions = dict(actions)  # module name -> function(module)
        self._searching = threading.local()

    def find_spec(self, name, path=None, target=None):
        action = self._actions.get(name)
        if action is None or getattr(self._searching, "now", False):
            return None
        self._searching.now = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching.now = False
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return None
        loader, execute = spec.loader, spec.loader.exec_module

        def exec_module(module):
            loader.__dict__.pop("exec_module", None)
            self._actions.pop(name, None)
            execute(module)
            _guarded(action, module)

        try:
            loader.exec_module = exec_module  # each module has a loader of its own
        except AttributeError:
            return None
        return spec


def _guarded(action, module):
    try:
        action(module)
    except Exception as error:
        from trainyard_program import channel

        channel.note(f"{module.__name__} is not hooked: {error!r}")


def _keras_imported(module):
    from trainyard_program import data, keras_hooks

    data.fill_keras_cache()
    keras_hooks.patch(module)


def _data_set_imported(module):
    from trainyard_program import data

    data.patch(module)


def install():
    actions = {name: _keras_imported for name in KERAS}
    actions.update(
        {f"{folder}.{name}": _data_set_imported for folder in DATA_FOLDERS for name in DATA_SETS}
    )
    sys.meta_path.insert(0, PostImportFinder(actions))
