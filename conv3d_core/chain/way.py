"""The data's way: each layer, each thing passed over, is a step after the one before."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from conv3d_core.chain import calls
from conv3d_core.chain.calls import Unreadable
from conv3d_core.chain.layer import Framework, Layer
from conv3d_core.chain.objects import leaves
from conv3d_core.chain.pasted import Pasted
from conv3d_core.chain.values import Data, Made, Note, Symbol, Unknown
from conv3d_core.errors import SpecError, shown

MOST_LAYERS = 200
_VALUES = "it changes values and no shape, and is left out"
_JOINS = "it joins the data with what came from elsewhere, and its shape depends on both"
_SIZES = frozenset(
    ["shape", "size", "ndim", "dim", "dtype", "device", "numel", "item", "tolist", "nelement", "nbytes", "itemsize"]
)
_OVER_AXES = ("mean", "max", "amax")
# Of what a whole axis became, each number is combined with all that there were.
_BROADCAST = ("Mean", "Max", "AdaptiveAvgPool3d", "AdaptiveMaxPool3d")
_COMBINE = frozenset(["add", "subtract", "sub", "multiply", "mul", "divide", "div", "minimum", "where"])


class Way:
    """Makes the steps, and keeps what the text makes and says beside them."""

    def __init__(self, pasted: Pasted, framework: Framework) -> None:
        self.pasted = pasted
        self.framework = framework
        self.made: list[Made] = []
        self.applied: set[int] = set()
        self.noted: dict[tuple[int, str], None] = {}  # in order, each once
        self.deepest = Data()

    def beside(self, node: ast.stmt | ast.expr, why: str) -> None:
        """Says that a line is passed over, without a place on the way."""
        self.noted.setdefault((node.lineno, why))

    def note(self, data: Data, node: ast.stmt | ast.expr, why: str) -> Data:
        """A step of which only its line is known."""
        self.beside(node, why)
        return Data(data, None, Note(node.lineno, why), data.depth)

    def values(self, data: Data, node: ast.stmt | ast.expr) -> Data:
        """A step that changes values alone."""
        return Data(data, None, Note(node.lineno, _VALUES, keeps_shape=True), data.depth)

    def layer(self, data: Data, layer: Layer) -> Data:
        """A step through a layer."""
        if data.depth >= MOST_LAYERS:
            raise SpecError("text", f"the data passes more than {MOST_LAYERS} layers", "paste a part of it")
        after = Data(data, layer, None, data.depth + 1)
        if after.depth > self.deepest.depth:
            self.deepest = after
        return after

    def join(self, found: Sequence[Data], node: ast.expr | ast.stmt) -> Data:
        """Two ways that meet: the longer one goes on, unless it has just lost its axes (``x - x.mean(...)``)."""
        whole = [data for data in found if not (data.layer and data.layer.kind in _BROADCAST)]
        return self.note(max(whole or found, key=lambda data: data.depth), node, _JOINS)

    def make(
        self, kind: str, node: ast.Call, name: str, values: Sequence[object], keywords: Mapping[str, object]
    ) -> Made:
        """A layer from its constructor's call; what is wrong with it is kept until it is applied."""
        layer = Layer(kind, {}, call=name, line=node.lineno, span=self.pasted.span(node))
        made = Made(layer)
        self.made.append(made)
        try:
            bound = calls.bind(
                name.rpartition(".")[2],
                kind,
                self.framework,
                [literal(value) for value in values],
                {key: literal(value) for key, value in keywords.items()},
                node.lineno,
            )
        except SpecError as error:
            made.error = error
            return made
        made.layer = replace(layer, arguments=bound.arguments)
        self._left_out(node, bound.left_out)
        return made

    def through(self, data: Data, made: Made, name: str) -> Data:
        """The step through a layer that was made."""
        if made.error:
            raise made.error
        self.applied.add(id(made))
        return self.layer(data, replace(made.layer, name=name))

    def function(
        self,
        name: str,
        data: Data,
        values: Sequence[object],
        keywords: Mapping[str, object],
        node: ast.expr,
        call: str,
        *,
        is_here: bool = True,
    ) -> object:
        """What a function or method gives for the data; None where that is not known.

        Args:
            name: of the function.
            data: its first argument.
            values: the others by position.
            keywords: the others by name.
            node: where it is called.
            call: what stands there.
            is_here: the node is the call itself, and an edit can be made there.
        """
        name = name if name in calls.FUNCTIONS else name.removesuffix("_")
        if name in _OVER_AXES and not self._goes_over_axes(name, values, keywords):
            return None
        if name in calls.FUNCTIONS:
            kind, bound = calls.function(
                name,
                [literal(value) for value in values],
                {key: literal(value) for key, value in keywords.items()},
                self.framework,
                node.lineno,
            )
            self._left_out(node, bound.left_out)
            return self.layer(
                data, self._layer(kind, bound.arguments, node, call, self.pasted.span(node) if is_here else None)
            )
        if name in _SIZES:
            return Unknown(f"{call}(...)", quiet=True)
        if name in calls.SAME_ARRAY_FUNCTIONS:
            return data
        if name in calls.SAME_SHAPE_FUNCTIONS:
            return self.values(data, node)
        if name in ("maximum", "clamp_min") and values and _is_number(values[0]):
            is_relu = values[0] == 0
            return self.layer(data, self._layer("ReLU", {}, node, call)) if is_relu else self.values(data, node)
        if name in _COMBINE:
            return self.combine(data, [*values, *keywords.values()], node)
        return self._reshaping(name, data, list(values), dict(keywords), node, call)

    def _goes_over_axes(self, name: str, values: Sequence[object], keywords: Mapping[str, object]) -> bool:
        """Whether a mean is one over known axes: over all of them it is a loss, or a number to print."""
        if name == "max" and self.framework == "torch":  # gives two arrays
            return False
        axis = [keywords.get("axis", keywords.get("dim")), *values][-1 if values else 0]
        return literal(axis) is not None and not isinstance(literal(axis), Unreadable)

    def combine(self, data: Data, others: Sequence[object], node: ast.expr | ast.stmt) -> Data:
        """The data and something else, element by element."""
        found = [data, *datas(others)]
        if len(found) > 1:
            return self.join(found, node)
        if all(_is_number(other) or other is None for other in others):
            return self.values(data, node)
        return self.note(data, node, _JOINS)

    def indexed(self, data: Data, index: object, node: ast.Subscript) -> Data:
        """``x[None]`` and other indices."""
        parts = list(index) if isinstance(index, tuple) else [index]
        new = [place for place, part in enumerate(parts) if part is None or _newaxis(part)]
        if not new or not all(part is None or part is ... or _newaxis(part) or part == slice(None) for part in parts):
            return self.note(data, node, "it takes a part of the data, and its shape is not followed")
        after_dots = parts.index(...) if ... in parts else len(parts)
        for place in new:
            axis = place if place < after_dots else place - len(parts)
            data = self.layer(data, self._layer("ExpandDims", {"axis": axis}, node, "x[None]"))
        return data

    def _reshaping(
        self, name: str, data: Data, values: list[object], keywords: dict[str, object], node: ast.expr, call: str
    ) -> Data | None:
        if name in ("reshape", "view"):
            sizes = _spread(values or list(keywords.values()))
            return self._reshaped(data, sizes, node, call)
        if name in ("unsqueeze", "expand_dims"):
            axes = _spread(values or list(keywords.values()))
            if axes and all(_is_integer(axis) for axis in axes):
                for axis in axes:
                    data = self.layer(data, self._layer("ExpandDims", {"axis": axis}, node, call))
                return data
        if name in ("permute", "transpose", "swapaxes", "moveaxis", "movedim"):
            axes = _spread([*values, *keywords.values()])
            if all(_is_integer(axis) for axis in axes):
                # Two axes are all that torch.transpose takes, and MLX's takes all of them.
                swaps = name == "swapaxes" or (name == "transpose" and self.framework == "torch")
                word = "swap" if swaps else "move" if name in ("moveaxis", "movedim") else "axes"
                if word == "axes" or len(axes) == 2:
                    return self.layer(data, self._layer("Transpose", {word: tuple(axes)}, node, call))
        return None

    def _reshaped(self, data: Data, sizes: list[object], node: ast.expr, call: str) -> Data:
        flat = sizes == [-1]
        *leading, last = sizes or [None]
        kept = all(isinstance(size, Unknown) for size in leading)
        if leading and not flat:
            # (batch, -1), (batch, 512), (-1, 512): all but the batch in one; (batch, channels, -1): all but two.
            flat = (last == -1 and kept) or (
                len(leading) == 1
                and (kept or _is_integer(leading[0]))
                and (_is_integer(last) or isinstance(last, Unknown))
            )
        if not flat:
            return self.note(data, node, "it gives the data a new shape that is not followed")
        return self.layer(data, self._layer("Flatten", {"start_dim": len(leading), "end_dim": -1}, node, call))

    def _layer(
        self,
        kind: str,
        arguments: Mapping[str, object],
        node: ast.expr,
        call: str,
        span: tuple[int, int] | None = None,
    ) -> Layer:
        return Layer(kind, dict(arguments), call=call, line=node.lineno, span=span)

    def _left_out(self, node: ast.expr, arguments: Sequence[str]) -> None:
        for argument in arguments:
            self.beside(node, f"{argument} is not a value that the text gives, and is left out")


def literal(value: object) -> object:
    """A constant as an argument; what is none is `Unreadable`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        if leaves(value) is None:
            return Unreadable("a long list")
        items = tuple(literal(item) for item in value)
        for item in items:
            if isinstance(item, Unreadable):
                return item
        return items
    if isinstance(value, Unknown):
        return Unreadable(value.text)
    if isinstance(value, Symbol):
        return Unreadable(value.path)
    return Unreadable(shown(value) if isinstance(value, bytes | complex) else "it")


def datas(values: object) -> list[Data]:
    """The data among values, also inside of lists."""
    return [value for value in leaves(values) or () if isinstance(value, Data)]


def _spread(values: list[object]) -> list[object]:
    """One list or tuple of sizes, or the sizes one after the other."""
    return [size for value in values for size in (value if isinstance(value, list | tuple) else [value])]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _newaxis(value: object) -> bool:
    return isinstance(value, Symbol) and value.last == "newaxis"
