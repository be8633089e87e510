"""Wraps Model.compile, Model.fit and Model.evaluate of a Keras that was just imported."""

import functools
import inspect
import os
import signal
import sys
import threading

from trainyard_program import channel, changes, fit
from trainyard_program.epochs import Epochs, figures_of, guarded
from trainyard_program.run import Run

EXIT_TERMINATED = 143

_run = None


def the_run():
    global _run
    if _run is None:
        _run = Run()
    return _run


def patch(keras):
    if not hasattr(keras, "Model") or not hasattr(keras.Model, "fit"):
        return  # something else of that name
    run = the_run()
    model_class = keras.Model
    _wrap(model_class, "compile", functools.partial(_compile, run, keras))
    _wrap(model_class, "fit", functools.partial(_fit, run, keras, _callback(keras, Epochs)))
    _wrap(model_class, "evaluate", functools.partial(_evaluate, run, _callback(keras, Judgement)))
    _handle_sigterm()


def _callback(keras, mixin):
    return type(f"Trainyard{mixin.__name__}", (mixin, keras.callbacks.Callback), {})


def _wrap(model_class, name, replacement):
    original = getattr(model_class, name)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def method(self, *args, **kwargs):
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return original(self, *args, **kwargs)  # raises what the program is to see
        return replacement(original, self, bound)

    # Where it is defined: Keras asks whether a class of models has a `compile` of its own.
    setattr(next(c for c in model_class.__mro__ if name in vars(c)), name, method)


def _call(original, bound):
    return original(*bound.args, **bound.kwargs)


def _compile(run, keras, original, model, bound):
    if not run.busy and run.changes and not _loads_a_model():
        try:
            run.changes.for_compile(keras, model, bound.arguments)
        except changes.Refused as refusal:
            channel.fail(str(refusal))
        except Exception as error:  # untold, a change would be missing from the model
            channel.fail(f"the changes cannot be made to model '{model.name}': {error!r}")
    return _call(original, bound)


def _loads_a_model():
    """Whether Keras itself compiles a model that it reads from a file."""
    frame = sys._getframe(2)
    while frame is not None:
        if ".saving" in frame.f_globals.get("__name__", ""):
            return True
        frame = frame.f_back
    return False


def _fit(run, keras, callback_class, original, model, bound):
    if run.busy or not run.owns():
        return _call(original, bound)
    given = (bound.args, bound.kwargs)
    followed = fit.begin(run, keras, callback_class, model, bound)
    run.busy = True
    try:
        if followed is None:
            return original(*given[0], **given[1])
        history = _call(original, bound)
    finally:
        run.busy = False
    fit.end(followed, history)
    return history


class Judgement:
    """Catches the metrics of an evaluation by name, whatever form the program asked for."""

    async_safe = True
    _supports_tf_logs = True
    figures = None

    @guarded
    def on_test_end(self, logs=None):
        self.figures = figures_of(logs or {})


def _evaluate(run, callback_class, original, model, bound):
    if run.busy or not run.owns():
        return _call(original, bound)
    stored = run.stored_evaluation()
    if stored is not None:
        run.evaluations.append(stored)
        return stored
    channel.phase("evaluating")
    judgement = callback_class()
    bound.apply_defaults()
    callbacks = bound.arguments["callbacks"]
    if not hasattr(callbacks, "callbacks"):  # a CallbackList of the program's stays as it is
        bound.arguments["callbacks"] = fit.flat(callbacks) + [judgement]
    run.busy = True
    try:
        result = _call(original, bound)
    finally:
        run.busy = False
    run.evaluations.append(_plain(result))
    # The training data judges nothing.
    if judgement.figures and bound.arguments["x"] is not run.trained_on():
        channel.emit({"result": judgement.figures})
    return result


def _plain(result):
    if isinstance(result, dict):
        return {name: _plain(value) for name, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [_plain(value) for value in result]
    return float(result)


def _handle_sigterm():
    """Exit status 143 at once: the last epoch is stored. A handler of the program's own stays."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    owner = os.getpid()

    def terminate(number, frame):
        if os.getpid() != owner:  # a forked child: as if we were not there
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
