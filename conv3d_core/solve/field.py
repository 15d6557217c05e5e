"""Settings of one layer of a stack for a wanted receptive field.

Along an axis the field is ``1 + sum((k_e - 1) * jump)``. A layer's own kernel counts by its jump, known from the layers
before it; its stride multiplies what all layers behind it add. So both are solved for.

Source: Araujo, Norris & Sim 2019, eq. 1-3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.errors import Conv3dError, SpecError, shown
from conv3d_core.receptive_field import receptive_field
from conv3d_core.solve.answer import (
    LARGEST,
    Solution,
    change_of,
    changed,
    product,
    weight_of,
    with_changes,
    words,
)
from conv3d_core.spec import ConvSpec, Shape
from conv3d_core.stack import stack_shapes

MOST = 6


class Place(NamedTuple):
    """Where a layer stands along one axis, as far as the receptive field of the whole depends on it.

    Attributes:
        size: voxels that the layer gets.
        jump: input voxels between two of these.
        field: voxels of the input that the whole spans.
        behind: how many of them the layers behind this one add.
    """

    size: int
    jump: int
    field: int
    behind: int


class _Rank(NamedTuple):
    overshoot: int
    resized: bool
    weight: int
    change: int


def settings_for_field(
    specs: Sequence[ConvSpec], index: int, wanted: int | Sequence[int], input_shape: Sequence[int]
) -> tuple[Solution, ...]:
    """The settings of one layer with which a stack spans at least a wanted receptive field; at most six, at least one.

    kernel_size, dilation or both, with padding moved so that the layer's output keeps its size where it can; or, before
    other layers, stride. The smallest overshoot comes first, then what keeps the sizes, then the smallest change.

    Args:
        specs: the layers, the first one first.
        index: of the layer that may change.
        wanted: voxels, one number or (D, H, W).
        input_shape: (N, D, H, W, C) that the first layer gets.

    Raises:
        SpecError: no setting of this layer does it.
        ShapeError: the input does not suit the layers.

    >>> spec = ConvSpec(1, 1, 3, padding=1)
    >>> for found in settings_for_field([spec, spec], 1, 9, (1, 32, 32, 32, 1)):
    ...     print(found.words, "-", found.note)
    padding=3, dilation=3 - receptive field 9 x 9 x 9, sizes as before
    kernel_size=7, padding=3 - receptive field 9 x 9 x 9, sizes as before
    """
    field, before = receptive_field(specs), specs[index]
    through = receptive_field(specs[: index + 1])
    shapes: list[Shape] = [_five(input_shape), *stack_shapes(specs, input_shape)]
    jumps = receptive_field(specs[:index]).jump if index else (1, 1, 1)
    targets = _targets(wanted)
    places = [
        Place(size, jump, whole, whole - so_far)
        for size, jump, whole, so_far in zip(shapes[index][1:4], jumps, field.size, through.size, strict=True)
    ]
    answers: dict[str, tuple[_Rank, Solution]] = {}
    for axes in candidates(before, places, targets):
        changes = changed(before, axes)
        try:
            after = with_changes(before, changes)
            whole = [*specs[:index], after, *specs[index + 1 :]]
            output_shape = stack_shapes(whole, input_shape)[index]
        except Conv3dError:  # a layer behind it no longer fits, or it is more than MLX can index
            continue
        size = receptive_field(whole).size
        kept = output_shape == shapes[index + 1]
        sizes = "sizes as before" if kept else f"output {product(output_shape[1:4])}"
        over = sum(size) - sum(targets)
        rank = _Rank(over, not kept, weight_of(changes), sum(map(change_of, before.axes, axes)))
        note = f"receptive field {product(size)}, {sizes}"
        answers[words(changes)] = (rank, Solution(changes, after, shapes[index], output_shape, words(changes), note))
    if not answers:
        raise _none(targets, field.size)
    ranked = sorted(answers.values(), key=lambda answer: answer[0])
    found: list[tuple[_Rank, Solution]] = []
    for rank, solution in ranked:
        if found and not solution.changes:
            continue
        # Changing more, or overshooting further, is an answer only where it keeps the sizes that the other did not.
        if not any(
            set(other.changes) <= set(solution.changes) and best.resized <= rank.resized for best, other in found
        ):
            found.append((rank, solution))
    return tuple(solution for _, solution in found[:MOST])


def candidates(before: ConvSpec, places: Sequence[Place], targets: Sequence[int]) -> Iterator[tuple[Axis, Axis, Axis]]:
    """The layer's axes with each way to reach the field along all three; not all of them fit."""
    ways: list[dict[str, Axis]] = [
        dict(_ways(axis, place, wanted)) for axis, place, wanted in zip(before.axes, places, targets, strict=True)
    ]
    for way in dict.fromkeys(name for along in ways for name in along):
        try:
            # An axis that cannot go this way, and is wide enough, stays.
            d, h, w = (
                along[way] if way in along else _stays(axis, place, wanted)
                for along, axis, place, wanted in zip(ways, before.axes, places, targets, strict=True)
            )
        except LookupError:
            continue
        yield d, h, w


