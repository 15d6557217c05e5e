"""The windows that convolutions and poolings lay along D, H and W."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.chain.layer import Case, Framework, Layer, Sizes
from conv3d_core.chain.reach import Taps
from conv3d_core.chain.trace import Row, trace
from conv3d_core.diagnosis.wording import size_formula
from conv3d_core.errors import SpecError
from conv3d_core.spec import Triple, triple_of

# Along an axis that is longer voxels are not counted one by one.
MAX_COUNTED = 10**5
WINDOWED = ("Conv3d", "MaxPool3d", "AvgPool3d")


class Along(NamedTuple):
    """A layer along one axis.

    Attributes:
        letter: "D", "H" or "W".
        axis: its arithmetic.
        size: voxels that it gets.
        outputs: voxels that it gives.
    """

    letter: str
    axis: Axis
    size: int
    outputs: int

    @property
    def name(self) -> str:
        """The axis in words."""
        return AXIS_NAMES[self.letter]

    @property
    def dropped(self) -> int:
        """Voxels at the end that no window reaches."""
        last = self.axis.window(self.outputs - 1)[1]
        return min(self.size, max(0, self.size - 1 - last))

    @property
    def skipped(self) -> int:
        """Voxels before those that no tap reads; 0 where there are too many to count."""
        return _skipped(self.axis, self.size)

    @property
    def only_padding(self) -> int:
        """Outputs whose whole window lies in the padding, at either end."""
        k, s, p = self.axis.effective_kernel_size, self.axis.stride, self.axis.padding
        before = min(self.outputs, max(0, -(-(p - k + 1) // s)))
        after = max(0, self.outputs - max(0, -(-(self.size + p) // s)))
        return min(self.outputs, before + after)

    @property
    def formula(self) -> str:
        """The size formula with the numbers.

        >>> Along("D", Axis(5), 4, 0).formula
        'floor((4 + 2*0 - 5) / 1) + 1 = floor(-1) + 1 = 0'
        """
        return size_formula(self.axis, self.size)


@functools.lru_cache(maxsize=1024)
def _skipped(axis: Axis, size: int) -> int:
    touching = axis.dilation == 1 and axis.stride <= axis.kernel_size
    if touching or axis.stride == 1 == axis.kernel_size or size > MAX_COUNTED or not axis.fits(size):
        return 0
    last = axis.window(axis.output_size(size) - 1)[1]
    return axis.readers_per_voxel(size)[: max(0, last + 1)].count(0)


def axes_of(layer: Layer, framework: Framework) -> tuple[Axis, Axis, Axis] | None:
    """A layer's axes as its arguments have them; None where it lays no windows, or its numbers make none."""
    if layer.kind not in WINDOWED:
        return None

    def triple(name: str, minimum: int) -> Triple:
        return triple_of(name, layer.value(name, framework), minimum)

    try:
        kernel, padding = triple("kernel_size", 1), triple("padding", 0)
        stride = kernel if layer.value("stride", framework) is None else triple("stride", 1)
        dilated = layer.kind == "Conv3d" or (layer.kind == "MaxPool3d" and framework == "torch")
        dilation = triple("dilation", 1) if dilated else (1, 1, 1)
    except SpecError:
        return None
    d, h, w = (Axis(*numbers) for numbers in zip(kernel, stride, padding, dilation, strict=True))
    return d, h, w


def along(row: Row) -> tuple[Along, ...]:
    """A convolution or pooling that its input fits, along each axis that it knows as such; none for other layers."""
    if row.layer.kind not in WINDOWED or not set(AXES) <= set(row.letters):
        return ()
    found = []
    for letter, reading in zip(AXES, row.readings, strict=True):
        if not isinstance(reading, Taps):
            return ()
        position = row.letters.index(letter)
        found.append(Along(letter, reading.axis, row.input_shape[position], row.output_shape[position]))
    return tuple(found)


def unfit(layer: Layer, case: Case, shape: Sizes) -> tuple[Along, ...]:
    """The axes along which a layer's windows do not fit what comes to it."""
    axes, places = axes_of(layer, case.chain.framework), space(shape, case.chain.framework)
    if axes is None or not places:
        return ()
    found = [Along(letter, axis, shape[place], 0) for letter, axis, place in zip(AXES, axes, places, strict=True)]
    return tuple(each for each in found if not each.axis.fits(each.size))


def space(shape: Sizes, framework: Framework) -> range:
    """Positions of D, H and W in an array as a framework reads it; none where it is no volume."""
    if framework == "torch" and len(shape) in (4, 5):
        return range(len(shape) - 3, len(shape))
    return range(1, 4) if framework == "mlx" and len(shape) == 5 else range(0)


def input_space(case: Case) -> tuple[int, ...]:
    """Positions of D, H and W in the input, also where the text turns it first; none where it is no volume."""
    letters = trace(case).input_letters
    if set(AXES) <= set(letters):
        return tuple(map(letters.index, AXES))
    return tuple(space(case.input_shape, case.chain.framework))


def with_axes(values: Sequence[int], changes: Mapping[int, int]) -> Triple:
    """Three numbers with some of them replaced, by their place.

    >>> with_axes((0, 0, 0), {1: 2})
    (0, 2, 0)
    """
    d, h, w = (changes.get(place, value) for place, value in enumerate(values))
    return d, h, w


def three_of(value: object) -> Triple | None:
    """An argument as three numbers; None where it is no number and no three.

    >>> three_of(2), three_of([1, 2, 3]), three_of("same")
    ((2, 2, 2), (1, 2, 3), None)
    """
    three = list(value) if isinstance(value, tuple | list) else [value] * 3
    numbers = [number for number in three if isinstance(number, int) and not isinstance(number, bool)]
    if len(three) != 3 or len(numbers) != 3:
        return None
    d, h, w = numbers
    return d, h, w
