"""What fits into a memory limit: a smaller input, a larger stride, fewer output channels.

`shapes.peak_bytes` grows with each of them, so each is found by bisection, and what is found is seen to fit.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence

from conv3d_core.errors import SpecError, shown
from conv3d_core.shapes import format_bytes, peak_bytes
from conv3d_core.solve.answer import AS_IT_IS, Solution, with_changes, words
from conv3d_core.source_code import short
from conv3d_core.spec import ConvSpec, Shape

STRIDES = range(2, 9)  # times the one it has


def settings_for_memory(spec: ConvSpec, input_shape: Sequence[int], memory_bytes: int) -> tuple[Solution, ...]:
    """What to change so that a layer stays within a memory limit by `shapes.peak_bytes`; at least one answer.

    In this order, each where it alone is enough: fewer arrays in the batch, the largest input in proportion, the
    smallest multiple of the stride up to eight, the most output channels.

    Args:
        spec: the layer.
        input_shape: (N, D, H, W, C).
        memory_bytes: the limit.

    Raises:
        SpecError: not even the smallest of these fits, or the limit is no integer >= 1.
        ShapeError: the input does not fit the layer.

    >>> for found in settings_for_memory(ConvSpec(1, 8, 7), (1, 128, 128, 128, 1), 2**30):
    ...     print(found.words, "-", found.note)
    input (1, 96, 96, 96, 1) - 1005.11 MiB
    stride=2 - 326.86 MiB
    """
    check_limit(memory_bytes)
    spec.output_shape(input_shape)
    n, d, h, w, c = (int(size) for size in input_shape)
    shape = (n, d, h, w, c)
    if peak_bytes(spec, shape) <= memory_bytes:
        return (_solution(spec, spec, shape, shape),)
    found = [
        _solution(spec, after, shape, smaller)
        for after, smaller in _answers(spec, shape, memory_bytes)
        if peak_bytes(after, smaller) <= memory_bytes
    ]
    if not found:
        smallest = min(peak_bytes(*answer) for answer in _smallest(spec, shape))
        raise SpecError(
            "memory",
            f"{format_bytes(memory_bytes)} is too little whatever changes alone: at least {format_bytes(smallest)}",
            "give more, or change input, stride and out_channels together",
            value=memory_bytes,
        )
    return tuple(found)


def check_limit(memory_bytes: object) -> None:
    """Raises SpecError where a limit is no integer >= 1."""
    if isinstance(memory_bytes, bool) or not isinstance(memory_bytes, int) or memory_bytes < 1:
        raise SpecError("memory", f"{shown(memory_bytes)} is no number of bytes", "give an integer >= 1")


def in_proportion(input_shape: Shape, longest: int) -> Shape:
    """The shape with D, H and W made smaller alike, rounded down, until the longest is this long.

    >>> in_proportion((1, 50, 100, 200, 3), 100)
    (1, 25, 50, 100, 3)
    """
    n, *sizes, c = input_shape
    d, h, w = (max(1, size * longest // max(sizes)) for size in sizes)
    return n, d, h, w, c


def largest(most: int, suits: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that suits, where all smaller ones do, too; 0 where none does.

    >>> largest(100, lambda number: number**2 <= 50)
    7
    """
    return bisect.bisect(range(1, most + 1), False, key=lambda number: not suits(number))


def _answers(spec: ConvSpec, shape: Shape, memory_bytes: int) -> Iterator[tuple[ConvSpec, Shape]]:
    batch = largest(shape[0], lambda count: peak_bytes(spec, (count, *shape[1:])) <= memory_bytes)
    if batch:
        yield spec, (batch, *shape[1:])
    longest = largest(max(shape[1:4]), lambda size: _within(spec, in_proportion(shape, size), memory_bytes))
    if longest and _fits(spec, in_proportion(shape, longest)):
        yield spec, in_proportion(shape, longest)
    for after in _strided(spec):
        if peak_bytes(after, shape) <= memory_bytes:
            yield after, shape
            break
    channels = largest(
        spec.out_channels,
        lambda count: peak_bytes(with_changes(spec, {"out_channels": count}), shape) <= memory_bytes,
    )
    if channels:
        yield with_changes(spec, {"out_channels": channels}), shape


def _smallest(spec: ConvSpec, shape: Shape) -> Iterator[tuple[ConvSpec, Shape]]:
    yield spec, (1, *shape[1:])
    for longest in range(1, max(shape[1:4]) + 1):
        if _fits(spec, in_proportion(shape, longest)):
            yield spec, in_proportion(shape, longest)
            break
    yield list(_strided(spec))[-1], shape
    yield with_changes(spec, {"out_channels": 1}), shape


def _strided(spec: ConvSpec) -> Iterator[ConvSpec]:
    for factor in STRIDES:
        d, h, w = (stride * factor for stride in spec.stride)
        yield with_changes(spec, {"stride": (d, h, w)})


def _within(spec: ConvSpec, shape: Shape, memory_bytes: int) -> bool:
    """Whether it stays within the limit; an input too small for the kernel does."""
    return not _fits(spec, shape) or peak_bytes(spec, shape) <= memory_bytes


def _fits(spec: ConvSpec, shape: Shape) -> bool:
    return all(axis.fits(size) for axis, size in zip(spec.axes, shape[1:4], strict=True))


def _solution(before: ConvSpec, after: ConvSpec, given: Shape, shape: Shape) -> Solution:
    changes = {name: short(value) for name, value in after.to_dict().items() if value != getattr(before, name)}
    text = words(changes) if changes else AS_IT_IS if given == shape else f"input {shape}"
    return Solution(changes, after, shape, after.output_shape(shape), text, format_bytes(peak_bytes(after, shape)))
