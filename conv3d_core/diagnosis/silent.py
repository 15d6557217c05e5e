"""What a single layer does without a word: voxels that it never reads, outputs that read none, sizes that shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from conv3d_core.axis import AXES
from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.edits import Change, settings, together
from conv3d_core.diagnosis.finding import Draft, Finding, Severity
from conv3d_core.diagnosis.fitting import even_inputs
from conv3d_core.diagnosis.windows import Along, along, three_of, with_axes
from conv3d_core.diagnosis.wording import axis_names, called, counted, ordinal, sentence, several
from conv3d_core.source_code import short


def row_drafts(report: Report, row: Row) -> Iterator[Draft]:
    """All that is found about one layer."""
    axes = along(row)
    for find in (_dropped, _unread, _shifted, _beyond) if axes else ():
        found = find(report, row, axes)
        if found:
            yield found
    extra = _output_padding(report, row)
    if extra:
        yield extra


def merged(report: Report, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts with one for all poolings that drop voxels: if the input does not halve well, each does."""
    alike = [draft for draft in drafts if (draft.finding.code, draft.finding.severity) == ("dropped-voxels", "hint")]
    if len(alike) < 2:
        return list(drafts)
    others = [draft.finding.layer for draft in alike[1:] if draft.finding.layer is not None]
    do, them = ("do", "them") if len(others) > 1 else ("does", "it")
    more = f" So {do} {several(report.case.chain, others)} with what comes to {them}."
    first = alike[0]._replace(finding=replace(alike[0].finding, words=alike[0].finding.words + more))
    return [first if draft is alike[0] else draft for draft in drafts if draft not in alike[1:]]


def _draft(
    code: str, severity: Severity, row: Row, axes: Sequence[Along], words: str, changes: Callable[[], Iterable[Change]]
) -> Draft:
    return Draft(Finding(code, severity, row.index, axes[0].letter, words, axes[0].formula), changes)


def _setting(row: Row, axes: Sequence[Along], name: str, wrong: Sequence[Along], to: Sequence[int]) -> Change:
    """An argument set along the axes that are wrong."""
    values = {AXES.index(axis.letter): max(int(name != "padding"), n) for axis, n in zip(wrong, to, strict=True)}
    return settings(row.index, **{name: with_axes([getattr(axis.axis, name) for axis in axes], values)})


def _also(wrong: Sequence[Along]) -> str:
    """The axes beside the first one that are wrong, if any, at the beginning of a sentence."""
    if len(wrong) == 1:
        return ""
    alike = all(axis[1:] == wrong[0][1:] for axis in wrong)
    return f"{' The same' if alike else ' So it is'} along {axis_names([axis.letter for axis in wrong[1:]])}"


def _dropped(report: Report, row: Row, axes: tuple[Along, ...]) -> Draft | None:
    wrong = [axis for axis in axes if axis.dropped]
    if not wrong:
        return None
    first = wrong[0]
    s, p = first.axis.stride, first.axis.padding
    last = "the last" if first.dropped == 1 else f"the last {first.dropped:,}"
    words = f"{sentence(called(report.case.chain, row.index))} never reads {last} of"
    words += (
        f" {counted(first.size, 'voxel')} along {first.name}: windows of {first.axis.effective_kernel_size} begin at"
    )
    words += f" every {ordinal(s)} voxel, and a {ordinal(first.outputs + 1)} would end beyond the"
    words += f" input{' and its padding' if p else ''}."
    if len(wrong) > 1:
        lost, whole = _lost(axes)
        words += f"{_also(wrong)}: {lost:,} of {whole:,} voxels in all."
    # Halving an odd size drops one of them as a matter of course.
    severity: Severity = "hint" if row.layer.family == "pooling" else "silent"

    def changes() -> Iterator[Change]:
        if severity == "hint":
            yield from even_inputs(report.case, row.index, [axis.letter for axis in wrong])
            if report.case.chain.framework == "torch":
                yield settings(row.index, ceil_mode=True)
        for more in (1, 2, 3):
            yield _setting(row, axes, "padding", wrong, [axis.axis.padding + more for axis in wrong])
        for by in (1, -1, 2, -2):
            yield _setting(row, axes, "kernel_size", wrong, [axis.axis.kernel_size + by for axis in wrong])
        if severity != "hint":
            yield from even_inputs(report.case, row.index, [axis.letter for axis in wrong])
        for by in (1, 2):
            yield _setting(row, axes, "stride", wrong, [axis.axis.stride - by for axis in wrong])

    return _draft("dropped-voxels", severity, row, wrong, words, changes)


