"""Upsample: how many voxels interpolation makes, and which it looks at, in both frameworks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from conv3d_core.axis import AXIS_NAMES
from conv3d_core.chain.given import SPACE, Effect, Given
from conv3d_core.chain.reach import Averaged, Reading, Resampled
from conv3d_core.errors import ShapeError, shown
from conv3d_core.spec import integer_of

_HALF = Fraction(1, 2)
# Which modes PyTorch has for how many axes.
_TORCH_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}
_NEAREST = ("nearest", "nearest-exact", "area")


class _Along(NamedTuple):
    """An axis to be resampled; the scale is None where a size was given."""

    size: int
    outputs: int
    scale: Fraction | None

    @property
    def ratio(self) -> Fraction:
        """Input voxels an output, from the sizes that there are."""
        return Fraction(self.size, self.outputs)

    @property
    def corners(self) -> Fraction:
        """Input voxels an output where the first and the last of both lie on each other."""
        return Fraction(self.size - 1, max(self.outputs - 1, 1))


def upsample(given: Given) -> Effect:
    """The effect of an Upsample: per axis ``floor(size * scale)`` voxels, in floating point as the frameworks do.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    return _mlx(given) if given.framework == "mlx" else _torch(given)


def _mlx(given: Given) -> Effect:
    mode = given.word("mode", ("nearest", "linear", "cubic"))
    corners, antialias = given.flag("align_corners"), given.flag("antialias")
    if antialias and (mode == "nearest" or corners):
        with_what = "mode='nearest'" if mode == "nearest" else "align_corners=True"
        given.refuse("antialias", f"True does not go with {with_what}", "leave it out")
    scales = _numbers(given, given.value("scale_factor"))
    if len(given.shape) < 3:
        raise _axes_error(given, "three or more")
    positions = range(1, len(given.shape) - 1)
    along = _scaled(given, positions, scales)
    whole = all(axis.scale is not None and axis.scale.denominator == 1 for axis in along)
    return _effect(given, positions, along, [_mlx_reading(axis, mode, corners, antialias, whole) for axis in along])


def _mlx_reading(axis: _Along, mode: str, corners: bool, antialias: bool, whole: bool) -> Reading:
    scale = axis.scale or Fraction(1)
    if mode == "nearest":
        if not whole and axis.outputs > axis.size:
            return Resampled(axis.ratio, axis.ratio / 2 - _HALF, "round")
        return Resampled(1 / scale if whole else axis.ratio)
    radius = Fraction(1 if mode == "linear" else 2)
    if corners:
        return Resampled(axis.corners, Fraction(0), mode, radius)
    step = 1 / scale
    # MLX lays the middle of the outputs on the middle of the input, also where the floor dropped a part of one.
    offset = (axis.size - 1 - (axis.outputs - 1) * step) / 2
    if antialias:
        return Resampled(step, offset, "smooth", radius * max(Fraction(1), step))
    return Resampled(step, offset, mode, radius)


def _torch(given: Given) -> Effect:
    axes = len(given.shape)
    linear = _TORCH_MODES.get(axes)
    if linear is None:
        raise _axes_error(given, "three to five")
    mode = given.word("mode", (*_NEAREST, linear, *(["bicubic"] if axes == 4 else [])))
    corners = given.value("align_corners")
    if corners is not None:
        corners = given.flag("align_corners")
        if mode in _NEAREST:
            given.refuse("align_corners", f"{corners} does not go with mode={mode!r}", "leave it out")
    again = given.value("recompute_scale_factor") is not None and given.flag("recompute_scale_factor")
    positions = range(2, axes)
    size, scale = given.value("size"), given.value("scale_factor")
    if (size is None) == (scale is None):
        both = "both are given" if scale is not None else "neither it nor size is given"
        given.refuse("scale_factor", both, "give size or scale_factor")
    if size is not None:
        if again:
            given.refuse("recompute_scale_factor", "True does not go with size", "leave it out")
        along = _sized(given, positions, size)
    else:
        if isinstance(scale, list):
            given.refuse("scale_factor", f"{shown(scale)} is a list, which PyTorch does not take", "use a tuple")
        along = _scaled(given, positions, _numbers(given, scale))
        if again:
            along = [axis._replace(scale=None) for axis in along]
    return _effect(given, positions, along, [_torch_reading(axis, mode, corners is True) for axis in along])


