"""The batch size of a call of fit: how many images a step takes, and how to change it."""

import numpy

from trainyard_program import channel

DEFAULT_BATCH_SIZE = 32
MAX_WRAPPED = 64  # data sets of TensorFlow wrap one another


def _is_dataset(x):
    return hasattr(x, "element_spec") and hasattr(x, "map")


def is_arrays(x):
    if isinstance(x, (list, tuple, dict)):
        parts = list(x.values()) if isinstance(x, dict) else list(x)
        return bool(parts) and all(hasattr(part, "shape") for part in parts)
    return hasattr(x, "shape") and hasattr(x, "dtype")


def head_of(x):
    """The first row of each array."""
    if isinstance(x, dict):
        return {name: head_of(part) for name, part in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(head_of(part) for part in x)
    return x if x is None else x[:1]


def _length(x):
    while isinstance(x, (list, tuple, dict)):
        x = next(iter(x.values())) if isinstance(x, dict) else x[0]
    return int(x.shape[0])


def batch_size_of(x, batch_size):
    """What a step takes, or None where nobody can tell."""
    if is_arrays(x):
        return batch_size or DEFAULT_BATCH_SIZE
    if _is_dataset(x):
        inner = x
        for _ in range(MAX_WRAPPED):
            size = getattr(inner, "_batch_size", None)
            if size is not None:
                return int(numpy.asarray(size))
            inner = getattr(inner, "_input_dataset", None)
            if inner is None:
                return None
    size = getattr(x, "batch_size", None)
    return size if isinstance(size, int) else None


def image_counter(arguments):
    """A function from the steps of an epoch to the images trained on, None where unknown."""
    x, size = arguments["x"], batch_size_of(arguments["x"], arguments["batch_size"])
    limit = None
    if is_arrays(x) and not arguments["steps_per_epoch"]:
        limit = int(_length(x) * (1 - (arguments["validation_split"] or 0)))
    elif isinstance(getattr(x, "n", None), int):  # ImageDataGenerator's iterators
        limit = x.n

    def count(steps):
        if size is None:
            return None
        return steps * size if limit is None else min(steps * size, limit)

    return count


def change(arguments, wanted):
    """Makes fit take batches of that size; returns (from, to), or None where it is so already or
    cannot be.
    """
    x = arguments["x"]
    size = batch_size_of(x, arguments["batch_size"])
    if size == wanted:
        return None
    if is_arrays(x):
        arguments["batch_size"] = wanted
    elif _is_dataset(x):
        if size is None:
            channel.note(
                "batch_size: the data set is not batched by `batch`, so it is left as it is"
            )
            return None
        # `rebatch` keeps what stands behind the old batches, such as augmentation.
        arguments["x"] = (
            x.rebatch(wanted).prefetch(2) if hasattr(x, "rebatch") else x.unbatch().batch(wanted)
        )
    elif size is not None and _resize(x, size, wanted):
        pass
    else:
        channel.note(
            f"batch_size: the program's {type(x).__name__} makes its own batches, so they are left"
        )
        return None
    if arguments["steps_per_epoch"]:
        arguments["steps_per_epoch"] = max(1, round(arguments["steps_per_epoch"] * size / wanted))
    return size, wanted


def _resize(x, size, wanted):
    """Sets `batch_size` of a PyDataset or Sequence, if its length follows."""
    before = len(x)
    x.batch_size = wanted
    if abs(len(x) - before * size / wanted) <= 1 + before * size / wanted * 0.01:
        return True
    x.batch_size = size
    return False