def _stays(axis: Axis, place: Place, wanted: int) -> Axis:
    if place.field < wanted:
        raise LookupError
    return axis


def _ways(axis: Axis, place: Place, wanted: int) -> Iterator[tuple[str, Axis]]:
    """Each way to change one axis so that the whole spans at least `wanted`, by its name."""
    if place.field == wanted:
        yield "as it is", axis
    # The effective kernel must be this long at least.
    least = max(1, axis.effective_kernel_size - (place.field - wanted) // place.jump)
    for name, axes in _wider(axis, place.size, least).items():
        padded = [_padded_like(axis, new, place.size) for new in axes]
        if padded:
            outputs = axis.output_size(place.size)
            yield name, padded[0]
            # The others overshoot further, and may keep the size that the first one does not.
            yield (
                f"{name}, same size",
                next((new for new in padded if new.output_size(place.size) == outputs), padded[0]),
            )
    if place.behind:
        step = place.behind // axis.stride
        stride = max(1, axis.stride - (place.field - wanted) // step)
        if stride <= max(axis.stride, LARGEST):
            yield "stride", axis._replace(stride=stride)


def _wider(axis: Axis, size: int, least: int) -> dict[str, list[Axis]]:
    """The axis with effective kernels of `least` and more, by what changes; the shortest first, the given one last."""
    kernels = _from(-(-(least - 1) // axis.dilation) + 1, axis.kernel_size, LARGEST)
    ways = {"kernel": [axis._replace(kernel_size=kernel) for kernel in kernels]}
    if axis.kernel_size > 1:
        dilations = _from(max(1, -(-(least - 1) // (axis.kernel_size - 1))), axis.dilation, size - 1)
        ways["dilation"] = [axis._replace(dilation=dilation) for dilation in dilations]
    both = [_of_length(axis, size, length) for length in (least, least + 1)]
    ways["both"] = [min(axes, key=lambda new: change_of(axis, new)) for axes in both if axes]
    return ways


def _from(value: int, old: int, largest: int) -> list[int]:
    """A value, the next one, those up to the old one, and never more than a few."""
    values = [*range(value, max(value + 1, min(old - 1, value + LARGEST)) + 1), *[old] * (old > value + 1)]
    return [number for number in values if number <= max(old, largest)]


def _of_length(axis: Axis, size: int, length: int) -> list[Axis]:
    """The axis with each kernel_size and dilation that make its effective kernel this long."""
    return [
        axis._replace(kernel_size=(length - 1) // dilation + 1, dilation=dilation)
        for dilation in range(1, min(max(axis.dilation, min(size - 1, LARGEST)), length) + 1)
        if (length - 1) % dilation == 0 and (length - 1) // dilation < max(axis.kernel_size, LARGEST)
    ]


def _padded_like(before: Axis, after: Axis, size: int) -> Axis:
    """The axis with padding for as many outputs as before; of such, the nearest to what keeps windows centred.

    Centred, with another number of outputs, where there is none.
    """
    outputs, kernel = before.output_size(size), after.effective_kernel_size
    # Not beyond the kernel's reach, or not further than before.
    most = max(before.padding, kernel - 1, before.padding + kernel - before.effective_kernel_size)
    middle = min(max(0, before.padding + (kernel - before.effective_kernel_size) // 2), most)
    room = kernel - size
    low = max(0, -(-(after.stride * (outputs - 1) + room) // 2))
    high = min(most, (after.stride * outputs - 1 + room) // 2)
    return after._replace(padding=min(max(middle, low), high) if low <= high else middle)


def _targets(wanted: int | Sequence[int]) -> list[int]:
    numbers = [wanted] * len(AXES) if isinstance(wanted, int) else list(wanted)
    if len(numbers) != len(AXES):
        raise SpecError("wanted", f"{shown(numbers)} has {len(numbers)} numbers", "give one, or three (D, H, W)")
    for letter, number in zip(AXES, numbers, strict=True):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SpecError(
                AXIS_NAMES[letter],
                f"a receptive field of {shown(number)} is none",
                "ask for an integer >= 1",
                field="wanted",
                axis=letter,
                value=number,
            )
    return numbers


def _none(targets: Sequence[int], field: Sequence[int]) -> SpecError:
    letter, wanted, size = max(zip(AXES, targets, field, strict=True), key=lambda along: along[1] - along[2])
    return SpecError(
        AXIS_NAMES[letter],
        f"no setting of this layer makes the receptive field of {size:,} one of {wanted:,} that fits the input",
        "change a layer behind a stride, where each tap counts more, add layers, or give a larger input",
        field="wanted",
        axis=letter,
        value=wanted,
    )


def _five(shape: Sequence[int]) -> Shape:
    n, d, h, w, c = (int(size) for size in shape)
    return n, d, h, w, c
