"""From the graph to native layers: chains as they are, sums as residuals."""

import math

import numpy

from trainyard_program.to_native import layers, native
from trainyard_program.to_native.layers import Shape
from trainyard_program.to_native.native import Layer
from trainyard_program.to_native.refused import Refused, shown


def input_of(graph):
    """The input as an image; a Reshape may make it one."""
    sizes, first = graph.input_shape, graph.nodes[1] if len(graph.nodes) > 1 else graph.nodes[0]
    target = first.config.get("target_shape") if first.kind == "Reshape" else None
    if len(sizes) == 1 and isinstance(target, list) and len(target) == 3:
        sizes = target if sizes[0] == math.prod(n for n in target if type(n) is int) else sizes
    elif len(sizes) == 2:
        if next((n.kind for n in graph.nodes[1:] if n.kind != "Rescaling"), "") not in ("Flatten", "Reshape"):
            raise Refused(f"{first}: an input without channels has a native form before Flatten and Reshape only")
        sizes = (*sizes, 1)
    valid = len(sizes) == 3 and all(type(size) is int for size in sizes)
    if not valid or not all(1 <= n <= high for n, high in zip(sizes, [native.SIDE_MAX] * 2 + [native.FILTERS_MAX])):
        raise Refused(
            f"the model's input has the shape {shown(list(graph.input_shape))}, expected an image: height and width of "
            f"1 to {native.SIDE_MAX}, channels of 1 to {native.FILTERS_MAX}"
        )
    return Shape(sizes[2], sizes[0], sizes[1])


class Translator:
    def __init__(self, graph):
        self._by_name = {node.name: node for node in graph.nodes}
        self._graph = graph
        self._input = graph.nodes[0]
        self._fork = {}  # name of a sum -> the node where its sides part
        self._translated = set()
        self._values = 0

    def run(self):
        """(native layers, shape at the end)."""
        shape = input_of(self._graph)
        self._count(shape, self._input)
        self._find_forks()
        items = self._path(self._graph.output, self._input.name, 0)
        return self._translate(items, shape)

    def _find_forks(self):
        """Every node's immediate dominator; that of a sum is where its sides part."""
        depth, above = {self._input.name: 0}, {}
        for node in self._graph.nodes[1:]:
            if node.kind == "Add" and len(node.inputs) == 2:
                a, b = node.inputs
                while a != b:
                    if depth[a] >= depth[b]:
                        a = above[a]
                    else:
                        b = above[b]
                self._fork[node.name] = above[node.name] = a
            elif len(node.inputs) == 1 and node.kind != "Add":
                above[node.name] = node.inputs[0]
            else:
                raise Refused(
                    f"{node}: takes {len(node.inputs)} inputs; supported are layers with one, and Add with two"
                )
            depth[node.name] = depth[above[node.name]] + 1

    def _path(self, end, start, nesting):
        """What leads from `start` to `end`: nodes, and (sum, side, side) for sums."""
        if nesting > native.NESTING_MAX:
            raise Refused(f"{self._by_name[end]}: residuals are nested deeper than {native.NESTING_MAX} levels")
        items, name = [], end
        while name != start:
            node = self._by_name[name]
            if name in self._translated:
                raise Refused(
                    f"{node}: its output goes more than one way, and not into the two sides of one Add: supported are "
                    "chains of layers and residual blocks"
                )
            self._translated.add(name)
            fork = self._fork.get(name)
            if fork is None:
                items.append(node)
                name = node.inputs[0]
            else:
                items.append((node, *(self._path(side, fork, nesting + 1) for side in node.inputs)))
                name = fork
        return items[::-1]

    def _translate(self, items, shape):
        result = []
        for item in items:
            if isinstance(item, tuple):
                made, shape = self._sum(*item, shape)
            else:
                made, shape = layers.translate(item, shape)
            self._count(shape, item[0] if isinstance(item, tuple) else item)
            result += made
        return _merge_padding(result), shape

    def _sum(self, node, one, other, shape):
        (one, left), (other, right) = self._translate(one, shape), self._translate(other, shape)
        if left != right:
            raise Refused(f"{node}: its sides give {left} and {right}; supported are sums of equal shapes")
        if len(one) < len(other):
            one, other = other, one
        if not one:
            raise Refused(f"{node}: adds a value to itself, which has no native form")
        bare = next((layer for layer in one + other if layer.kind == "head"), None)
        if bare is not None:
            raise Refused(f"{bare.origin}: {bare.options['function']} has a native form at the end only")
        return [Layer("residual", str(node), body=one, shortcut=other)], left

    def _count(self, shape, node):
        self._values += shape.size()
        if self._values > native.ACTIVATIONS_MAX:
            raise Refused(f"{node}: one image makes more than {native.ACTIVATIONS_MAX} values up to here; too large")


def _merge_padding(chain):
    """Zeros around an image become the padding of the window behind them."""
    result = []
    for layer in chain:
        if not result or result[-1].kind != "pad":
            result.append(layer)
            continue
        pad = result.pop()
        sides = pad.options["padding"]
        # A maximum over zeros is one over nothing where all else is at least zero.
        positive = layer.kind == "max_pool" and result and result[-1].kind == "relu"
        if layer.kind != "conv" and not positive or layer.options.get("padding") != (0, 0, 0, 0):
            _refuse_pad(pad)
        kernel = layer.options["kernel"]
        if max(sides[:2]) >= kernel[0] or max(sides[2:]) >= kernel[1]:
            raise Refused(f"{pad.origin}: found {sides} before a kernel of {kernel}, expected less than the kernel")
        layer.options["padding"] = sides
        layer.origin = f"{pad.origin}, {layer.origin}"
        result.append(layer)
    if result and result[-1].kind == "pad":
        _refuse_pad(result[-1])
    return result


def _refuse_pad(pad):
    raise Refused(
        f"{pad.origin}: supported just before a convolution without padding, or before max pooling behind a relu"
    )


def translate(graph):
    """(native layers, input shape, classes, head): the head is the softmax or sigmoid that was left out, or None."""
    chain, shape = Translator(graph).run()
    head = chain.pop() if chain and chain[-1].kind == "head" else None
    misplaced = next((layer for layer in chain if layer.kind == "head"), None)
    if misplaced is not None:
        raise Refused(f"{misplaced.origin}: {misplaced.options['function']} has a native form at the end only")
    if (shape.height, shape.width) != (1, 1) or shape.image is not None:
        raise Refused(f"the model ends in {shape} values, expected one for each class: a vector")
    classes = shape.channels
    if head is not None and head.options["function"] == "sigmoid":
        if classes != 1 or not chain or chain[-1].kind != "dense":
            raise Refused(f"{head.origin}: sigmoid has a native form at the end only, behind a Dense of 1 unit")
        _two_classes(chain[-1])
        classes = 2
    if classes < 2:
        raise Refused("the model ends in one value, expected one for each class: it is no classifier")
    count = native.parameters(chain)
    if not 1 <= count <= native.PARAMETERS_MAX:
        raise Refused(f"the model has {count} weights, expected 1 to {native.PARAMETERS_MAX}")
    return chain, input_of(graph), classes, head


def _two_classes(dense):
    """sigmoid(z) is the second of softmax(0, z)."""
    before = dense.tensors
    dense.options["units"] = 2
    dense.dims = {role: (2, *dims[1:]) for role, dims in dense.dims.items()}

    def tensors(layer):
        return {role: numpy.concatenate([numpy.zeros_like(one), one]) for role, one in before(layer).items()}

    dense.tensors = tensors
