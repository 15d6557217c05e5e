"""One plane of a volume or of a feature map, with the window of an output voxel drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.figures.palette import ACCENT, GREY, LINE, NOTHING_FINITE, number
from conv3d_core.figures.thinning import kept, sentence, step_for, thinning_note
from conv3d_core.spec import Triple

Spans = tuple[tuple[int, int], tuple[int, int]]
# Axis and its name below a plane; and how wide a plane gets on a page of 1920.
_MARGIN_PX, _WIDEST_PX = 64, 520
# A plane of this many voxels is some ten megabytes on its way to the browser; of a larger one every n-th is drawn.
MAX_CELLS = 2**21
# A header may say anything; a picture has its limits.
MOST_ASPECT = 1000.0


@dataclass(frozen=True, slots=True)
class PlaneInfo:
    """A plane as data.

    Attributes:
        title: what is cut: "Input" or "Channel 3".
        values: float32 (rows, columns).
        axis: the letter that is fixed; rows and columns are the other two in the order D, H, W.
        index: where along the axis; size: how long the axis is.
        aspect: height of a voxel over its width.
        low, high: the ends of the colour scale; scope: what they are taken over ("this map").
        finite: whether there is a finite value to take them from; else they are only there to draw with.
        window: (first, last) row and (first, last) column of what an output can see, inclusive.
        pin: row and column of the pinned voxel on an output plane.
        view: (first, last) row and (first, last) column to show; the whole plane and the window if None.
    """

    title: str
    values: NDArray[np.float32]
    axis: str
    index: int
    size: int
    aspect: float
    low: float
    high: float
    scope: str
    window: Spans | None = None
    pin: tuple[int, int] | None = None
    view: Spans | None = None
    finite: bool = True

    @property
    def rows_and_columns(self) -> tuple[str, str]:
        """The letters of the two axes in the picture."""
        row, column = (letter for letter in AXES if letter != self.axis)
        return row, column

    @property
    def label(self) -> str:
        """Axis and index, as every plane carries them: "D 12/32" is plane 12 of 0 to 31."""
        return f"{self.axis} {self.index}/{self.size}"

    @property
    def range_text(self) -> str:
        """The range of the colours and what it is taken over."""
        return f"{number(self.low)} to {number(self.high)}, {self.scope}" if self.finite else NOTHING_FINITE

    @property
    def note(self) -> str:
        """What is left out of the picture because it is too much; empty where all of it is drawn."""
        rows, columns = self.values.shape
        return thinning_note(self.step, rows * columns)

    @property
    def step(self) -> int:
        """Every how many voxels one is drawn, along rows and columns."""
        rows, columns = self.values.shape
        return step_for((rows, columns), MAX_CELLS)

    @property
    def words(self) -> str:
        """The picture in words."""
        row, column = self.rows_and_columns
        way = "up" if row_is_up(self.axis) else "down"
        colours = f"colours {self.range_text}" if self.finite else self.range_text
        text = f"{self.title}, plane {self.label}: {row} {way}, {column} across, {colours}."
        if self.window:
            (top, bottom), (left, right) = self.window
            text += f" The window spans {row} {top} to {bottom} and {column} {left} to {right}."
        return text + sentence(self.note)


def plane_of(array: NDArray[np.float32], axis: str, index: int) -> NDArray[np.float32]:
    """The plane (rows, columns, C) of a (D, H, W, C) array, rows and columns in the order D, H, W."""
    plane: NDArray[np.float32] = np.moveaxis(array, AXES.index(axis), 0)[index]
    return plane


def aspect_of(axis: str, spacing_mm: Sequence[float] | None) -> float:
    """Height of a voxel over its width on a plane, from the spacing (D, H, W) in millimetres; 1 where unknown."""
    if spacing_mm is None:
        return 1.0
    row, column = (i for i, letter in enumerate(AXES) if letter != axis)
    return min(max(spacing_mm[row] / spacing_mm[column], 1 / MOST_ASPECT), MOST_ASPECT)


def spans_on(window: Sequence[tuple[int, int]], axis: str) -> Spans:
    """The two spans of a window or region (D, H, W) that are seen on a plane."""
    rows, columns = (span for letter, span in zip(AXES, window, strict=True) if letter != axis)
    return rows, columns


def pin_on(voxel: Triple, axis: str) -> tuple[int, int]:
    """Row and column of a voxel (d, h, w) on the plane through it."""
    row, column = (n for letter, n in zip(AXES, voxel, strict=True) if letter != axis)
    return row, column


def row_is_up(axis: str) -> bool:
    """Whether rows run upwards on planes along an axis: where they are D, which the scene draws upwards too."""
    return axis != "D"


def plane_figure(info: PlaneInfo, height: int) -> go.Figure:
    """The plane: nearest neighbour, square or spaced voxels, the value under the cursor.

    Args:
        info: what to draw.
        height: in CSS pixels, at the most; a flat plane takes no more than it needs on a wide page.
    """
    row, column = info.rows_and_columns
    rows, columns = info.values.shape
    (top, bottom), (left, right) = info.view or _whole_view(info)
    flatness = (bottom - top + 1) * info.aspect / (right - left + 1)
    traces: list[go.Heatmap | go.Scatter] = [_heatmap(info)]
    if info.window:
        traces.append(_window_trace(info.window))
    if info.pin:
        traces.append(_pin_trace(info.pin))
    # The border of the volume: beyond it lies the padding.
    edge = {"x0": -0.5, "x1": columns - 0.5, "y0": -0.5, "y1": rows - 0.5}
    border = {"type": "rect", **edge, "line": {"color": LINE, "width": 1}}
    ticks = {"showgrid": False, "zeroline": False, "ticks": "outside", "tickcolor": LINE, "ticklen": 3, "nticks": 5}
    # One layout at once: each update of a figure validates it again.
    layout = {
        "shapes": [border, *_crosshair(info, (top, bottom), (left, right))],
        "xaxis": {
            **ticks,
            "title": {"text": column, "standoff": 4},
            "range": [left - 0.5, right + 0.5],
            "constrain": "domain",
            "constraintoward": "left",
        },
        "yaxis": {
            **ticks,
            "title": {"text": row, "standoff": 4},
            "range": [top - 0.5, bottom + 0.5] if row_is_up(info.axis) else [bottom + 0.5, top - 0.5],
            "constrain": "domain",
            "constraintoward": "top",
            "scaleanchor": "x",
            "scaleratio": info.aspect,
        },
        "height": min(height, round(_MARGIN_PX + flatness * _WIDEST_PX)),
        "margin": {"l": 42, "r": 4, "t": 4, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "closest",
    }
    return go.Figure(traces, layout)


def _heatmap(info: PlaneInfo) -> go.Heatmap:
    row, column = info.rows_and_columns
    step = info.step
    rows, columns = (kept(size, step) for size in info.values.shape)
    return go.Heatmap(
        z=info.values[rows.start :: step, columns.start :: step],
        # Each cell stands around the voxel that it shows, so that the place under the cursor is that voxel's.
        x0=columns.start,
        dx=min(step, info.values.shape[1]),
        y0=rows.start,
        dy=min(step, info.values.shape[0]),
        zmin=info.low,
        zmax=info.high,
        colorscale=GREY,
        zsmooth=False,
        showscale=False,
        hovertemplate=f"{info.axis} {info.index}, {row} %{{y}}, {column} %{{x}}<br><b>%{{z:.5g}}</b><extra></extra>",
    )


def _whole_view(info: PlaneInfo) -> Spans:
    """The plane, and the window where it sticks out."""
    rows, columns = info.values.shape
    (top, bottom), (left, right) = info.window or ((0, 0), (0, 0))
    return (min(0, top), max(rows - 1, bottom)), (min(0, left), max(columns - 1, right))


def _crosshair(info: PlaneInfo, rows: tuple[int, int], columns: tuple[int, int]) -> list[dict[str, object]]:
    """Four lines from the edges of the view to the window or the pin, which is small on a large plane."""
    if info.window:
        (top, bottom), (left, right) = info.window
    elif info.pin:
        (top, bottom), (left, right) = (info.pin[0],) * 2, (info.pin[1],) * 2
    else:
        return []
    middle_row, middle_column = (top + bottom) / 2, (left + right) / 2
    ends = [
        (columns[0] - 0.5, left - 0.5, middle_row, middle_row),
        (right + 0.5, columns[1] + 0.5, middle_row, middle_row),
        (middle_column, middle_column, rows[0] - 0.5, top - 0.5),
        (middle_column, middle_column, bottom + 0.5, rows[1] + 0.5),
    ]
    line = {"color": ACCENT, "width": 1, "dash": "dot"}
    return [{"type": "line", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line} for x0, x1, y0, y1 in ends]


def _window_trace(window: Spans) -> go.Scatter:
    (top, bottom), (left, right) = window
    x = [left - 0.5, right + 0.5, right + 0.5, left - 0.5, left - 0.5]
    y = [top - 0.5, top - 0.5, bottom + 0.5, bottom + 0.5, top - 0.5]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": ACCENT, "width": 2}, hoverinfo="skip", name="window")


def _pin_trace(pin: tuple[int, int]) -> go.Scatter:
    return go.Scatter(
        x=[pin[1]],
        y=[pin[0]],
        mode="markers",
        marker={"symbol": "square-open", "size": 10, "color": ACCENT, "line": {"width": 2.5}},
        hoverinfo="skip",
        name="pin",
    )
