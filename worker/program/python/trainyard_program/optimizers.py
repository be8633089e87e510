"""Another optimizer by name, another learning rate: for numbers, schedules and
LearningRateScheduler.

The learning rate goes with the program from one optimizer to the next: in proportion to what the
two take by default, so that 0.1 for `sgd` (default 0.01) is 0.01 for `adam` (default 0.001).
"""

import contextlib
import io

from trainyard_program.refused import Refused

KEPT = (
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "weight_decay",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
)
# What a schedule's configuration calls learning rates; all else in it is relative or counts steps.
RATES = ("initial_learning_rate", "warmup_target", "end_learning_rate", "values")
PROBED_STEPS = (0, 1, 10, 100, 1000, 10000)


def change(keras, given, name, rate):
    """(optimizer, changes, factor on learning rates) for compile's argument `given`."""
    if name is None and rate is None:
        return given, [], 1
    optimizer = keras.optimizers.get(given)
    if optimizer is None:
        raise Refused("optimizer: the program compiles the model without one")
    before, made = optimizer, []
    factor = 1
    if name is not None and type(optimizer).__name__.lower() != name.lower():
        optimizer, factor = _exchange(keras, optimizer, name)
        made.append(("optimizer", type(before).__name__.lower(), name))
    old_rate = rate_of(keras, before)
    if rate is not None:
        factor = rate / old_rate if old_rate else 1
        optimizer = _with_rate(keras, optimizer, _scaled(keras, _raw_rate(before), factor, rate))
    if factor != 1:
        made.append(("optimizer.learning_rate", old_rate, rate_of(keras, optimizer)))
    return optimizer, made, factor


def _exchange(keras, before, name):
    try:
        default = keras.optimizers.get(name)
    except Exception:
        raise Refused(f"optimizer: this Keras has none named '{name}'") from None
    factor = rate_of(keras, default) / _default_rate(keras, before)
    config, old = default.get_config(), before.get_config()
    config.update({key: old[key] for key in KEPT if key in config and old.get(key) is not None})
    raw = _raw_rate(before)
    config["learning_rate"] = _scaled(keras, raw, factor, None)
    return type(default).from_config(config), factor


def _default_rate(keras, optimizer):
    try:
        return rate_of(keras, type(optimizer)())
    except Exception:  # the program's own class, with arguments of its own
        return rate_of(keras, optimizer)


def _is_schedule(keras, rate):
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)


def _raw_rate(optimizer):
    """The number or schedule that the optimizer was made with."""
    rate = getattr(optimizer, "_learning_rate", None)
    return optimizer.learning_rate if rate is None else rate


def rate_of(keras, optimizer):
    """The learning rate; of a schedule its highest."""
    rate = _raw_rate(optimizer)
    if not _is_schedule(keras, rate):
        return _round(float(rate))
    config = _config_of(rate)
    rates = [config[key] for key in RATES if key in config and config[key] is not None]
    flat = [
        value for part in rates for value in (part if isinstance(part, (list, tuple)) else [part])
    ]
    return _round(
        max([float(value) for value in flat] or [float(rate(step)) for step in PROBED_STEPS])
    )


def _round(value):
    return float(f"{value:.6g}")  # variables are float32: 0.001 comes back as 0.0010000000474974513


def _config_of(schedule):
    try:
        return schedule.get_config()
    except NotImplementedError:
        return {}


def _scaled(keras, raw, factor, wanted):
    if not _is_schedule(keras, raw):
        return float(wanted) if wanted is not None else _round(float(raw) * factor)
    config = _config_of(raw)
    known = [key for key in RATES if config.get(key) is not None]
    if not known:
        return _scaled_schedule(keras)(raw, factor)
    for key in known:
        value = config[key]
        many = isinstance(value, (list, tuple))
        config[key] = [_round(v * factor) for v in value] if many else _round(value * factor)
    return type(raw).from_config(config)


def _with_rate(keras, optimizer, rate):
    raw = _raw_rate(optimizer)
    if not _is_schedule(keras, raw) and not _is_schedule(keras, rate):
        optimizer.learning_rate = rate  # the program may hold this object
        return optimizer
    config = optimizer.get_config()
    config["learning_rate"] = rate
    return type(optimizer).from_config(config)


def _scaled_schedule(keras):
    class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
        """A schedule of the program's own class, times a factor."""

        def __init__(self, schedule, factor):
            self.schedule, self.factor = schedule, factor

        def __call__(self, step):
            return self.schedule(step) * self.factor

        def get_config(self):
            schedule = {
                "class_name": type(self.schedule).__name__,
                "config": _config_of(self.schedule),
            }
            return {"schedule": schedule, "factor": self.factor}

    return ScaledSchedule


def scale_schedulers(callbacks, factor, wanted, epochs):
    """LearningRateScheduler sets the rate anew at each epoch; it must follow the change.

    Its function may start from the rate at hand or not: its highest value tells the factor, and it
    is called with the rate that it would see without us.
    """
    for callback in callbacks:
        if type(callback).__name__ != "LearningRateScheduler" or hasattr(
            callback, "_trainyard_factor"
        ):
            continue
        if wanted is not None:
            highest = _highest(callback.schedule, wanted / factor, epochs)
            absolute = wanted / highest if highest else factor
        else:
            absolute = factor
        callback.schedule = _Scaled(callback.schedule, absolute)
        callback._trainyard_factor = absolute


def _highest(schedule, rate, epochs):
    rates = []
    with contextlib.redirect_stdout(io.StringIO()):
        for epoch in range(epochs):
            try:
                rates.append(float(schedule(epoch, rate)))
            except TypeError:
                rates.append(float(schedule(epoch)))
    return max(rates, default=0)


class _Scaled:
    def __init__(self, schedule, factor):
        self._schedule, self._factor = schedule, factor

    def __call__(self, epoch, rate=None):
        try:
            value = self._schedule(epoch, rate / self._factor)
        except TypeError:
            value = self._schedule(epoch)
        return float(value) * self._factor
