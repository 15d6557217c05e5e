"""What fits a whole chain into a memory limit: a smaller input, or other settings of one of its layers."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from conv3d_core.chain.editing import with_arguments
from conv3d_core.chain.given import SPACE
from conv3d_core.chain.layer import Case, Sizes
from conv3d_core.chain.trace import Report, trace
from conv3d_core.errors import SpecError
from conv3d_core.shapes import format_bytes
from conv3d_core.solve.answer import Solution, Value, words
from conv3d_core.solve.cases import spec_of, to_ndhwc
from conv3d_core.solve.memory import STRIDES, check_limit, in_proportion
from conv3d_core.source_code import short
from conv3d_core.spec import ConvSpec


class _Change(NamedTuple):
    arguments: Mapping[str, Value]
    input_shape: Sizes


class _Way(NamedTuple):
    """Changes of one kind, from the least on: each holds at most what the one before does, until one fits no more."""

    numbers: range
    change: Callable[[int], _Change]


def memory_in_case(case: Case, index: int, memory_bytes: int) -> tuple[Solution, ...]:
    """What to change so that no layer of a chain holds more than a limit by `Report.peak_bytes`; at least one answer.

    In this order, each where it alone is enough and all layers take what then comes to them: fewer arrays in the batch,
    the largest input in proportion, the smallest multiple of one layer's stride up to eight, the most output channels
    of that layer. Each with its `Solution.case`; `Solution.note` is what the chain then holds.

    Args:
        case: the chain and its input.
        index: of a Conv3d, whose settings may change.
        memory_bytes: the limit.

    Raises:
        SpecError: it is no Conv3d; none of these is enough; or the limit is no integer >= 1.
        Conv3dError: the layers do not take the input as it is.

    >>> from conv3d_core.chain.reading import read_chain
    >>> text = "nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3))"
    >>> for found in memory_in_case(Case(read_chain(text), (1, 64, 64, 64, 1)), 0, 2**26):
    ...     print(found.words, "-", found.note)
    input (1, 42, 42, 42, 1) - 61.17 MiB
    stride=2 - 25.90 MiB
    """
    spec = spec_of(case.chain.layers[index])
    check_limit(memory_bytes)
    report = trace(case)
    if report.error:
        raise report.error
    if report.peak_bytes <= memory_bytes:
        return (_solution(case, index, _Change({}, case.input_shape)),)

    def held(change: _Change) -> int | None:
        after = trace(_changed(case, index, change))
        return None if after.error else after.peak_bytes

    ways = list(_ways(report, index, spec))
    enough = filter(None, (_enough(way, held, memory_bytes) for way in ways))
    found = tuple(_solution(case, index, change) for change in enough)
    if not found:
        least = min(_least(way, held, report.peak_bytes) for way in ways)
        raise SpecError(
            "memory",
            f"{format_bytes(memory_bytes)} is too little whatever changes alone: at least {format_bytes(least)}",
            "give more, or change the input and several layers together",
            value=memory_bytes,
        )
    return found


def _ways(report: Report, index: int, spec: ConvSpec) -> Iterator[_Way]:
    shape, letters = report.case.input_shape, report.input_letters

    def resized(sizes: Mapping[int, int]) -> _Change:
        return _Change({}, tuple(sizes.get(place, size) for place, size in enumerate(shape)))

    if "N" in letters:
        batch = letters.index("N")
        yield _Way(range(shape[batch] - 1, 0, -1), lambda count: resized({batch: count}))
    if set(SPACE) <= set(letters):
        places = [letters.index(letter) for letter in SPACE]
        d, h, w = (shape[place] for place in places)

        def smaller(longest: int) -> _Change:
            return resized(dict(zip(places, in_proportion((1, d, h, w, 1), longest)[1:4], strict=True)))

        yield _Way(range(max(d, h, w) - 1, 0, -1), smaller)
    # "same" is a word for numbers that hold no longer.
    layer = report.case.chain.layers[index]
    numbers = {"padding": short(spec.padding)} if isinstance(layer.arguments.get("padding"), str) else {}

    def strided(factor: int) -> _Change:
        d, h, w = (stride * factor for stride in spec.stride)
        return _Change({"stride": short((d, h, w)), **numbers}, shape)

    yield _Way(range(STRIDES.start, STRIDES.stop), strided)
    groups = layer.arguments.get("groups", 1)
    step = groups if isinstance(groups, int) else 1
    yield _Way(range(spec.out_channels - step, 0, -step), lambda count: _Change({"out_channels": count}, shape))


def _enough(way: _Way, held: Callable[[_Change], int | None], memory_bytes: int) -> _Change | None:
    """The least change that is enough; None where those that are enough are too much for the layers."""

    def suits(number: int) -> bool:
        after = held(way.change(number))
        return after is None or after <= memory_bytes

    place = _first(way.numbers, suits)
    change = way.change(way.numbers[place]) if place < len(way.numbers) else None
    return change if change and held(change) is not None else None


def _first(numbers: range, suits: Callable[[int], bool]) -> int:
    """The place of the first number that suits, where all after it do; behind the last where none does."""
    return bisect.bisect_left(numbers, True, key=suits)


def _least(way: _Way, held: Callable[[_Change], int | None], without: int) -> int:
    """What the largest change that the layers take leaves."""
    place = _first(way.numbers, lambda number: held(way.change(number)) is None)
    return (held(way.change(way.numbers[place - 1])) if place else None) or without


def _changed(case: Case, index: int, change: _Change) -> Case:
    """The case after a change, for its numbers: its text is as before."""
    layer = case.chain.layers[index]
    changed = replace(layer, arguments={**layer.arguments, **change.arguments})
    layers = (*case.chain.layers[:index], changed, *case.chain.layers[index + 1 :])
    return replace(case, chain=replace(case.chain, layers=layers), input_shape=change.input_shape)


def _solution(case: Case, index: int, change: _Change) -> Solution:
    changes, input_shape = change
    chain = with_arguments(case.chain, index, **changes) if changes else case.chain
    after = replace(case, chain=chain, input_shape=input_shape)
    report = trace(after)
    row, framework = report.rows[index], chain.framework
    text = words(changes) if changes or input_shape == case.input_shape else f"input {input_shape}"
    return Solution(
        changes,
        spec_of(chain.layers[index]),
        to_ndhwc(row.input_shape, framework),
        to_ndhwc(row.output_shape, framework),
        text,
        format_bytes(report.peak_bytes),
        after,
    )
