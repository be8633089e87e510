"""A Sequential or functional model as a graph of layers, for Keras 3 and Keras 2 alike."""

from trainyard_program.refused import Refused

# What carries the width, and its name in the layer's configuration.
WIDTHS = {
    "Conv1D": "filters",
    "Conv2D": "filters",
    "Conv3D": "filters",
    "Conv1DTranspose": "filters",
    "Conv2DTranspose": "filters",
    "Conv3DTranspose": "filters",
    "SeparableConv1D": "filters",
    "SeparableConv2D": "filters",
    "Dense": "units",
}
# Layers with weights that may stand between the head and the output.
NORMALISING = (
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "PReLU",
)
FLATTENING = (
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
)


def kind(layer):
    return type(layer).__name__


def is_model(layer):
    return hasattr(layer, "layers") and hasattr(layer, "compile")


def is_functional(model):
    return hasattr(model, "_nodes_by_depth") and not hasattr(model, "pop")


def is_sequential(model):
    return hasattr(model, "pop") and hasattr(model, "add")


def named(layer):
    return f"'{layer.name}' ({kind(layer)})"


class Graph:
    """Layers in the order of computation, and for each those that it reads from."""

    def __init__(self, model):
        self.layers = []
        self.parents = {}  # id of a layer -> layers
        if is_sequential(model):
            previous = []
            for layer in model.layers:
                self._add(layer, previous)
                previous = [layer]
            self.outputs = previous
        else:
            for depth in sorted(model._nodes_by_depth, reverse=True):
                for node in model._nodes_by_depth[depth]:
                    self._add(operation_of(node), parents_of(node))
            self.outputs = [tensor._keras_history[0] for tensor in model.outputs]

    def _add(self, layer, parents):
        if id(layer) not in self.parents:
            self.layers.append(layer)
            self.parents[id(layer)] = []
        self.parents[id(layer)] += parents

    def back_from(self, layers, stops):
        """The first layers for which `stops` holds, on every way back from `layers` (those
        included).
        """
        found, waiting, seen = [], list(layers), set()
        while waiting:
            layer = waiting.pop(0)
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if stops(layer):
                found.append(layer)
            else:
                waiting += self.parents[id(layer)]
        return found

    def heads(self):
        """The layers that make the outputs: the last ones with weights, behind them only
        activations and the like.
        """
        return self.back_from(self.outputs, self._has_weights)

    def _has_weights(self, layer):
        if kind(layer) in WIDTHS or is_model(layer):
            return True
        return bool(getattr(layer, "weights", ())) and kind(layer) not in NORMALISING

    def head(self, change):
        heads = self.heads()
        if len(heads) != 1:
            names = ", ".join(named(layer) for layer in heads) or "none"
            raise Refused(
                f"{change}: expected one layer that makes the model's output, found {names}"
            )
        return heads[0]


def operation_of(node):
    return node.operation if hasattr(node, "operation") else node.layer


def parents_of(node):
    if hasattr(node, "operation"):
        return [tensor._keras_history[0] for tensor in node.input_tensors]
    return [] if node.is_input else [step[0] for step in node.iterate_inbound()]
