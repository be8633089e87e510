"""The changes of TRAINYARD_PARAMS_FILE: read, checked, made at compile and fit, told as a diff."""

import json
import os
import weakref

from trainyard_program import batches, channel, describe, optimizers, rewrite
from trainyard_program.refused import Refused

__all__ = ["Changes", "Refused"]

# name -> (types, smallest value)
KNOWN = {
    "epochs": (int, 1),
    "batch_size": (int, 1),
    "optimizer": (str, None),
    "learning_rate": ((int, float), 0),
    "width": ((int, float), 0),
    "added_convs": (int, 1),
    "added_dense": (int, 1),
    "dropout": ((int, float), 0),
}
OF_THE_MODEL = ("width", "added_convs", "added_dense", "dropout")
OF_COMPILE = OF_THE_MODEL + ("optimizer", "learning_rate")


class Changes:
    def __init__(self, wanted):
        self.wanted = wanted
        self._epochs_factor = None
        self._first_epochs = None
        self._diffs = weakref.WeakKeyDictionary()  # model -> changes made
        self._told = weakref.WeakSet()
        self._rate_factors = weakref.WeakKeyDictionary()
        self._made = set()  # signatures of models as we made them

    @classmethod
    def from_environment(cls):
        path = os.environ.get("TRAINYARD_PARAMS_FILE")
        if not path:
            return cls({})
        try:
            with open(path, encoding="utf-8") as file:
                wanted = json.load(file)
            if not isinstance(wanted, dict):
                raise ValueError(f"expected an object, found {type(wanted).__name__}")
        except (OSError, ValueError) as error:
            channel.fail(f"the changes cannot be read: {path}: {error}")
        for name in list(wanted):
            _check(name, wanted)
        return cls(wanted)

    def __bool__(self):
        return bool(self.wanted)

    def for_compile(self, keras, model, arguments):
        """Changes the model in place, and the optimizer among compile's arguments."""
        diff = self._diffs.setdefault(model, [])
        of_the_model = {name: self.wanted[name] for name in OF_THE_MODEL if name in self.wanted}
        if of_the_model and not self._is_made(model):
            diff += rewrite.change(keras, model, of_the_model, self._made)
        optimizer, made, factor = optimizers.change(
            keras,
            arguments.get("optimizer", "rmsprop"),
            self.wanted.get("optimizer"),
            self.wanted.get("learning_rate"),
        )
        if made or factor != 1:
            arguments["optimizer"] = optimizer
            self._rate_factors[model] = factor
        _merge(diff, made)

    def _is_made(self, model):
        """The same object compiled again, a copy of it, or one that was read from its file."""
        return rewrite.is_buildable(model) and describe.signature(model) in self._made

    def for_fit(self, run, keras, model, arguments, callbacks):
        """Changes what fit is asked for; refuses what compile could not be changed for."""
        asked = [name for name in OF_COMPILE if name in self.wanted]
        if asked and model not in self._diffs:
            raise Refused(
                f"{', '.join(asked)}: model '{model.name}' was compiled by reading it from a file, "
                "so it cannot be changed; compile it in the program"
            )
        diff = self._diffs.setdefault(model, [])
        made = []
        before = arguments["epochs"]
        self.scale_epochs(arguments)
        if arguments["epochs"] != before:
            made.append(("fit.epochs", before, arguments["epochs"]))
        if "batch_size" in self.wanted:
            sizes = batches.change(arguments, self.wanted["batch_size"])
            if sizes:
                made.append(("fit.batch_size",) + sizes)
        if model in self._rate_factors:
            optimizers.scale_schedulers(
                callbacks,
                self._rate_factors[model],
                self.wanted.get("learning_rate"),
                arguments["epochs"],
            )
        _merge(diff, made)

    def scale_epochs(self, arguments):
        """`epochs` is that of the program's first fit; later fits keep their proportion to it."""
        if "epochs" not in self.wanted:
            return
        first, last = arguments["initial_epoch"], arguments["epochs"]
        if self._epochs_factor is None:
            self._first_epochs = max(1, last - first)
            self._epochs_factor = self.wanted["epochs"] / self._first_epochs
        elif self._epochs_factor > 1 and self._first_epochs == last - first == 1:
            # A loop of fits of one epoch each, as long as the program likes.
            raise Refused(
                "epochs: the program calls fit for one epoch at a time, and decides itself how often"
            )
        elif self._epochs_factor != 1:
            channel.note(
                "epochs: the program calls fit several times; the later calls keep their proportion"
            )
        arguments["initial_epoch"] = round(first * self._epochs_factor)
        count = max(1, round((last - first) * self._epochs_factor)) if last > first else 0
        arguments["epochs"] = arguments["initial_epoch"] + count

    def told(self, model):
        return model in self._told

    def tell(self, model):
        """The diff for the `model` line: path, from, to."""
        self._told.add(model)
        diff = self._diffs.get(model, [])
        return [
            {"path": path, "from": _text(before), "to": _text(after)}
            for path, before, after in diff
        ]


def _merge(diff, made):
    """A change of the same path made again is told once."""
    paths = {change[0] for change in made}
    diff[:] = [change for change in diff if change[0] not in paths] + made


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(name, wanted):
    if name not in KNOWN:
        channel.note(f"'{name}' is no change that Keras programs know; it is left out")
        del wanted[name]
        return
    types, smallest = KNOWN[name]
    value = wanted[name]
    if value in (0, "", None) and value is not False:  # as the program has it
        del wanted[name]
        return
    is_type = isinstance(value, types) and not isinstance(value, bool)
    too_small = is_type and smallest is not None and value < smallest
    if not is_type or too_small or (name == "dropout" and value >= 1):
        channel.fail(f"changes.{name}: found {value!r}, expected {_expected(name)}")


def _expected(name):
    if name == "optimizer":
        return "the name of an optimizer"
    if name == "dropout":
        return "a number between 0 and 1"
    return "a whole number from 1 on" if KNOWN[name][0] is int else "a number above 0"
