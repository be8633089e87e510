"""One call of fit, from what the program asked for to the History it gets."""

import weakref

from trainyard_program import batches, channel, changes, user_callbacks


class Fit:
    def __init__(self, run, keras, callback_class, model, bound):
        self.run = run
        self.model = model
        self.bound = bound
        bound.apply_defaults()
        arguments = bound.arguments
        self.theirs = flat(arguments["callbacks"])
        run.trained_on = _weakly(arguments["x"])
        self.finished, stored = run.stored_fit(model)
        if not self.finished:
            run.changes.for_fit(run, keras, model, arguments, self.theirs)
        else:
            run.changes.scale_epochs(arguments)  # the first fit sets the measure for those to come
        self.ours = callback_class()
        data = arguments["x"], arguments["y"]
        self.ours.follow(run, keras, self.theirs, batches.image_counter(arguments), data)
        self.ours.record["model"] = run.number_of(model)
        self.ours.record["epochs"] = arguments["epochs"]
        if stored is not None:
            self._go_on(stored, arguments)
        arguments["callbacks"] = self._with_ours(arguments["callbacks"])

    def _go_on(self, stored, arguments):
        run = self.run
        self.ours.record = stored
        if self.finished:
            # Keras builds the model and makes the History, but trains nothing.
            arguments["initial_epoch"] = arguments["epochs"] = 0
            arguments["verbose"] = 0
            arguments["callbacks"], self.theirs = [], []
            self.ours.tells = False
            self.ours.restores = lambda model: run.store.load_finished(model, stored["model"])
            return
        next_epoch = stored["next_epoch"]
        if (
            next_epoch < stored["epochs"]
        ):  # not stopped early; the number of epochs may have been changed since
            arguments["initial_epoch"] = min(next_epoch, arguments["epochs"])
            stored["epochs"] = arguments["epochs"]
        else:
            arguments["initial_epoch"] = arguments["epochs"]
        run.step = run.resumed["step"]
        run.store.restore_files(run.resumed["files"])
        user_callbacks.append_to_logs(self.theirs)
        self.ours.restores = self._restore_current

    def _restore_current(self, model):
        resumed, store = self.run.resumed, self.run.store
        store.load_current(model)
        user_callbacks.restore(self.theirs, resumed["callbacks"])
        user_callbacks.load_best_weights(self.theirs, store.resume_from)
        user_callbacks.set_random_state(resumed["random"])

    def _with_ours(self, callbacks):
        if hasattr(callbacks, "callbacks"):  # a CallbackList that the program made itself
            callbacks.callbacks.append(self.ours)
            self.ours.set_model(self.model)
            return callbacks
        return flat(callbacks) + [self.ours]

    def end(self, history):
        """Makes the History whole and keeps what a continued program will need of this fit."""
        self.ours.merge_history(history)
        record = {name: self.ours.record[name] for name in ("model", "epochs", "epoch", "history")}
        if self.finished:
            history.params = {**(history.params or {}), "epochs": record["epochs"]}
        elif self.run.store is not None:
            self.run.store.keep_finished(self.model, record["model"])
        self.run.finish_fit(record, user_callbacks.written_files(self.theirs))


def flat(callbacks):
    if callbacks is None:
        return []
    if hasattr(callbacks, "callbacks"):
        return list(callbacks.callbacks)
    if isinstance(callbacks, (list, tuple)):
        return [one for part in callbacks for one in flat(part)] if callbacks else []
    return [callbacks]


def _weakly(data):
    try:
        return weakref.ref(data)
    except TypeError:  # a list or a dict
        return lambda: None


def begin(run, keras, callback_class, model, bound):
    """The Fit, or None where it cannot be followed: it is then as if we were not there."""
    try:
        return Fit(run, keras, callback_class, model, bound)
    except changes.Refused as refusal:
        channel.fail(str(refusal))
    except Exception as error:
        channel.note(f"this call of fit is not followed: {error!r}")
        return None


def end(fit, history):
    try:
        fit.end(history)
    except Exception as error:
        channel.note(f"the end of this call of fit is not stored: {error!r}")