def _unread(report: Report, row: Row, axes: tuple[Along, ...]) -> Draft | None:
    wrong = [axis for axis in axes if axis.skipped]
    if not wrong:
        return None
    first = wrong[0]
    k, s, _, d = first.axis
    shared, span = math.gcd(s, d), first.axis.effective_kernel_size
    gaps = d > 1 and k > 1 and (shared > 1 or s <= span)
    words = f"{sentence(called(report.case.chain, row.index))} never reads {first.skipped:,} of"
    words += f" {counted(first.size, 'voxel')} along {first.name}: "
    if gaps and shared > 1:
        words += f"its taps are {d} voxels apart and its windows {s}, both multiples of {shared}, so what lies between"
        words += " never meets a tap."
    elif gaps:
        words += f"its taps are {d} voxels apart, and {first.outputs:,} windows are too few to fill the gaps."
    else:
        words += (
            f"the stride {s} is longer than the {'kernel' if d == 1 else 'effective kernel'} {span}, so the windows"
        )
        words += f" leave gaps of {s - span}."
    lost, whole = _lost(axes)
    words += (
        f"{_also(wrong)}{':' if len(wrong) > 1 else ' So'} {lost:,} of {whole:,} voxels ({100 * lost / whole:.3g} %)"
    )
    words += " count for nothing."
    # Taking every second voxel is what a kernel of 1 with a stride is for.
    severity: Severity = "hint" if all(axis.axis.kernel_size == 1 for axis in wrong) else "silent"

    def changes() -> Iterator[Change]:
        if not gaps:
            yield _setting(row, axes, "stride", wrong, [axis.axis.effective_kernel_size for axis in wrong])
            for more in (0, 1, 2):
                yield _setting(row, axes, "kernel_size", wrong, [axis.axis.stride + more for axis in wrong])
            return
        yield _setting(row, axes, "dilation", wrong, [1 for axis in wrong])
        for step in range(s - 1, 0, -1):
            yield _setting(row, axes, "stride", wrong, [min(axis.axis.stride, step) for axis in wrong])
        for size in (2, 3, 4, 5):
            yield _setting(row, axes, "kernel_size", wrong, [size for axis in wrong])
        yield _setting(row, axes, "dilation", wrong, [axis.axis.dilation - 1 for axis in wrong])

    return _draft("dilation-gaps" if gaps else "unread-voxels", severity, row, wrong, words, changes)


def _lost(axes: Sequence[Along]) -> tuple[int, int]:
    """Voxels that no output of a layer reads, and all."""
    whole = math.prod(axis.size for axis in axes)
    return whole - math.prod(axis.size - axis.dropped - axis.skipped for axis in axes), whole


