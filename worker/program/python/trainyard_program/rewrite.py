"""Changes a model's layers before its first training, within the object that the program holds.

The graph is called anew on the model's own inputs, layer by layer: a layer whose configuration
changes, or which gets another input shape, is made anew from its configuration; all others stay the
objects, with the weights, that they are. The model object then takes the new graph.
"""

import functools
import types

from trainyard_program import channel, describe
from trainyard_program.graph import (
    FLATTENING,
    WIDTHS,
    Graph,
    is_functional,
    is_model,
    is_sequential,
    kind,
    named,
    operation_of,
)
from trainyard_program.refused import Refused

WIDTH_STEP = 4
KERAS_MODULES = ("keras.", "tf_keras.", "tensorflow.", "builtins")


def is_buildable(model):
    return is_sequential(model) or is_functional(model)


def change(keras, model, wanted, made):
    """Makes the wanted changes of width, added_convs, added_dense, dropout; returns [(path, from,
    to)].

    `made` holds the signatures of models that are changed already; this one is added.
    """
    if not _is_plain(keras, model):
        raise Refused(
            f"{', '.join(wanted)}: model '{model.name}' is of the program's own class "
            f"{kind(model)}; only Sequential and functional models can be changed"
        )
    plan = Plan(keras, model, wanted, made)
    if plan.edits or plan.before:
        _rebuild(model, plan)
    made.add(describe.signature(model))
    return plan.diff


def _is_plain(keras, model):
    if not is_buildable(model):
        return False
    own = keras.Sequential if is_sequential(model) else keras.Model
    programs = [c for c in type(model).__mro__ if not c.__module__.startswith(KERAS_MODULES)]
    return isinstance(model, own) and not any(
        "__init__" in vars(c) or "call" in vars(c) for c in programs
    )


