"""What is in each output channel, over the whole volume or over some planes: statistics and a histogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from conv3d_core.figures.palette import LINE, NOTHING_FINITE, number

BINS = 64


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """One channel over all its voxels, or over some; what is not finite is counted and left out of the rest.

    Attributes:
        channel: its index.
        low, high, mean, deviation: smallest, largest, mean and standard deviation.
        zero_share: share of voxels that are exactly 0.
        not_finite: voxels that are NaN or infinite.
        whole: whether it is over all voxels: only then can a map be called dead.
    """

    channel: int
    low: float
    high: float
    mean: float
    deviation: float
    zero_share: float
    not_finite: int
    whole: bool = True

    @property
    def peak(self) -> float:
        """Largest distance from zero; 0 where nothing is finite."""
        return max(abs(self.low), abs(self.high)) if self.finite else 0.0

    @property
    def finite(self) -> bool:
        """Whether there is a finite value at all."""
        return bool(np.isfinite(self.low))

    @property
    def constant(self) -> float | None:
        """The one value of a dead (constant) map; None where the map varies."""
        return self.low if self.low == self.high and not self.not_finite else None

    @property
    def flag(self) -> str:
        """What to look out for, in words; empty where all is well."""
        if not self.finite:
            return NOTHING_FINITE
        if self.not_finite:
            return f"{self.not_finite:,} not finite"
        if self.constant is None:
            return ""
        return f"dead: constant {number(self.constant)}" if self.whole else "constant here"


@dataclass(frozen=True, slots=True)
class HistogramInfo:
    """Counts between edges, for one channel.

    Attributes:
        channel: its index.
        counts: int (bins,).
        edges: float (bins + 1,).
    """

    channel: int
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


def channel_statistics(output: NDArray[np.float32]) -> list[ChannelStatistics]:
    """Statistics of every channel of an output (D, H, W, C), sums in float64."""
    result = []
    for channel in range(output.shape[-1]):
        values = output[..., channel]
        finite = values[np.isfinite(values)]
        missing = values.size - finite.size
        if not finite.size:
            result.append(ChannelStatistics(channel, np.nan, np.nan, np.nan, np.nan, 0.0, missing))
            continue
        result.append(
            ChannelStatistics(
                channel,
                float(finite.min()),
                float(finite.max()),
                float(finite.mean(dtype=np.float64)),
                float(finite.std(dtype=np.float64)),
                float(np.count_nonzero(finite == 0) / values.size),
                missing,
            )
        )
    return result


def planes_statistics(planes: Sequence[NDArray[np.float32]]) -> list[ChannelStatistics]:
    """As `channel_statistics`, over planes (rows, columns, C): what is known before the whole output is."""
    voxels = np.concatenate([plane.reshape(-1, plane.shape[-1]) for plane in planes])
    return [replace(channel, whole=False) for channel in channel_statistics(voxels[None, None])]


def histogram_info(output: NDArray[np.float32], channel: int) -> HistogramInfo:
    """How the finite values of a channel are spread, in `BINS` bins over its own range."""
    values = output[..., channel]
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low == high:
        # NumPy's half to either side is lost in the digits of a large number.
        reach = abs(low) / 2 or 0.5
        low, high = low - reach, high + reach
    counts, edges = np.histogram(finite, BINS, (low, high))
    return HistogramInfo(channel, counts, edges)


def histogram_figure(info: HistogramInfo, height: int = 220) -> go.Figure:
    """Bars on a logarithmic count: the background of a scan would else hide everything."""
    centres = (info.edges[:-1] + info.edges[1:]) / 2
    width = np.diff(info.edges)
    figure = go.Figure(
        go.Bar(
            x=centres,
            y=info.counts,
            width=width,
            marker={"color": np.where(centres < 0, "#4393c3", "#d6604d").tolist(), "line": {"width": 0}},
            hovertemplate="value %{x:.4g}<br>%{y:,} voxels<extra></extra>",
        )
    )
    axes = {"color": LINE, "gridcolor": "rgba(133, 144, 160, 0.3)", "zeroline": False}
    figure.update_xaxes(**axes, title="value", showgrid=False)
    figure.update_yaxes(**axes, title="voxels (log)", type="log", dtick=1, exponentformat="power")
    # Only where it is in sight: a line, too, stretches the axis to itself.
    if info.edges[0] <= 0 <= info.edges[-1]:
        figure.add_vline(x=0, line={"color": LINE, "width": 1})
    figure.update_layout(
        height=height,
        bargap=0,
        margin={"l": 56, "r": 8, "t": 8, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12},
    )
    return figure
