"""Planes of the input that show reach: a window, how many outputs reach each voxel, what an output answers to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from conv3d_core.axis import AXES
from conv3d_core.effective_field import THRESHOLD, EffectiveField
from conv3d_core.figures.palette import ACCENT
from conv3d_core.figures.plane import PlaneInfo, aspect_of, pin_on, plane_figure, plane_of, spans_on
from conv3d_core.receptive_field import Coverage, Window, central_voxel_of
from conv3d_core.spec import Triple

# Blue for counts and orange for none is told apart with any eyes, and black lines are seen on both. The depth planes of
# a kernel keep their own scale.
COUNTS = tuple(sample_colorscale("Blues", np.linspace(0.15, 0.75, 7).tolist()))
UNREACHED = ACCENT
STRENGTH = "Cividis"
# Counts that a legend lists one by one; more are a bar from the least to the most.
MOST_LISTED = 8
_EDGE, _MARK = "#ffffff", "#000000"

Spacing = tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of a coverage map mean.

    Attributes:
        counts: numbers of outputs, rising: all that occur, or the least and the most.
        colours: one CSS colour each; where they are not listed those from the least to the most.
        listed: whether the counts are all that occur.
        unreached: how many voxels no output reaches.
    """

    counts: tuple[int, ...]
    colours: tuple[str, ...]
    listed: bool
    unreached: int


@dataclass(frozen=True, slots=True)
class StrengthInfo:
    """A plane of an effective receptive field.

    Attributes:
        plane: gradients as shares of the largest, 0 outside the window.
        above: (rows, columns), where they exceed the threshold.
    """

    plane: PlaneInfo
    above: NDArray[np.bool_]

    @property
    def words(self) -> str:
        """The picture in words."""
        count = int(np.count_nonzero(self.above))
        return f"{self.plane.words} {count:,} voxels of this plane exceed {100 * THRESHOLD:.3g} % of the largest."


def window_plane_info(
    array: NDArray[np.float32],
    channel: int,
    window: Window,
    axis: str,
    value_range: tuple[float, float] | None,
    spacing_mm: Spacing,
) -> PlaneInfo:
    """The plane of the input (D, H, W, C) through the middle of a window, the window drawn on it.

    Args:
        array: the input; channel: which C is shown.
        window: first and last input index per axis, inclusive.
        axis: "D", "H" or "W": what the plane is cut across.
        value_range: the ends of the grey scale; None where nothing in it is finite.
        spacing_mm: size of a voxel (D, H, W), or None.
    """
    d, h, w, channels = array.shape
    along = AXES.index(axis)
    index = central_voxel_of(window, (d, h, w))[along]
    low, high = value_range or (0.0, 1.0)
    return PlaneInfo(
        title="Input" if channels == 1 else f"Input {channel}",
        values=plane_of(array, axis, index)[..., channel],
        axis=axis,
        index=index,
        size=(d, h, w)[along],
        aspect=aspect_of(axis, spacing_mm),
        low=low,
        high=high,
        scope="whole volume",
        window=spans_on(window, axis),
        finite=value_range is not None,
    )


def coverage_plane_info(found: Coverage, voxel: Triple, axis: str, spacing_mm: Spacing) -> PlaneInfo:
    """How many outputs reach each voxel of the plane through one of them.

    Args:
        found: the counts.
        voxel: (d, h, w), which is marked.
        axis: "D", "H" or "W": what the plane is cut across.
        spacing_mm: size of a voxel (D, H, W), or None.

    >>> from conv3d_core import ConvSpec
    >>> from conv3d_core.receptive_field import coverage
    >>> found = coverage([ConvSpec(1, 1, (1, 1, 2), stride=(1, 1, 3))], (2, 2, 5))
    >>> coverage_plane_info(found, (0, 0, 0), "D", None).values.tolist()
    [[1.0, 1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0]]
    """
    along = AXES.index(axis)
    rows, columns = (np.array(counts, np.float64) for i, counts in enumerate(found.along) if i != along)
    return PlaneInfo(
        title="Outputs per voxel",
        values=(found.along[along][voxel[along]] * np.outer(rows, columns)).astype(np.float32),
        axis=axis,
        index=voxel[along],
        size=len(found.along[along]),
        aspect=aspect_of(axis, spacing_mm),
        low=0,
        high=float(max(found.most, 1)),
        scope="whole volume",
        pin=pin_on(voxel, axis),
    )


def coverage_words(info: PlaneInfo) -> str:
    """A plane of a coverage map in words."""
    unreached = int(np.count_nonzero(info.values == 0))
    return f"{info.words} No output reaches {unreached:,} of its {info.values.size:,} voxels."


