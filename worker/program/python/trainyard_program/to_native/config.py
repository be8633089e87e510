"""A model's configuration as a graph: what Keras 3 and Keras 2 write, read without Keras.

Only plain data is looked at; whatever Keras would have to import or execute for it is refused here.
"""

import dataclasses
import json

from trainyard_program.to_native.refused import Refused, shown

LAYERS_MAX = 10_000
DEPTH_MAX = 100


@dataclasses.dataclass
class Node:
    name: str
    kind: str  # class name
    config: dict
    inputs: list  # names

    def __str__(self):
        return f"{self.kind} '{shown(self.name)}'"


@dataclasses.dataclass
class Graph:
    name: str
    nodes: list  # each behind its inputs; the first is the input
    output: str
    input_shape: tuple  # as Keras has it, without the batch


def parse(text, where):
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where}: expected a model's configuration as JSON: {shown(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise Refused(f'{where}: expected a model\'s configuration: {{"class_name": ..., "config": ...}}')
    return config


def graph_of(config):
    """The graph of a Sequential or functional model."""
    kind, inner = config.get("class_name"), config["config"]
    if isinstance(inner, list):  # Keras 2.2 and before
        inner = {"name": "sequential", "layers": inner}
    entries = inner.get("layers")
    if kind not in ("Sequential", "Functional", "Model") or not isinstance(entries, list):
        raise Refused(
            f"the model is a {shown(kind)}, a class of the program's own: expected a Sequential or functional model"
        )
    if not 1 <= len(entries) <= LAYERS_MAX:
        raise Refused(f"found {len(entries)} layers, expected 1 to {LAYERS_MAX}")
    nodes = [_node(entry) for entry in entries]
    try:
        if kind == "Sequential":
            return _sequential(inner, nodes)
        return _functional(inner, nodes, entries)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise Refused(f"the model's configuration is not as Keras writes it: {shown(repr(error))}") from None


def _node(entry):
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise Refused('a layer\'s configuration: expected {"class_name": ..., "config": {...}}')
    config = entry["config"]
    node = Node(str(config.get("name") or entry.get("name")), str(entry.get("class_name")), config, [])
    if isinstance(config.get("layers"), list):
        raise Refused(f"{node}: a model inside the model; supported are layers alone: put its layers in its place")
    _check_plain(entry, node, 0)
    return node


def _check_plain(value, node, depth):
    """Nothing but Keras' own classes, so that building it runs no code of others."""
    if depth > DEPTH_MAX:
        raise Refused(f"{node}: its configuration is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, list):
        for item in value:
            _check_plain(item, node, depth + 1)
    if not isinstance(value, dict):
        return
    module, registered = value.get("module"), value.get("registered_name")
    own = registered is not None and ">" in str(registered) and not str(registered).startswith("keras")
    if value.get("class_name") in ("__lambda__", "Lambda"):
        raise Refused(f"{node}: holds code of the program's (a lambda), which has no native form")
    if own or ("class_name" in value and module is not None and str(module).split(".")[0] != "keras"):
        raise Refused(
            f"{node}: {shown(value.get('class_name'))} of {shown(module or registered)} is not Keras' own, and has no "
            "native form"
        )
    for item in value.values():
        _check_plain(item, node, depth + 1)


def _input_shape(config):
    for key in ("batch_shape", "batch_input_shape"):
        if config.get(key) is not None:
            return tuple(config[key])[1:]
    return None


def _sequential(inner, nodes):
    shape = next((s for s in (_input_shape(node.config) for node in nodes[:1]) if s is not None), None)
    if shape is None and inner.get("build_input_shape"):
        shape = tuple(inner["build_input_shape"])[1:]
    if shape is None:
        raise Refused("the model has no input shape: put keras.Input(shape=(height, width, channels)) first")
    if nodes[0].kind != "InputLayer":
        nodes.insert(0, Node("input", "InputLayer", {}, []))
    for before, node in zip(nodes, nodes[1:]):
        node.inputs = [before.name]
    _check_names(nodes)
    return Graph(str(inner.get("name")), nodes, nodes[-1].name, shape)


def _one(listed, what):
    """The name in [["name", 0, 0]] or ["name", 0, 0]."""
    if isinstance(listed, dict):
        listed = list(listed.values())
    if listed and isinstance(listed[0], str):
        listed = [listed]
    if len(listed) != 1:
        raise Refused(f"found {len(listed)} {what}s, expected one: native networks have one {what}")
    return str(listed[0][0])


def _functional(inner, nodes, entries):
    _check_names(nodes)
    by_name = {node.name: node for node in nodes}
    for node, entry in zip(nodes, entries):
        calls = entry.get("inbound_nodes") or []
        if len(calls) > 1:
            raise Refused(f"{node}: is used {len(calls)} times (shared weights); native layers are used once")
        node.inputs = [name for call in calls for name in _tensors_in(call)]
        unknown = next((name for name in node.inputs if name not in by_name), None)
        if unknown is not None:
            raise Refused(f"{node}: takes the output of '{shown(unknown)}', which is no layer of the model")
    start, end = by_name[_one(inner["input_layers"], "input")], by_name[_one(inner["output_layers"], "output")]
    shape = _input_shape(start.config)
    if shape is None:
        raise Refused(f"{start}: has no shape")
    return Graph(str(inner.get("name")), _sorted(by_name, start, end), end.name, shape)


def _check_names(nodes):
    seen = set()
    for node in nodes:
        if node.name in seen:
            raise Refused(f"{node}: found the name twice")
        seen.add(node.name)


def _tensors_in(value):
    """Names of the layers whose outputs a call takes, in order."""
    if isinstance(value, dict):
        history = value.get("config", {}).get("keras_history") if isinstance(value.get("config"), dict) else None
        if value.get("class_name") == "__keras_tensor__" and history:
            return [str(history[0])]
        return [name for item in value.values() for name in _tensors_in(item)]
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int) and isinstance(value[2], int):
            return [value[0]]  # Keras 2
        return [name for item in value for name in _tensors_in(item)]
    return []


def _sorted(by_name, start, end):
    """What leads to the end, each node behind its inputs."""
    order, state, stack = [], {}, [end]
    while stack:
        node = stack[-1]
        if state.get(node.name) == "done":
            stack.pop()
            continue
        if state.get(node.name) is None:
            state[node.name] = "open"
            ahead = [by_name[name] for name in node.inputs]
            if any(state.get(other.name) == "open" for other in ahead):
                raise Refused(f"{node}: its output leads back to its input")
            stack += [other for other in ahead if state.get(other.name) is None]
            if stack[-1] is not node:
                continue
        state[node.name] = "done"
        order.append(stack.pop())
    for node in order:
        if not node.inputs and node is not start:
            raise Refused(f"{node}: has no input")
    if start not in order:
        raise Refused("the model's output does not depend on its input")
    return order
