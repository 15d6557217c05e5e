"""Voxels that a layer never reads: at the end, or between its windows or taps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.axes import Wrong
from conv3d_core.diagnosis.edits import Change, settings
from conv3d_core.diagnosis.finding import Draft, Severity
from conv3d_core.diagnosis.fitting import even_inputs
from conv3d_core.diagnosis.windows import Along
from conv3d_core.diagnosis.wording import counted, ordinal, several


def is_dropped(along: Along) -> bool:
    """Whether voxels are left at the end, and more than the windows leave between them anyway."""
    between = max(0, along.axis.stride - along.axis.effective_kernel_size) if along.skipped else 0
    return along.dropped > between


def dropped(found: Wrong) -> Draft:
    """Voxels at the end."""
    first = found.first
    last = "the last" if first.dropped == 1 else f"the last {first.dropped:,}"
    words = (
        f"{found.who} never reads {last} of {counted(first.size, 'voxel')} along {first.name}: windows of"
        f" {first.axis.effective_kernel_size} begin at every {ordinal(first.axis.stride)} voxel, and one more would end"
        f" beyond the input{' and its padding' if first.axis.padding else ''}."
    )
    if found.also:
        lost, whole = found.unread
        words += f"{found.also}: {lost:,} of {whole:,} voxels in all."
    # Halving an odd size drops one of them as a matter of course.
    pooling = found.row.layer.family == "pooling"

    def inputs() -> Iterator[Change]:
        yield from even_inputs(found.report.case, found.row.index, found.letters)

    def changes() -> Iterator[Change]:
        if pooling:
            yield from inputs()
            if found.report.case.chain.framework == "torch":
                yield settings(found.row.index, ceil_mode=True)
        for more in (1, 2, 3):
            yield found.set("padding", [each.axis.padding + more for each in found.wrong])
        for by in (1, -1, 2, -2):
            yield found.set("kernel_size", [each.axis.kernel_size + by for each in found.wrong])
        if not pooling:
            yield from inputs()
        for by in (1, 2):
            yield found.set("stride", [each.axis.stride - by for each in found.wrong])

    return found.draft("dropped-voxels", "hint" if pooling else "silent", words, changes)


def merged(report: Report, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts with one for all poolings that drop voxels: if the input does not halve well, each does."""
    alike = [draft for draft in drafts if (draft.finding.code, draft.finding.severity) == ("dropped-voxels", "hint")]
    others = [draft.finding.layer for draft in alike[1:] if draft.finding.layer is not None]
    if not others:
        return list(drafts)
    do, them = ("do", "them") if len(others) > 1 else ("does", "it")
    more = f" So {do} {several(report.case.chain, others)} with what comes to {them}."
    first = alike[0]._replace(finding=replace(alike[0].finding, words=alike[0].finding.words + more))
    return [first if draft is alike[0] else draft for draft in drafts if draft not in alike[1:]]


def skipped(found: Wrong) -> Draft:
    """Voxels between windows that are too far apart, or between taps that are."""
    first = found.first
    k, s, _, d = first.axis
    span = first.axis.effective_kernel_size
    gaps = d > 1 and k > 1 and (math.gcd(s, d) > 1 or s <= span)
    lost, whole = found.unread
    along = first.skipped + (0 if is_dropped(first) else first.dropped)
    words = (
        f"{found.who} never reads {along:,} of {counted(first.size, 'voxel')} along {first.name}:"
        f" {_why(found, gaps)}{found.also}{':' if found.also else ' So'} {lost:,} of {whole:,} voxels"
        f" ({100 * lost / whole:.3g} %) count for nothing."
    )
    # Taking every second voxel is what a kernel of 1 with a stride is for.
    severity: Severity = "hint" if all(each.axis.kernel_size == 1 for each in found.wrong) else "silent"

    def changes() -> Iterator[Change]:
        if not gaps:
            yield found.set("stride", [each.axis.effective_kernel_size for each in found.wrong])
            for more in (0, 1, 2):
                yield found.set("kernel_size", [each.axis.stride + more for each in found.wrong])
            return
        yield found.set("dilation", [1] * len(found.wrong))
        for step in range(s - 1, 0, -1):
            yield found.set("stride", [min(each.axis.stride, step) for each in found.wrong])
        for size in (2, 3, 4, 5):
            yield found.set("kernel_size", [size] * len(found.wrong))
        yield found.set("dilation", [each.axis.dilation - 1 for each in found.wrong])

    return found.draft("dilation-gaps" if gaps else "unread-voxels", severity, words, changes)


def _why(found: Wrong, gaps: bool) -> str:
    first = found.first
    _, s, _, d = first.axis
    shared, span = math.gcd(s, d), first.axis.effective_kernel_size
    if not gaps:
        kernel = "kernel" if d == 1 else "effective kernel"
        return f"the stride {s} is longer than the {kernel} {span}, so the windows leave gaps of {s - span}."
    if shared > 1:
        return (
            f"its taps are {d} voxels apart and its windows {s}, both multiples of {shared}, so what lies between never"
            " meets a tap."
        )
    return f"its taps are {d} voxels apart, and {counted(first.outputs, 'window')} cannot fill the gaps."