def coverage_legend(found: Coverage) -> Legend:
    """What the colours of its planes mean.

    >>> from conv3d_core import ConvSpec
    >>> from conv3d_core.receptive_field import coverage
    >>> coverage_legend(coverage([ConvSpec(1, 1, 3, stride=2)], (7, 7, 7))).counts
    (1, 2, 4, 8)
    """
    counts = {0}
    first, *others = (set(along) for along in found.along)
    counts = first
    for along in others:
        counts = {a * b for a in counts for b in along}
    occurring = sorted(counts - {0})
    listed = len(occurring) <= MOST_LISTED
    shown = occurring if listed else [occurring[0], occurring[-1]]
    levels = [count / occurring[-1] for count in shown]
    if not listed:
        levels = np.linspace(levels[0], 1, 11).tolist()
    colours = sample_colorscale(list(COUNTS), levels) if shown else []
    return Legend(tuple(shown), tuple(colours), listed, found.unreached)


def coverage_figure(info: PlaneInfo, height: int) -> go.Figure:
    """The counts in blue, what no output reaches in orange."""
    figure = plane_figure(info, height)
    counts = figure.data[0]
    where = counts.hovertemplate.split("<br>")[0]
    counts.update(colorscale=list(COUNTS), hovertemplate=f"{where}<br><b>%{{z:,}} outputs</b><extra></extra>")
    unreached = np.where(np.asarray(counts.z) == 0, 0.0, np.nan)
    figure.add_trace(
        go.Heatmap(
            z=unreached,
            x0=counts.x0,
            dx=counts.dx,
            y0=counts.y0,
            dy=counts.dy,
            zmin=0,
            zmax=1,
            colorscale=[[0, UNREACHED], [1, UNREACHED]],
            zsmooth=False,
            showscale=False,
            hovertemplate=f"{where}<br><b>no output</b><extra></extra>",
            name="unreached",
        )
    )
    pin = next(trace for trace in figure.data if trace.name == "pin")
    pin.marker.color = _MARK
    figure.data = [*(trace for trace in figure.data if trace is not pin), pin]
    for line in figure.layout.shapes[1:]:
        line.line.color = _MARK
    return figure


def strength_plane_info(
    field: EffectiveField, input_size: Triple, axis: str, spacing_mm: Spacing, margin: int = 1
) -> StrengthInfo:
    """The effective receptive field on the plane through the middle of its window.

    Args:
        field: the gradients.
        input_size: (D, H, W) of the input.
        axis: "D", "H" or "W": what the plane is cut across.
        spacing_mm: size of a voxel (D, H, W), or None.
        margin: voxels that are shown around the window.
    """
    along = AXES.index(axis)
    index = central_voxel_of(field.window, input_size)[along]
    rows, columns = (size for i, size in enumerate(input_size) if i != along)
    values, above = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.bool_)
    if field.strength.size:
        place = tuple(slice(first, last + 1) for first, last in spans_on(field.inside, axis))
        at = index - field.inside[along][0]
        values[place] = np.moveaxis(field.strength, along, 0)[at]
        above[place] = np.moveaxis(field.above, along, 0)[at]
    window = spans_on(field.window, axis)
    (top, bottom), (left, right) = window
    plane = PlaneInfo(
        title="Gradient",
        values=values,
        axis=axis,
        index=index,
        size=input_size[along],
        aspect=aspect_of(axis, spacing_mm),
        low=0.0,
        high=1.0,
        scope="of the largest",
        window=window,
        view=((top - margin, bottom + margin), (left - margin, right + margin)),
    )
    return StrengthInfo(plane, above)


def strength_figure(info: StrengthInfo, height: int) -> go.Figure:
    """The gradients, the theoretical window, and an edge around what exceeds the threshold."""
    figure = plane_figure(info.plane, height)
    gradients = figure.data[0]
    where = gradients.hovertemplate.split("<br>")[0]
    gradients.update(colorscale=STRENGTH, hovertemplate=f"{where}<br><b>%{{z:.3g}} of the largest</b><extra></extra>")
    x, y = edges(info.above)
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", line={"color": _EDGE, "width": 1.5}, hoverinfo="skip", name="above the threshold"
        )
    )
    figure.layout.shapes = figure.layout.shapes[:1]  # the window fills the view: a crosshair would lead nowhere
    return figure


def edges(mask: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """The outline of cells (row, column) along their sides, as one line that is broken by NaN: x and y.

    >>> [len(numbers) for numbers in edges(np.array([[True, True]]))]
    [18, 18]
    """
    x: list[float] = []
    y: list[float] = []
    framed = np.pad(mask, 1)
    for row, column in np.argwhere(framed[1:] != framed[:-1]).tolist():
        x += [column - 1.5, column - 0.5, math.nan]
        y += [row - 0.5, row - 0.5, math.nan]
    for row, column in np.argwhere(framed[:, 1:] != framed[:, :-1]).tolist():
        x += [column - 0.5, column - 0.5, math.nan]
        y += [row - 1.5, row - 0.5, math.nan]
    return x, y
