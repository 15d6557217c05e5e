"""Dilations whose gaps no layer fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conv3d_core.axis import AXES, Axis
from conv3d_core.chain.reach import Taps
from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.edits import Change
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.windows import WINDOWED, with_axes
from conv3d_core.diagnosis.wording import axis_names, several
from conv3d_core.source_code import short

# A window that is wider is not followed tap by tap.
MAX_SPAN = 4096


def gridding(report: Report) -> Draft | None:
    """Layers from the first on of which one output sees a grid of voxels, and never what lies between.

    Source: Wang et al. 2018, "Understanding convolution for semantic segmentation", section 3.2.
    """
    run = _run(report)
    dilated = [row for row in run if row.layer.kind == "Conv3d" and max(axis.dilation for axis in _axes(row)) > 1]
    if len(run) < 2 or not dilated:
        return None
    gaps = {}
    for place, letter in enumerate(AXES):
        axes = [_axes(row)[place] for row in run]
        seen, span = _seen(axes)
        full, _ = _seen([axis._replace(dilation=1) for axis in axes])
        if seen and seen != (1 << span) - 1 and not full & (full + 1):
            gaps[letter] = (seen.bit_count(), span)
    if not gaps:
        return None
    letter, (read, span) = next(iter(gaps.items()))
    dilations = ", ".join(str(max(axis.dilation for axis in _axes(row))) for row in dilated)
    words = (
        f"Behind {several(report.case.chain, [row.index for row in dilated])} with the dilations {dilations} an output"
    )
    words += f" spans {span:,} voxels along {axis_names([*gaps])} and sees {read:,} of them: no layer fills the gaps of"
    words += " another, and neighbouring outputs see grids of their own."
    return Draft(Finding("dilation-gaps", "silent", dilated[-1].index, letter, words), lambda: _changes(run, dilated))


def _run(report: Report) -> list[Row]:
    """The layers with windows, from the first on, up to one that reads otherwise."""
    run = []
    for row in report.rows:
        if row.layer.kind in WINDOWED and all(isinstance(reading, Taps) for reading in row.readings):
            run.append(row)
        elif any(row.readings) or row.reach is None:
            break
    return run


def _changes(run: Sequence[Row], dilated: Sequence[Row]) -> Iterator[Change]:
    # Each as far apart as the ones before it can fill: 1, 2, 4 for kernels of 3.
    rising: dict[int, dict[str, object]] = {}
    reach = 1
    for row in run:
        axes = _axes(row)
        kernel = min(axis.kernel_size for axis in axes)
        to = min(reach, max(axis.dilation for axis in axes))
        if row in dilated:
            rising[row.index] = _with_dilation(row, to)
        reach = min(MAX_SPAN, reach + to * (kernel - 1)) if kernel > 1 else reach
    for row in (dilated[0], dilated[-1]):
        yield Change({row.index: _with_dilation(row, 1)}, idea=f"undilated {row.index}")
    yield Change(rising, idea="rising")
    yield Change({row.index: _with_dilation(row, 1) for row in dilated}, idea="all")


def _axes(row: Row) -> tuple[Axis, ...]:
    return tuple(reading.axis for reading in row.readings if isinstance(reading, Taps))


def _seen(axes: Sequence[Axis]) -> tuple[int, int]:
    """The voxels that an output of the last layer reads, as bits, and how many it spans; 0 if too many."""
    seen, jump, span = 1, 1, 1
    for axis in axes:
        span += (axis.effective_kernel_size - 1) * jump
        if span > MAX_SPAN or axis.kernel_size > MAX_SPAN:
            return 0, 0
        now = 0
        for tap in range(axis.kernel_size):
            now |= seen << (tap * axis.dilation * jump)
        seen, jump = now, jump * axis.stride
    return seen, span


def _with_dilation(row: Row, dilation: int) -> dict[str, object]:
    """The dilation, and the padding that leaves the output's size as it is where there is one."""
    values: dict[str, object] = {"dilation": dilation}
    axes = _axes(row)
    closer = [axis.effective_kernel_size - axis._replace(dilation=dilation).effective_kernel_size for axis in axes]
    padding = [
        axis.padding - less // 2 if less % 2 == 0 else axis.padding for axis, less in zip(axes, closer, strict=True)
    ]
    if min(padding) >= 0 and not isinstance(row.layer.arguments.get("padding"), str):
        values["padding"] = short(with_axes(padding, {}))
    return values
