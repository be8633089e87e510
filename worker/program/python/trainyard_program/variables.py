"""A model's variables as a file: weights, the state of random generators, the optimizer.

By position, with names and shapes beside them, so that a program that has changed meanwhile is told
so.
"""

import numpy


class Mismatch(Exception):
    """The stored variables are not those of this model."""


def is_legacy(model):
    """Whether it is a model of Keras 2 (`tf_keras`, or TensorFlow before 2.16)."""
    return not hasattr(model, "metrics_variables")


def _groups(model):
    weights = list(model.weights)
    known = {id(variable) for variable in weights}
    if not is_legacy(model):
        known.update(id(variable) for variable in model.metrics_variables)
    optimizer = getattr(model, "optimizer", None)
    optimizer_variables = getattr(optimizer, "variables", [])
    if callable(optimizer_variables):
        optimizer_variables = optimizer_variables()
    known.update(id(variable) for variable in optimizer_variables)
    others = [variable for variable in model.variables if id(variable) not in known]
    return {"weight": weights, "state": others, "optimizer": list(optimizer_variables)}


def _array(variable):
    array = numpy.asarray(variable)
    # NumPy's own types only; bfloat16 fits into float32 without loss.
    return array if array.dtype.kind in "biuf" else array.astype("float32")


def save(model, path):
    arrays = {}
    for group, variables in _groups(model).items():
        for index, variable in enumerate(variables):
            name = getattr(variable, "path", None) or variable.name
            arrays[f"{group}:{index:05}:{name}"] = _array(variable)
    with open(path, "wb") as file:
        numpy.savez(file, **arrays)


def _assign(group, stored, variables):
    if len(stored) != len(variables):
        raise Mismatch(
            f"it has {len(stored)} {group} variables, the program's model {len(variables)}"
        )
    for (key, array), variable in zip(stored, variables):
        if tuple(array.shape) != tuple(variable.shape):
            name = key.split(":", 2)[2]
            raise Mismatch(
                f"{name} has shape {tuple(array.shape)}, the program's {tuple(variable.shape)}"
            )
    for (_, array), variable in zip(stored, variables):
        variable.assign(array)


def load(model, path, optimizer_must_fit):
    """Raises Mismatch and changes nothing of a group that does not fit."""
    _build_optimizer(model)
    with numpy.load(path, allow_pickle=False) as file:
        stored = {"weight": [], "state": [], "optimizer": []}
        for key in sorted(file.files):
            stored[key.split(":", 1)[0]].append((key, file[key]))
    groups = _groups(model)
    _assign("weight", stored["weight"], groups["weight"])
    for group, must_fit in (("state", False), ("optimizer", optimizer_must_fit)):
        try:
            _assign(group, stored[group], groups[group])
        except Mismatch:
            if must_fit:
                raise


def _build_optimizer(model):
    optimizer = getattr(model, "optimizer", None)
    if (
        optimizer is not None
        and hasattr(optimizer, "build")
        and not getattr(optimizer, "built", False)
    ):
        optimizer.build(model.trainable_variables)