class Plan:
    """Which layers change (`edits`), which new ones stand before which (`before`), and the diff
    that people see.
    """

    def __init__(self, keras, model, wanted, made):
        self.keras, self.model, self.made = keras, model, made
        self.graph = Graph(model)
        self.edits = {}  # id of a layer -> changes of its configuration
        self.before = {}  # id of a layer -> new layers
        self.diff = []
        # Filters that an added convolution takes from another come after the width.
        if "width" in wanted:
            self._width(wanted["width"])
        if "added_convs" in wanted:
            self._convs(wanted["added_convs"])
        if "added_dense" in wanted:
            self._dense(wanted["added_dense"])
        if "dropout" in wanted:
            self._dropout(wanted["dropout"])

    def _edit(self, layer, key, before, after):
        self.edits.setdefault(id(layer), {})[key] = after
        self.diff.append((f"{layer.name}.{key}", before, after))

    def _insert(self, target, layer, text):
        self.before.setdefault(id(target), []).append(layer)
        self.diff.append((layer.name, "", text))

    def _width(self, factor):
        heads = {id(layer) for layer in self.graph.heads()}
        candidates = 0
        for layer in self.graph.layers:
            if is_model(layer):
                candidates += self._inner_width(layer, factor, id(layer) in heads)
                continue
            key = WIDTHS.get(kind(layer))
            if key is None or id(layer) in heads:
                continue
            if not layer.trainable:
                channel.note(f"width: {named(layer)} is frozen, so it is left as it is")
                continue
            candidates += 1
            before = getattr(layer, key)
            after = max(WIDTH_STEP, round(before * factor / WIDTH_STEP) * WIDTH_STEP)
            if after != before:
                self._edit(layer, key, before, after)
        if not candidates:
            raise Refused(
                f"width: model '{self.model.name}' has no hidden convolution or Dense layer "
                "that trains"
            )

    def _inner_width(self, model, factor, makes_output):
        """A model within the model is changed in its place too, so that the program's name for it
        stays true.
        """
        if not model.trainable or not any(kind(layer) in WIDTHS for layer in model.layers):
            return 0
        if describe.signature(model) in self.made:
            return 1
        if not _is_plain(self.keras, model):
            raise Refused(
                f"width: {named(model)} within model '{self.model.name}' is of the program's "
                "own class"
            )
        if makes_output and not [l for l in Graph(model).layers if kind(l) in WIDTHS][1:]:
            return 0
        inner = Plan(self.keras, model, {}, self.made)
        if makes_output:
            inner._width(factor)
        else:
            inner._width_of_all(factor)
        self.diff += [(f"{model.name}.{path}", before, after) for path, before, after in inner.diff]
        if inner.edits:
            _rebuild(model, inner)
            self.made.add(describe.signature(model))
            self.edits[id(model)] = {}
        return 1

    def _width_of_all(self, factor):
        """Of a model within another, whose output is a hidden layer."""
        heads, self.graph.heads = self.graph.heads, lambda: []
        try:
            self._width(factor)
        finally:
            self.graph.heads = heads

    def _convs(self, count):
        head = self.graph.head("added_convs")
        flats = self.graph.back_from(
            self.graph.parents[id(head)], lambda layer: kind(layer) in FLATTENING
        )
        if "Conv" in kind(head):  # it makes the output itself, and is flattened afterwards
            flats = [head]
        if len(flats) != 1:
            names = ", ".join(named(layer) for layer in flats) or "none"
            raise Refused(
                "added_convs: expected one Flatten or global pooling before the head, "
                f"found {names}"
            )
        convs = self.graph.back_from(
            self.graph.parents[id(flats[0])],
            lambda layer: kind(layer) in WIDTHS and "Conv" in kind(layer),
        )
        if not convs:
            raise Refused(f"added_convs: there is no convolution before {named(flats[0])}")
        like = convs[0]
        rank = next(digit for digit in kind(like) if digit in "123")
        filters = self.edits.get(id(like), {}).get("filters", like.filters)
        for number in range(1, count + 1):
            layer = getattr(self.keras.layers, f"Conv{rank}D")(
                filters,
                3,
                padding="same",
                activation="relu",
                data_format=like.data_format,
                name=f"trainyard_conv_{number}",
            )
            self._insert(
                flats[0], layer, f"Conv{rank}D(filters={filters}, kernel_size=3, activation=relu)"
            )

    def _dense(self, units):
        head = self.graph.head("added_dense")
        if kind(head) != "Dense":
            raise Refused(f"added_dense: the head {named(head)} is no Dense layer")
        layer = self.keras.layers.Dense(units, activation="relu", name="trainyard_dense")
        self._insert(head, layer, f"Dense(units={units}, activation=relu)")

    def _dropout(self, rate):
        dropouts = [layer for layer in self.graph.layers if kind(layer) == "Dropout"]
        for layer in dropouts:
            if layer.rate < rate:
                self._edit(layer, "rate", layer.rate, rate)
        if not dropouts:
            head = self.graph.head("dropout")
            layer = self.keras.layers.Dropout(rate, name="trainyard_dropout")
            self._insert(head, layer, f"Dropout(rate={rate:g})")
        elif not any(layer.rate < rate for layer in dropouts):
            channel.note(f"dropout: every Dropout layer's rate is {rate:g} or more already")


class Placer:
    """Calls layers, or what stands in for them, on new tensors."""

    def __init__(self, plan):
        self._plan = plan
        self._shapes = {id(layer): _input_shapes(layer) for layer in plan.graph.layers}
        self._stand_ins = {}  # id of a layer -> what is called in its place
        self._inserted = set()

    def __call__(self, layer, *args, **kwargs):
        before = self._plan.before.get(id(layer), ())
        if before:
            if id(layer) in self._inserted:
                raise Refused(
                    f"{named(layer)} is called several times, so nothing can be put before it"
                )
            if len(_shapes(args)) != 1:
                raise Refused(f"{named(layer)} has several inputs, so nothing can be put before it")
            self._inserted.add(id(layer))
            for new in before:
                args = (_call(new, *args),)
        return _call(self.stand_in(layer, args), *args, **kwargs)

    def stand_in(self, layer, args=None):
        if id(layer) not in self._stand_ins:
            edits = self._plan.edits.get(id(layer))
            moved = args is not None and _shapes(args) != self._shapes[id(layer)]
            if is_model(layer) or not (edits or moved) or not hasattr(layer, "weights"):
                self._stand_ins[id(layer)] = layer
            else:
                self._stand_ins[id(layer)] = _remade(layer, edits or {})
        return self._stand_ins[id(layer)]


