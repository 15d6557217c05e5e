"""Settings of one layer for a wanted output size.

Axes do not depend on each other. Along one of them the numbers that give an output of o on an input of i are those
with ``s (o - 1) <= i + 2p - k_e <= s o - 1``: given three of the four, the fourth is an interval, and nothing is
searched but the others.

Source: Dumoulin & Visin 2016, relationship 15, solved for each parameter.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.errors import Conv3dError, SpecError, shown
from conv3d_core.solve.answer import LARGEST, PARAMETERS, Solution, change_of, changed, weight_of, with_changes, words
from conv3d_core.spec import ConvSpec

# The last one of those that are searched is solved for; kernel_size comes first, so that it changes least.
_SEARCHED = ("kernel_size", "dilation", "stride", "padding")
_TOO_MUCH = 8  # times the smallest change: beside "stride=2" nobody looks for "kernel_size=17, dilation=24"


class _Demand(NamedTuple):
    """What is asked of one axis: an input of `size` shall give `least` to `most` outputs; None for however many."""

    size: int
    least: int
    most: int | None

    def met_by(self, axis: Axis) -> bool:
        outputs = axis.output_size(self.size)
        return self.least <= outputs and (self.most is None or outputs <= self.most)


def settings_for_output(
    spec: ConvSpec,
    input_shape: Sequence[int],
    wanted: Sequence[int | None],
    changing: Collection[str] = PARAMETERS,
) -> tuple[Solution, ...]:
    """The settings that give a wanted output size, the smallest change first; at most six, at least one.

    An answer for each set of parameters of which none can be spared, with the numbers that differ least. Axes that are
    set alike stay alike where one number serves them all. No answer raises padding to where outputs read nothing but
    zeros, dilation to where two taps no longer find voxels, or any parameter above 32; none lowers a kernel to a single
    tap; and none changes the numbers over eight times as much as another. Fewer changed parameters come first,
    kernel_size counted twice since it needs other weights; then smaller changes.

    Args:
        spec: the layer.
        input_shape: (N, D, H, W, C).
        wanted: (D, H, W) of the output; None along an axis for any, which is then left alone if the kernel fits.
        changing: the parameters that may change.

    Raises:
        SpecError: `wanted` is no such size, or no setting gives it.
        ShapeError: the input does not suit the layer, or every answer is larger than MLX can index.

    >>> [found.words for found in settings_for_output(ConvSpec(1, 8, 3), (1, 32, 32, 32, 1), (16, 16, 16))]
    ['dilation=8', 'stride=2, padding=1', 'kernel_size=17']
    """
    sizes = _wanted(wanted)
    demands = [
        _Demand(size, 1, None) if outputs is None else _Demand(size, outputs, outputs)
        for size, outputs in zip(_input_sizes(spec, input_shape), sizes, strict=True)
    ]
    return _solve(spec, input_shape, demands, changing)


def same(spec: ConvSpec, input_shape: Sequence[int]) -> tuple[Solution, ...]:
    """The settings that keep the size of this input.

    An even effective kernel at stride 1 has no padding that does, because MLX pads both sides alike
    (`ConvSpec.same_padding` says so): the answers for it change kernel_size or dilation.

    Raises:
        SpecError: no setting does.
        ShapeError: the input does not suit the layer.

    >>> [found.words for found in same(ConvSpec(1, 8, 4, padding=1), (1, 32, 32, 32, 1))]
    ['kernel_size=3', 'padding=3, dilation=2']
    """
    return settings_for_output(spec, input_shape, _input_sizes(spec, input_shape))


def half(spec: ConvSpec, input_shape: Sequence[int]) -> tuple[Solution, ...]:
    """The settings that halve the size of this input, an odd one rounded up or down: `Solution.note` says which.

    Stride and padding alone, if these can do it: only they halve other sizes, too.

    Raises:
        SpecError: no setting does.
        ShapeError: the input does not suit the layer.

    >>> [(found.words, found.note) for found in half(ConvSpec(1, 8, 3), (1, 33, 32, 32, 1))]
    [('stride=2, padding=1', 'half of D = 33 is rounded up to 17')]
    """
    sizes = _input_sizes(spec, input_shape)
    demands = [_Demand(size, max(1, size // 2), (size + 1) // 2) for size in sizes]
    try:
        return _solve(spec, input_shape, demands, ("stride", "padding"))
    except SpecError:
        return _solve(spec, input_shape, demands, PARAMETERS)


def _solve(
    spec: ConvSpec, input_shape: Sequence[int], demands: Sequence[_Demand], changing: Collection[str]
) -> tuple[Solution, ...]:
    names = [name for name in PARAMETERS if name in changing]
    found: dict[frozenset[str], tuple[Axis, Axis, Axis]] = {}
    for count in range(len(names) + 1):
        for chosen in map(frozenset, itertools.combinations(names, count)):
            if not any(smaller <= chosen for smaller in found):
                axes = _settings(spec, demands, chosen)
                if axes:
                    found[chosen] = axes
    if not found:
        raise _none(spec, demands, names)
    solutions: list[tuple[_Rank, Solution]] = []
    refused = None
    for axes in found.values():
        try:
            solutions.append((_rank(spec, axes), _solution(spec, input_shape, demands, axes)))
        except Conv3dError as error:  # larger than MLX can index
            refused = error
    if not solutions and refused:
        raise refused
    bearable = _TOO_MUCH * min(rank.change for rank, _ in solutions)
    ranked = sorted(solutions, key=lambda solution: solution[0])
    return tuple(solution for rank, solution in ranked if rank.change <= bearable)


def _solution(
    spec: ConvSpec, input_shape: Sequence[int], demands: Sequence[_Demand], axes: tuple[Axis, Axis, Axis]
) -> Solution:
    changes = changed(spec, axes)
    after = with_changes(spec, changes)
    n, d, h, w, c = (int(size) for size in input_shape)
    output_shape = after.output_shape(input_shape)
    notes = [
        f"half of {letter} = {demand.size} is rounded {'up' if 2 * outputs > demand.size else 'down'} to {outputs}"
        for letter, demand, outputs in zip(AXES, demands, output_shape[1:4], strict=True)
        if demand.most not in (None, demand.least)
    ]
    for stride in sorted({axis.stride for axis in axes}):
        along = [
            (letter, axis.effective_kernel_size)
            for letter, axis, old in zip(AXES, axes, spec.axes, strict=True)
            if axis.stride == stride > axis.effective_kernel_size and axis != old
        ]
        if along:
            least = min(length for _, length in along)
            letters = ", ".join(letter for letter, _ in along)
            notes.append(f"leaves {stride - least} of {stride} voxels between windows along {letters}")
    return Solution(changes, after, (n, d, h, w, c), output_shape, words(changes), "; ".join(notes))


class _Rank(NamedTuple):
    weight: int
    change: int
    uneven: bool
    places: list[int]


def _rank(spec: ConvSpec, axes: tuple[Axis, Axis, Axis]) -> _Rank:
    changes = changed(spec, axes)
    change = sum(map(change_of, spec.axes, axes))
    uneven = any(not isinstance(value, int) for value in changes.values())
    return _Rank(weight_of(changes), change, uneven, [PARAMETERS.index(name) for name in changes])


def _settings(spec: ConvSpec, demands: Sequence[_Demand], names: frozenset[str]) -> tuple[Axis, Axis, Axis] | None:
    """The three axes with only these parameters changed, as little as can be; None where that cannot be."""
    after: list[Axis] = list(spec.axes)
    asked = [
        place
        for place, (axis, demand) in enumerate(zip(spec.axes, demands, strict=True))
        # An axis of which nothing is asked takes no part as long as its kernel fits.
        if not (demand.most is None and demand.met_by(axis))
    ]
    for axis in dict.fromkeys(spec.axes[place] for place in asked):
        alike = [place for place in asked if spec.axes[place] == axis]
        found = _search(names, axis, [demands[place] for place in alike])
        for place in alike:
            best = found or _search(names, axis, [demands[place]])
            if best is None:
                return None
            after[place] = best
    d, h, w = after
    return d, h, w


def _search(names: frozenset[str], axis: Axis, demands: Sequence[_Demand]) -> Axis | None:
    """The axis that meets all demands with only these parameters changed, by the least in all."""
    if all(demand.met_by(axis) for demand in demands):
        return axis
    if len(names) == len(_SEARCHED):  # all four at once along one axis are never needed: three reach as far
        found = [best for name in _SEARCHED if (best := _search(names - {name}, axis, demands))]
        return min(found, key=lambda best: change_of(axis, best), default=None)
    ordered = [name for name in _SEARCHED if name in names]
    return _search_on(ordered, axis, axis, demands) if ordered else None


def _search_on(names: Sequence[str], old: Axis, axis: Axis, demands: Sequence[_Demand]) -> Axis | None:
    name, *others = names
    if not others:
        low, high = _interval(name, old, axis, demands)
        value = min(max(getattr(old, name), low), high)
        return axis._replace(**{name: value}) if low <= high else None
    best = None
    for value in _outward(getattr(old, name), *_limits(name, old, demands)):
        if best and abs(value - getattr(old, name)) >= change_of(old, best):
            break
        found = _search_on(others, old, axis._replace(**{name: value}), demands)
        if found and (best is None or change_of(old, found) < change_of(old, best)):
            best = found
    return best


def _interval(name: str, old: Axis, axis: Axis, demands: Sequence[_Demand]) -> tuple[int, int]:
    """The values of a parameter, smallest and largest, with which the axis meets all demands; none if low > high."""
    low, high = _limits(name, old, demands)
    # Padding beyond the kernel's reach makes outputs of zeros only: no answer begins to do that.
    excess = old.padding if old.padding >= old.effective_kernel_size else 0
    reach = max(axis.effective_kernel_size - 1, excess)
    gaps = {"kernel_size": axis.dilation, "dilation": axis.kernel_size - 1}
    if name == "padding":
        high = reach
    elif name not in gaps or not gaps[name]:  # it changes no length
        if axis.padding > reach:
            return 1, 0
        if name == "dilation":
            return (old.dilation, old.dilation) if all(demand.met_by(axis) for demand in demands) else (1, 0)
    for size, least, most in demands:
        span = axis.padded_size(size) - axis.effective_kernel_size
        if name == "padding":
            room = axis.effective_kernel_size - size
            low = max(low, -(-(axis.stride * (least - 1) + room) // 2))
            high = high if most is None else min(high, (axis.stride * most - 1 + room) // 2)
        elif name == "stride":
            high = high if least == 1 and span >= 0 else min(high, span // (least - 1) if least > 1 else 0)
            low = low if most is None else max(low, span // most + 1)
        else:
            # Of the effective kernel, less one.
            longest = axis.padded_size(size) - axis.stride * (least - 1) - 1
            shortest = 0 if most is None else axis.padded_size(size) - axis.stride * most
            if axis.padding > excess:
                shortest = max(shortest, axis.padding)
            # A kernel of one tap is 1 long at any dilation, so lengths count from it.
            offset = 1 if name == "kernel_size" else 0
            low = max(low, -(-shortest // gaps[name]) + offset)
            high = min(high, longest // gaps[name] + offset)
    return low, high


def _limits(name: str, old: Axis, demands: Sequence[_Demand]) -> tuple[int, int]:
    """The smallest and the largest value of a parameter that an answer may have; padding has others besides."""
    value: int = getattr(old, name)
    if name == "kernel_size":
        return min(value, 2), max(value, LARGEST)
    if name == "dilation":  # from the input's size on, two taps never both find a voxel
        return 1, max(value, min(LARGEST, min(demand.size for demand in demands) - 1))
    return (0 if name == "padding" else 1), max(value, LARGEST)


def _outward(value: int, low: int, high: int) -> Iterator[int]:
    """The integers from `low` to `high`, the nearest to a value first."""
    yield value
    for distance in range(1, max(value - low, high - value) + 1):
        if value - distance >= low:
            yield value - distance
        if value + distance <= high:
            yield value + distance


def _input_sizes(spec: ConvSpec, input_shape: Sequence[int]) -> list[int]:
    """D, H and W, once the input is seen to be one for the layer: a single tap fits any."""
    ConvSpec(spec.in_channels, 1, 1).output_shape(input_shape)
    return [int(size) for size in input_shape[1:4]]


def _wanted(wanted: Sequence[int | None]) -> list[int | None]:
    numbers = list(wanted)
    if len(numbers) != len(AXES):
        raise SpecError("wanted", f"{shown(numbers)} has {len(numbers)} sizes", "give three (D, H, W), None for any")
    for letter, number in zip(AXES, numbers, strict=True):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise SpecError(
                AXIS_NAMES[letter],
                f"an output of {shown(number)} is no size",
                "ask for an integer >= 1",
                field="wanted",
                axis=letter,
                value=number,
            )
    return numbers


def _none(spec: ConvSpec, demands: Sequence[_Demand], names: Sequence[str]) -> Conv3dError:
    """Why nothing was found: the first axis that cannot be had on its own, and the nearest sizes that can."""
    letter, demand = next(
        (letter, demand)
        for letter, axis, demand in zip(AXES, spec.axes, demands, strict=True)
        if _search(frozenset(names), axis, [demand]) is None
    )
    where = AXIS_NAMES[letter]
    asked = "an output" if demand.most is None else f"{demand.least:,} of {demand.size:,}"
    if set(names) != set(PARAMETERS):
        problem = f"{' and '.join(names) or 'no parameter'} alone cannot give {asked}"
        return SpecError(where, problem, "let other parameters change, too", field="wanted", axis=letter)
    # With a kernel of up to 32, padded or not, each stride reaches a range of sizes without gaps.
    ranges = [
        (max(0, demand.size - LARGEST) // stride + 1, (demand.size + LARGEST - 2) // stride + 1)
        for stride in range(1, LARGEST + 1)
    ]
    nearest = sorted(
        {min(max(demand.least, low), high) for low, high in ranges}, key=lambda size: abs(size - demand.least)
    )
    below = [size for size in nearest if size < demand.least][:1]
    above = [size for size in nearest if size > demand.least][:1]
    remedy = " or ".join(f"{size:,}" for size in below + above)
    return SpecError(
        where,
        f"no settings up to {LARGEST} give {asked}",
        f"ask for {remedy}, or use more than one layer",
        field="wanted",
        axis=letter,
        value=demand.least,
    )
