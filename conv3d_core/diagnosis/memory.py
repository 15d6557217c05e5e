"""More memory than there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from conv3d_core.chain.layer import Case, Sizes
from conv3d_core.chain.trace import Report, trace
from conv3d_core.diagnosis.edits import Change, resized, settings
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.windows import input_space
from conv3d_core.diagnosis.wording import called, sentence
from conv3d_core.shapes import FLOAT32_BYTES, format_bytes, input_bytes
from conv3d_core.solve.memory import largest
from conv3d_core.spec import MAX_ELEMENTS

HALVES_WELL = (16, 8, 4, 2)


def memory_draft(report: Report, memory_bytes: int) -> Draft | None:
    """The layer that holds most, where that is more than a limit."""
    if report.peak_bytes <= memory_bytes:
        return None
    row = max(report.rows, key=lambda row: row.peak_bytes)
    who = sentence(called(report.case.chain, row.index))
    words = f"{who} holds up to {format_bytes(row.peak_bytes)} at once, and there are {format_bytes(memory_bytes)}."
    parts = {
        "input": input_bytes(row.input_shape),
        "unfolded input": row.unfolded_bytes,
        "output": row.output_bytes,
        "parameters": FLOAT32_BYTES * row.parameters,
    }
    parts["copies"] = row.peak_bytes - sum(parts.values())
    formula = " + ".join(f"{what} {format_bytes(size)}" for what, size in parts.items() if size > 0)

    def within(case: Case) -> bool:
        after = trace(case)
        return after.peak_bytes <= memory_bytes and after.failed in (None, report.failed)

    def changes() -> Iterator[Change]:
        yield from smaller_input(report.case, within)
        if row.layer.kind == "Conv3d":
            for stride in (2, 4):
                yield settings(row.index, stride=stride)._replace(idea="stride")
        outputs = row.layer.arguments.get("out_channels")
        while type(outputs) is int and outputs > 1:
            outputs //= 2
            yield settings(row.index, out_channels=outputs)._replace(idea="out_channels")

    return Draft(Finding("memory", "silent", row.index, None, words, formula), changes)


def smaller_input(case: Case, suits: Callable[[Case], bool]) -> Iterator[Change]:
    """Fewer arrays in the batch, or the largest volume in the same proportions, that suit; or both."""
    shape = case.input_shape
    places = input_space(case)
    if not places or min(shape) < 1:
        return
    longest = max(shape[place] for place in places)

    def cropped(length: int, batch: int = shape[0]) -> Sizes:
        sizes = [max(1, size * length // longest) if i in places else size for i, size in enumerate(shape)]
        return (batch, *sizes[1:]) if len(shape) == 5 else tuple(sizes)

    def fits(sizes: Sizes) -> bool:
        return suits(replace(case, input_shape=sizes))

    if len(shape) == 5:
        batch = largest(min(shape[0] - 1, MAX_ELEMENTS), lambda count: fits((count, *shape[1:])))
        if batch:
            yield resized((batch, *shape[1:]), f"use a batch of {batch}: {(batch, *shape[1:])}", "batch")
    for one in (False, True) if len(shape) == 5 and shape[0] > 1 else (False,):
        batch = 1 if one else shape[0]
        length = largest(min(longest - 1, MAX_ELEMENTS), lambda length, batch=batch: fits(cropped(length, batch)))  # type: ignore[misc]
        # A size that halves well, where one is near.
        even = next((length - length % step for step in HALVES_WELL if length % step <= length // 8), length)
        for size in dict.fromkeys((even, length)):
            if size:
                sizes, first = cropped(size, batch), "use a batch of 1 and " if one else ""
                yield resized(sizes, f"{first}crop the input to {sizes}", f"{first}crop")