def _remade(layer, edits):
    try:
        config = layer.get_config()
        config.update(edits)
        return type(layer).from_config(config)
    except Exception as error:
        raise Refused(f"layer {named(layer)} cannot be made anew: {_first_line(error)}") from None


def _call(layer, *args, **kwargs):
    try:
        return layer(*args, **kwargs)
    except Exception as error:
        raise Refused(
            f"the changes do not fit layer {named(layer)}: {_first_line(error)}"
        ) from None


def _first_line(error):
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[0] if lines else type(error).__name__


def _flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in _flat(part)]
    return [value]


def _shapes(args):
    return [tuple(tensor.shape) for tensor in _flat(args) if hasattr(tensor, "shape")]


def _input_shapes(layer):
    nodes = layer._inbound_nodes
    if not nodes:
        return None
    node = nodes[0]
    tensors = node.input_tensors if hasattr(node, "operation") else node.keras_inputs
    return [tuple(tensor.shape) for tensor in _flat(tensors)]


def _rebuild(model, plan):
    placer = Placer(plan)
    if is_sequential(model):
        _rebuild_sequential(model, plan, placer)
        return
    _drop_nodes(model, plan.graph.layers)
    if hasattr(model, "_run_through_graph"):
        _rebuild_functional(model, placer)
    else:
        _rebuild_functional_legacy(model, placer)


def _rebuild_sequential(model, plan, placer):
    layers = []
    tensor = model.inputs[0] if model.built and getattr(model, "inputs", None) else None
    for layer in model.layers:
        layers += plan.before.get(id(layer), [])
        if tensor is not None:
            tensor = placer(layer, tensor)
        layers.append(placer.stand_in(layer))
    if tensor is not None:
        for layer in layers:  # forget the calls above; the model makes its own
            del layer._inbound_nodes[-1]
    legacy = not hasattr(model, "_maybe_rebuild")
    later = {} if legacy else {"rebuild": False}
    if not legacy:
        first = [layer for layer in model._layers[:1] if kind(layer) == "InputLayer"]
    else:
        first = model.inputs[:1] if getattr(model, "_has_explicit_input_shape", False) else []
    while model.layers:
        model.pop(**later)
    if legacy:
        model._self_tracked_trackables = []
    else:
        model._layers.clear()
    for layer in list(first) + layers:
        if not is_model(layer) and kind(layer) != "InputLayer" and hasattr(layer, "_inbound_nodes"):
            del layer._inbound_nodes[:]  # else `layer.output` would be its output in the old graph
        model.add(layer, **later)
    if not legacy:
        model._maybe_rebuild()


def _drop_nodes(model, layers):
    """So that `layer.output` of a layer that stays will be its output in the new graph."""
    old = {
        id(node) for nodes in model._nodes_by_depth.values() for node in nodes if not node.is_input
    }
    for layer in layers:
        layer._inbound_nodes[:] = [node for node in layer._inbound_nodes if id(node) not in old]


def _rebuild_functional(model, placer):
    outputs = model._run_through_graph(
        model.inputs, operation_fn=lambda operation: functools.partial(placer, operation)
    )
    inputs, name, trainable = model._inputs_struct, model.name, model.trainable
    before = dict(vars(model))
    # As a new object begins; but functions that Keras makes for each object hold on to theirs.
    vars(model).clear()
    for key, value in vars(type(model).__new__(type(model), inputs, outputs)).items():
        vars(model)[key] = before[key] if isinstance(value, types.FunctionType) else value
    type(model).__init__(model, inputs, outputs, name=name)
    for key, value in before.items():  # what the program put there
        if not key.startswith("_") and key not in vars(model):
            setattr(model, key, value)
    if not trainable:
        model.trainable = False


def _rebuild_functional_legacy(model, placer):
    import tensorflow as tf

    tensors = {str(id(tensor)): tensor for tensor in model.inputs}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.map_arguments(
                {key: [value] * len(node.flat_input_ids) for key, value in tensors.items()}
            )
            outputs = placer(operation_of(node), *args, **kwargs)
            tensors.update(zip(node.flat_output_ids, tf.nest.flatten(outputs)))
    flat = [tensors[str(id(tensor))] for tensor in model.outputs]
    model._init_graph_network(
        model._nested_inputs, tf.nest.pack_sequence_as(model._nested_outputs, flat)
    )
