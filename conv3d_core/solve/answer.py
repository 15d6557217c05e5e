"""One answer: what to change, and the layer that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conv3d_core import shapes
from conv3d_core.axis import Axis
from conv3d_core.chain.layer import Case
from conv3d_core.source_code import short
from conv3d_core.spec import ConvSpec, Shape, Triple

# In the order in which they are offered when all else is equal.
PARAMETERS = ("padding", "stride", "dilation", "kernel_size")
# No answer goes beyond it, unless the layer already does: nobody trains a kernel of 40, and searches stay short.
LARGEST = 32
AS_IT_IS = "as it is"

Value = int | Triple


@dataclass(frozen=True, slots=True)
class Solution:
    """Settings that give what was asked for.

    Attributes:
        changes: by MLX's name of the argument, one number where D, H and W are alike; empty where nothing need change.
        spec: the layer with these changes.
        input_shape: (N, D, H, W, C) that the layer gets; another than before only where memory asks for it.
        output_shape: what the layer makes of it.
        words: the change, as it stands on a button: "stride=2, padding=1".
        note: what comes of it that is not said by these, in a clause; may be empty.
        case: the chain and its input after the change, where the layer was asked about in one.
    """

    changes: Mapping[str, Value]
    spec: ConvSpec
    input_shape: Shape
    output_shape: Shape
    words: str
    note: str = ""
    case: Case | None = None

    @property
    def parameters(self) -> int:
        """Numbers that training would change in the layer after the change."""
        return shapes.parameter_count(self.spec)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass through the layer after the change."""
        return shapes.macs(self.spec, self.input_shape)


def changed(spec: ConvSpec, axes: tuple[Axis, Axis, Axis]) -> dict[str, Value]:
    """What differs when a layer gets these axes, by argument, in the constructor's order.

    >>> changed(ConvSpec(1, 8, 3), (Axis(3, 1, 1), Axis(3, 2, 1), Axis(3, 2, 1)))
    {'stride': (1, 2, 2), 'padding': 1}
    """
    changes: dict[str, Value] = {}
    for name in Axis._fields:
        d, h, w = (getattr(axis, name) for axis in axes)
        if (d, h, w) != getattr(spec, name):
            changes[name] = short((d, h, w))
    return changes


def with_changes(spec: ConvSpec, changes: Mapping[str, Value]) -> ConvSpec:
    """The layer with some arguments replaced.

    Raises:
        SpecError: there is no such layer.
    """
    return ConvSpec.from_dict({**spec.to_dict(), **changes})


def words(changes: Mapping[str, object]) -> str:
    """Changes as they are written in the constructor.

    >>> words({"stride": (1, 2, 2), "padding": 1})
    'stride=(1, 2, 2), padding=1'
    """
    return ", ".join(f"{name}={value!r}" for name, value in changes.items()) or AS_IT_IS


def product(sizes: tuple[int, ...]) -> str:
    """Sizes to read.

    >>> product((3, 4, 5))
    '3 x 4 x 5'
    """
    return " x ".join(f"{size:,}" for size in sizes)


def change_of(before: Axis, after: Axis) -> int:
    """By how much the numbers of an axis differ in all."""
    return sum(abs(new - old) for new, old in zip(after, before, strict=True))


def weight_of(changes: Mapping[str, object]) -> int:
    """How many arguments change; kernel_size counts twice, because the weights must be made anew for it."""
    return len(changes) + ("kernel_size" in changes)