def _torch_reading(axis: _Along, mode: str, corners: bool) -> Reading:
    if mode == "area":
        return Averaged(axis.ratio)
    ratio = 1 / axis.scale if axis.scale else axis.ratio
    if mode in _NEAREST:
        return Resampled(ratio, ratio / 2 if mode == "nearest-exact" else Fraction(0))
    cubic = mode == "bicubic"
    how, radius = ("cubic", Fraction(2)) if cubic else ("linear", Fraction(1))
    if corners:
        return Resampled(axis.corners if axis.outputs > 1 else Fraction(0), Fraction(0), how, radius)
    return Resampled(ratio, ratio / 2 - _HALF, how, radius)


def _effect(given: Given, positions: Sequence[int], along: Sequence[_Along], readings: Sequence[Reading]) -> Effect:
    sizes = {position: axis.outputs for position, axis in zip(positions, along, strict=True)}
    shape = given.replaced(sizes)
    given.check_elements("output", "scale_factor", shape)
    return Effect(shape, given.letters, readings=dict(zip(positions, readings, strict=True)))


def _scaled(given: Given, positions: Sequence[int], scales: Sequence[int | float]) -> list[_Along]:
    if len(scales) == 1 and not isinstance(given.value("scale_factor"), list | tuple):
        scales = [*scales] * len(positions)
    _check_count(given, "scale_factor", len(scales), len(positions))
    along = []
    for place, (position, scale) in enumerate(zip(positions, scales, strict=True)):
        size = given.shape[position]
        # As the frameworks multiply: 3 * 0.33333333 may be just below 1.
        outputs = int(float(scale) * size)
        if outputs < 1:
            letter = SPACE[place] if len(positions) == len(SPACE) else given.letters[position]
            name = AXIS_NAMES.get(letter, f"axis {position}")
            raise ShapeError(
                name,
                f"scale_factor {scale} makes floor({size} * {scale}) = 0 of {size}",
                f"use scale_factor >= 1/{size}" if size > 1 else "use scale_factor >= 1",
                field="scale_factor",
                axis=letter if letter in AXIS_NAMES else None,
                value=scale,
            )
        along.append(_Along(size, outputs, Fraction(str(scale))))
    return along


def _sized(given: Given, positions: Sequence[int], size: object) -> list[_Along]:
    sizes = [*size] if isinstance(size, list | tuple) else [size] * len(positions)
    _check_count(given, "size", len(sizes), len(positions))
    outputs = [integer_of("size", number, 1) for number in sizes]
    return [_Along(given.shape[position], number, None) for position, number in zip(positions, outputs, strict=True)]


def _numbers(given: Given, value: object) -> list[int | float]:
    """The scales, one for all axes or one each."""
    numbers = [
        given.as_number("scale_factor", scale) for scale in (value if isinstance(value, list | tuple) else [value])
    ]
    for number in numbers:
        if number <= 0:
            given.refuse("scale_factor", f"{shown(number)} is not above 0", "use a number such as 2")
    return numbers


def _check_count(given: Given, name: str, count: int, wanted: int) -> None:
    if count != wanted:
        given.refuse(name, f"{count} numbers for {wanted} axes of {given.shape}", f"use one, or {wanted}")


def _axes_error(given: Given, taken: str) -> ShapeError:
    return ShapeError(
        "input",
        f"{given.shape} has {len(given.shape)} axes and Upsample takes {taken}",
        "use five sizes (N, D, H, W, C)" if given.framework == "mlx" else "use five sizes (N, C, D, H, W)",
        value=given.shape,
    )
