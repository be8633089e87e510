"""The callback that follows a fit: reports and stores each epoch, restores what was stored.

It stands behind the program's own callbacks, so that it sees what they decided at the epoch's end.
"""

import functools
import time

from trainyard_program import batches, channel, user_callbacks
from trainyard_program.describe import describe

ACCURACIES = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)


def accuracy_of(logs):
    """The accuracy among metrics, whatever the program calls it; None without one."""
    for name in ACCURACIES:
        if name in logs:
            return logs[name]
    ends = [
        name
        for name in logs
        if name.endswith(("_accuracy", "_acc")) and not name.startswith("val_")
    ]
    return logs[ends[0]] if len(ends) == 1 else None


def figures_of(logs):
    """`loss` and `accuracy` of a training's or evaluation's metrics."""
    figures = {"loss": logs.get("loss"), "accuracy": accuracy_of(logs)}
    return {name: float(value) for name, value in figures.items() if value is not None}


def learning_rate_of(model, logs):
    for name in ("learning_rate", "lr"):
        if name in logs:
            return float(logs[name])
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    rate = getattr(optimizer, "learning_rate", None)
    if callable(rate) and not hasattr(rate, "numpy"):
        rate = rate(optimizer.iterations)
    return None if rate is None else float(rate)


def guarded(method):
    """A fault of ours is noted, and the training goes on."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            channel.note(f"{method.__name__}: {error!r}")

    return call


class Epochs:
    """Mixed with the Callback class of the Keras at hand, by keras_hooks."""

    async_safe = True
    _supports_tf_logs = True

    def follow(self, run, keras, callbacks, images, data):
        self.run, self.keras, self.theirs = run, keras, callbacks
        self.images, self.data = images, data
        self.record = {"history": {}, "epoch": []}
        self.tells = True
        self.restores = None  # what to do before the first epoch: a function(model)
        self._merged = False
        self._train_seconds = None
        self._began_s = time.monotonic()
        self._first_step = run.step

    @guarded
    def on_train_begin(self, logs=None):
        if self.restores is not None:
            try:
                _build(self.model, self.data)
                self.restores(self.model)
            except Exception as error:  # unsaid, it would train on from fresh weights
                channel.fail(
                    f"the checkpoint does not fit the program's model '{self.model.name}': {error}"
                )
        self._tell_model()
        channel.phase("training")

    @guarded
    def on_epoch_begin(self, epoch, logs=None):
        self.merge_history(self.model.history)
        self._began_s = time.monotonic()
        self._train_seconds = None
        self._first_step = self.run.step
        channel.phase("training")

    @guarded
    def on_train_batch_end(self, batch, logs=None):
        self.run.step = self._first_step + batch + 1
        self._tell_model()
        channel.step(self.run.step)

    @guarded
    def on_test_begin(self, logs=None):
        self._train_seconds = time.monotonic() - self._began_s
        channel.phase("evaluating")

    def _tell_model(self):
        if not self.tells or not self.model.built or self.run.changes.told(self.model):
            return
        changes = self.run.changes.tell(self.model)
        channel.emit(
            {
                "model": {
                    "description": describe(self.model),
                    "parameters": int(self.model.count_params()),
                    "changes": changes,
                }
            }
        )

    @guarded
    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self._began_s
        logs = {name: _number(value) for name, value in (logs or {}).items()}
        self.record["epoch"].append(epoch)
        for name, value in logs.items():
            self.record["history"].setdefault(name, []).append(value)
        line = {"epoch": self.run.epochs + len(self.record["epoch"]), "step": self.run.step}
        line.update(figures_of(logs))
        validation = {
            name[len("val_") :]: value for name, value in logs.items() if name.startswith("val_")
        }
        line.update({f"val_{name}": value for name, value in figures_of(validation).items()})
        rate = learning_rate_of(self.model, logs)
        if rate is not None:
            line["learning_rate"] = float(f"{rate:.6g}")  # a float32
        line["seconds"] = round(seconds, 3)
        train_seconds = seconds if self._train_seconds is None else self._train_seconds
        images = self.images(self.run.step - self._first_step)
        if images and train_seconds > 0:
            line["images_per_second"] = round(images / train_seconds, 1)
        self._store(epoch, line)
        channel.emit(line)

    def _store(self, epoch, line):
        if self.run.store is None:
            return
        over = bool(getattr(self.model, "stop_training", False))
        self.record["next_epoch"] = self.record["epochs"] if over else epoch + 1
        state = self.run.state(self.record)
        state["callbacks"] = user_callbacks.capture(self.theirs)
        state["random"] = user_callbacks.random_state()
        files = self.run.files + user_callbacks.written_files(self.theirs)
        try:
            line["checkpoint"] = self.run.store.write(
                line["epoch"], state, self.keras, self.model, self.theirs, files
            )
        except Exception as error:
            channel.note(f"no checkpoint of epoch {line['epoch']}: {error!r}")

    def merge_history(self, history):
        """Puts the stored epochs before those to come, once."""
        if not self._merged:
            self._merged = True
            history.epoch[:0] = self.record["epoch"]
            for name, values in self.record["history"].items():
                history.history[name] = list(values) + history.history.get(name, [])


def _number(value):
    return float(value) if getattr(value, "ndim", 0) == 0 else [float(one) for one in value]


def _build(model, data):
    """Keras builds some models at their first batch, which is too late to restore them."""
    if model.built and model.weights:
        return
    x, y = data
    if hasattr(x, "element_spec"):
        batch = next(iter(x))
    elif batches.is_arrays(x):
        batch = (batches.head_of(x), batches.head_of(y))
    elif hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        batch = x[0]
    else:
        return  # a generator's first batch would be missing from the training
    if hasattr(model, "_symbolic_build"):
        model._symbolic_build(data_batch=batch)
    else:
        model(batch[0] if isinstance(batch, (tuple, list)) else batch)
