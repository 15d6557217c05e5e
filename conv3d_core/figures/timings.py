"""What a measurement found, as rows to read and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from conv3d_core.figures.cost import duration
from conv3d_core.figures.palette import ACCENT, LINE


@dataclass(frozen=True, slots=True)
class TimingRow:
    """One measurement.

    Attributes:
        what: what was computed.
        device: where.
        ms: how long it took, None where it could not run.
        gmacs_per_s: its throughput.
        against: how many times sooner it is there than the row that all are held against.
        note: why it could not run; else empty.
    """

    what: str
    device: str
    ms: float | None
    gmacs_per_s: float | None
    against: float | None
    note: str

    @property
    def time(self) -> str:
        """The time to read."""
        return "not run" if self.ms is None else duration(self.ms)


def timings_info(found: Sequence[tuple[str, str, float | None, float | None, str]]) -> list[TimingRow]:
    """Rows of (what, device, ms, GMAC/s, note), each held against the first of its device.

    >>> [row.against for row in timings_info([("raw", "CPU", 90.0, 1.0, ""), ("ours", "CPU", 9.0, 10.0, "")])]
    [1.0, 10.0]
    """
    first: dict[str, float | None] = {}
    rows = []
    for what, device, ms, gmacs_per_s, note in found:
        base = first.setdefault(device, ms)
        rows.append(TimingRow(what, device, ms, gmacs_per_s, base / ms if base and ms else None, note))
    return rows


def timings_figure(rows: Sequence[TimingRow]) -> go.Figure:
    """A bar each, on a logarithmic axis without ticks: they differ by orders of magnitude, and each says its time."""
    run = [row for row in rows if row.ms is not None]
    several = len({row.device for row in run}) > 1
    names = [f"{row.what} ({row.device})" if several else row.what for row in run]
    figure = go.Figure(
        go.Bar(
            x=[row.ms for row in run],
            y=names,
            orientation="h",
            text=[row.time for row in run],
            textposition="outside",
            cliponaxis=False,
            marker={"color": [LINE if row.against == 1 else ACCENT for row in run]},
            hovertemplate="%{y}<br>%{x:.3g} ms<extra></extra>",
        )
    )
    figure.update_xaxes(type="log", visible=False)
    figure.update_yaxes(color=LINE, autorange="reversed", ticksuffix="  ")
    figure.update_layout(
        height=16 + 34 * len(run),
        margin={"l": 8, "r": 60, "t": 4, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12},
        bargap=0.35,
    )
    return figure