def _shifted(report: Report, row: Row, axes: tuple[Along, ...]) -> Draft | None:
    """An even kernel where the size was meant to stay."""
    wrong = [
        axis
        for axis in axes
        if row.layer.kind == "Conv3d"
        and axis.axis.stride == 1
        and axis.axis.effective_kernel_size % 2 == 0
        and (axis.axis.padding or axis.outputs == axis.size)
        and abs(axis.outputs - axis.size) <= 1
    ]
    if not wrong:
        return None
    first = wrong[0]
    k = first.axis.effective_kernel_size
    what = "a kernel" if first.axis.dilation == 1 else "an effective kernel"
    words = f"{sentence(called(report.case.chain, row.index))} has {what} of {k} along"
    words += (
        f" {axis_names([axis.letter for axis in wrong])}, which has no middle tap: each output lies half a voxel off"
    )
    words += " its input"
    severity: Severity = "silent"
    if first.outputs == first.size:
        severity = "hint"
        words += f". padding='same' adds {k - 1} zeros, one more behind than before."
    else:
        words += f", and no padding keeps the size: {first.size:,} become {first.outputs:,}."

    def changes() -> Iterator[Change]:
        written = row.layer.arguments.get("padding", 0)
        for by in (-1, 1):
            sizes = [axis.axis.kernel_size + by for axis in wrong]
            zeros = [axis.axis.dilation * (size - 1) // 2 for axis, size in zip(wrong, sizes, strict=True)]
            kernel = _setting(row, axes, "kernel_size", wrong, sizes)
            padding = _setting(row, axes, "padding", wrong, zeros)
            stays = isinstance(written, str) or padding.settings[row.index]["padding"] == short(written)
            yield (kernel if stays else together(kernel, padding))._replace(idea=f"kernel {by}")
        # Without padding nobody expects the size to stay.
        yield _setting(row, axes, "padding", wrong, [0 for axis in wrong])

    return _draft("even-kernel-shift", severity, row, wrong, words, changes)


def _beyond(report: Report, row: Row, axes: tuple[Along, ...]) -> Draft | None:
    """Outputs that see nothing but padding."""
    wrong = [axis for axis in axes if axis.only_padding and axis.axis.padding >= axis.axis.effective_kernel_size]
    if not wrong:
        return None
    first = wrong[0]
    p, k, count = first.axis.padding, first.axis.effective_kernel_size, first.only_padding
    words = f"{sentence(called(report.case.chain, row.index))}: {count:,} of {counted(first.outputs, 'output')} along"
    words += (
        f" {first.name} {'see' if count > 1 else 'sees'} nothing but padding, since a window of {k} reaches {k - 1}"
    )
    words += f" over the edge and there are {p} zeros on each side.{_also(wrong)}{'.' * (len(wrong) > 1)}"
    inner = math.prod(axis.outputs - axis.only_padding for axis in axes)
    whole = math.prod(axis.outputs for axis in axes)
    words += f" In all {whole - inner:,} of {whole:,} outputs hold"
    words += " the bias alone." if row.layer.kind == "Conv3d" else " no voxel's value."

    def changes() -> Iterator[Change]:
        yield _setting(row, axes, "padding", wrong, [(axis.axis.effective_kernel_size - 1) // 2 for axis in wrong])
        most = _setting(row, axes, "padding", wrong, [axis.axis.effective_kernel_size - 1 for axis in wrong])
        yield most._replace(idea="most padding")
        if row.layer.kind == "Conv3d" and first.axis.kernel_size > 1:
            yield _setting(
                row,
                axes,
                "dilation",
                wrong,
                [-(-axis.axis.padding // max(1, axis.axis.kernel_size - 1)) for axis in wrong],
            )
        yield _setting(
            row, axes, "kernel_size", wrong, [-(-axis.axis.padding // axis.axis.dilation) + 1 for axis in wrong]
        )

    return _draft("padding-beyond-reach", "silent", row, wrong, words, changes)


def _output_padding(report: Report, row: Row) -> Draft | None:
    """More output padding than a stride: MLX takes it, and nothing reaches what it adds."""
    if row.layer.kind != "ConvTranspose3d" or report.case.chain.framework != "mlx":
        return None
    added, stride = (
        three_of(row.layer.arguments.get(name, low)) for name, low in (("output_padding", 0), ("stride", 1))
    )
    if added is None or stride is None:
        return None
    wrong = {place: step - 1 for place, (more, step) in enumerate(zip(added, stride, strict=True)) if more >= step}
    if not wrong:
        return None
    place = min(wrong)
    words = f"{sentence(called(report.case.chain, row.index))} has output_padding {added[place]} along"
    words += (
        f" {axis_names([AXES[i] for i in wrong])}, not below its stride {stride[place]}. It is there to choose among"
    )
    words += (
        " the sizes that a stride makes alike; beyond them outputs hold the bias alone. MLX takes it, PyTorch does not."
    )

    def changes() -> Iterator[Change]:
        yield settings(row.index, output_padding=with_axes(added, wrong))
        yield settings(row.index, output_padding=0)._replace(idea="none")

    return Draft(Finding("output-padding", "silent", row.index, AXES[place], words), changes)
