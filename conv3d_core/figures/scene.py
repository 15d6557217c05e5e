"""The receptive field of one output voxel in 3D: taps as cubes in the input, the output grid beside it.

Scene coordinates are millimetres where the spacing is known, else voxels: x runs along W, y along H, z along D.
A voxel (d, h, w) is the box from (d - 0.5, h - 0.5, w - 0.5) to (d + 0.5, h + 0.5, w + 0.5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.figures.palette import ACCENT, GREY, LINE, depth_colours, depth_level
from conv3d_core.figures.plane import undrawn_note
from conv3d_core.figures.thinning import kept, sentence, step_for, thinning_note
from conv3d_core.receptive_field import Tap, Window, central_voxel, check_output, receptive_field
from conv3d_core.spec import ConvSpec, Triple

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
# What software WebGL still turns smoothly; above it the window alone is drawn.
MAX_CUBES = 4096
MAX_EDGED_CUBES = 512
# Voxels of the plane, two triangles each.
MAX_CELLS = 65_536
# The longest side in Plotly's units, whose cube of 1 fills the picture.
_LONGEST = 1.6
# How much of the surroundings a close-up shows, in window lengths on each side.
_MARGIN = 0.75


@dataclass(frozen=True, slots=True)
class SceneInfo:
    """The scene as data; boxes and voxels are input indices per axis (D, H, W).

    Attributes:
        region: the part of the input that is shown, first and last index inclusive.
        input_size, output_size: whole sizes (D, H, W).
        output_region: the outputs that are shown, inclusive.
        taps: every tap of the pinned output voxel, or none where there are more than `MAX_CUBES`.
        kernel_depth: how many depth planes the kernel has.
        window: the theoretical window, inclusive.
        pin: the output voxel.
        axis, index, plane: the plane of data: its letter, its place, its values (rows, columns) inside `region`.
        low, high: the ends of the plane's grey scale.
        spacing: the size of a voxel (D, H, W).
        undrawn_taps: how many taps there are, where they are too many to be drawn.
    """

    region: Window
    input_size: Triple
    output_size: Triple
    output_region: Window
    taps: tuple[Tap, ...]
    kernel_depth: int
    window: Window
    pin: Triple
    axis: str
    index: int
    plane: NDArray[np.float32]
    low: float
    high: float
    spacing: tuple[float, float, float]
    undrawn_taps: int = 0

    @property
    def note(self) -> str:
        """What is left out of the picture because it is too much; empty where all of it is drawn."""
        rows, columns = self.plane.shape
        notes = [thinning_note(step_for((rows, columns), MAX_CELLS), rows * columns)]
        if self.undrawn_taps:
            notes.append(undrawn_note(self.undrawn_taps))
        return "; ".join(note for note in notes if note)

    @property
    def words(self) -> str:
        """The picture in words."""
        spans = ", ".join(f"{letter} {a} to {b}" for letter, (a, b) in zip(AXES, self.window, strict=True))
        size = " x ".join(str(n) for n in self.input_size)
        return (
            f"The input of {size} voxels (D x H x W) with plane {self.axis} {self.index}; the window {spans} of output "
            f"{self.pin}; the output grid of {' x '.join(str(n) for n in self.output_size)} beside it."
            f"{sentence(self.note)}"
        )


def scene_info(
    spec: ConvSpec,
    array: NDArray[np.float32],
    channel: int,
    pin: Triple,
    found: Sequence[Tap],
    axis: str,
    value_range: tuple[float, float] | None,
    spacing_mm: Sequence[float] | None,
    close_up: bool,
) -> SceneInfo:
    """What the scene shows.

    Args:
        spec: the layer.
        array: the input, float32 (D, H, W, C); channel: which C the plane shows.
        pin: the output voxel (d, h, w).
        found: its taps, see `drawable_taps`.
        axis: along which letter the plane of data is cut, through the middle of the window.
        value_range: the ends of the grey scale; None where nothing is finite.
        spacing_mm: size of a voxel (D, H, W), or None.
        close_up: only the window and what is around it, else the whole input.

    Raises:
        ShapeError: no such output voxel.
    """
    input_size: Triple = array.shape[:3]
    check_output(spec, pin, input_size)
    output_size = _triple([a.output_size(n) for a, n in zip(spec.axes, input_size, strict=True)])
    window = receptive_field([spec]).window(pin)
    whole = _window([(0, size - 1) for size in input_size])
    region, output_region = whole, _window([(0, size - 1) for size in output_size])
    if close_up:
        region = _around(window, input_size)
        output_region = _window(
            [(max(0, index - 2), min(size - 1, index + 2)) for index, size in zip(pin, output_size, strict=True)]
        )
    fixed = AXES.index(axis)
    index = central_voxel(spec, pin, input_size)[fixed]
    low, high = value_range or (0.0, 1.0)
    # None are found where they are too many even to list.
    drawn = 0 < len(found) <= MAX_CUBES
    cut = tuple(index if i == fixed else slice(max(first, 0), last + 1) for i, (first, last) in enumerate(region))
    return SceneInfo(
        region=region,
        input_size=input_size,
        output_size=output_size,
        output_region=output_region,
        taps=tuple(found) if drawn else (),
        kernel_depth=spec.kernel_size[0],
        window=window,
        pin=pin,
        axis=axis,
        index=index,
        plane=array[..., channel][cut],
        low=low,
        high=high,
        spacing=tuple(spacing_mm) if spacing_mm is not None else (1.0, 1.0, 1.0),  # type: ignore[arg-type]
        undrawn_taps=0 if drawn else math.prod(spec.kernel_size),
    )


def scene_figure(info: SceneInfo, height: int) -> go.Figure:
    """The scene as meshes and lines; turn it with the mouse."""
    colours = depth_colours(info.kernel_depth)
    input_box = _voxel_box(info.region)
    output_box, place = _output_box(info)
    pin_box = tuple((place(i, n) - 0.5, place(i, n) + 0.5) for i, n in enumerate(info.pin))
    traces = [
        _plane_mesh(info),
        _lines([_edges(input_box)], info, LINE, 2, "input"),
        _lines([_edges(_voxel_box(info.window))], info, ACCENT, 3, "window"),
        *_tap_traces(info, colours),
        _lines([_edges(output_box)], info, LINE, 2, "output grid"),
        _cubes([pin_box], [ACCENT], info, "pinned output"),  # type: ignore[list-item]
        _output_lattice(info, place),
        _sight_lines(info, place),
        _labels(info, input_box, output_box),
    ]
    camera = {"eye": {"x": 0.75, "y": -1.25, "z": 0.75}, "projection": {"type": "orthographic"}}
    layout = {
        "height": height,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": False,
        "scene": {"camera": camera, **_frame(info, [input_box, _voxel_box(info.window), output_box])},
    }
    return go.Figure(traces, layout)


def _frame(info: SceneInfo, boxes: Sequence[Box]) -> dict[str, object]:
    """Ranges that hold all boxes, and an aspect whose longest side is always as long, so that every scene fits."""
    ranges = []
    for axis, step in enumerate(info.spacing):
        ends = [end * step for box in boxes for end in box[axis]]
        ranges.append((min(ends), max(ends)))
    # What lies in the border of a range is drawn in part only.
    margin = 0.02 * max(high - low for low, high in ranges)
    ranges = [(low - margin, high + margin) for low, high in ranges]
    longest = max(high - low for low, high in ranges)
    axes = {f"{name}axis": {"visible": False, "range": span} for name, span in zip("zyx", ranges, strict=True)}
    ratio = {name: _LONGEST * (high - low) / longest for name, (low, high) in zip("zyx", ranges, strict=True)}
    return {"aspectmode": "manual", "aspectratio": ratio, **axes}


def visible_faces(voxels: Sequence[Triple]) -> list[tuple[Triple, int, int]]:
    """The faces of a set of voxels that no other voxel of the set hides: (voxel, axis, -1 or +1).

    >>> len(visible_faces([(0, 0, 0), (0, 0, 1)]))
    10
    """
    filled = set(voxels)
    faces = []
    for voxel in voxels:
        for axis, side in itertools.product(range(3), (-1, 1)):
            neighbour = tuple(n + side if i == axis else n for i, n in enumerate(voxel))
            if neighbour not in filled:
                faces.append((voxel, axis, side))
    return faces


def _tap_traces(info: SceneInfo, colours: Sequence[str]) -> list[go.Mesh3d | go.Scatter3d]:
    traces: list[go.Mesh3d | go.Scatter3d] = []
    inside = [tap for tap in info.taps if not tap.in_padding]
    outside = [tap for tap in info.taps if tap.in_padding]
    if inside:
        depth_of = {tap.voxel: tap.tap[0] for tap in inside}
        faces = visible_faces([tap.voxel for tap in inside])
        corners = [_face(voxel, axis, side) for voxel, axis, side in faces]
        traces.append(_quads(corners, [colours[depth_of[voxel]] for voxel, _, _ in faces], info, "taps"))
        if len(inside) <= MAX_EDGED_CUBES:
            edges = [_edges(_voxel_box(_window([(n, n) for n in tap.voxel]))) for tap in inside]
            traces.append(_lines(edges, info, "#1f2328", 1, "tap edges"))
    groups: dict[int, list[Tap]] = {}
    for tap in outside:
        groups.setdefault(depth_level(tap.tap[0], info.kernel_depth), []).append(tap)
    for level, members in sorted(groups.items()):
        # Hollow and a little smaller, so that neighbours in the padding stay apart.
        edges = [_edges(_voxel_box(_window([(n, n) for n in tap.voxel]), inset=0.1)) for tap in members]
        traces.append(_lines(edges, info, colours[members[0].tap[0]], 2, f"padding taps {level}"))
    return traces


def _plane_mesh(info: SceneInfo) -> go.Mesh3d:
    """The plane as two triangles a voxel, each with its own grey: a textured surface would smooth the voxels."""
    step = step_for((info.plane.shape[0], info.plane.shape[1]), MAX_CELLS)
    fixed = AXES.index(info.axis)
    free = [i for i in range(3) if i != fixed]
    row_ends, column_ends = (_cell_ends(size, step) for size in info.plane.shape)
    r = max(info.region[free[0]][0], 0) + row_ends
    c = max(info.region[free[1]][0], 0) + column_ends
    rows, columns = len(r) - 1, len(c) - 1
    grid: list[NDArray[np.float64]] = [np.full((rows + 1, columns + 1), float(info.index))] * 3
    grid[free[0]], grid[free[1]] = np.meshgrid(r, c, indexing="ij")
    z, y, x = (axis.ravel() * step for axis, step in zip(grid, info.spacing, strict=True))
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    below = corner + columns + 1
    i = np.concatenate([corner, corner])
    j = np.concatenate([corner + 1, below + 1])
    k = np.concatenate([below + 1, below])
    along_rows, along_columns = (kept(size, step) for size in info.plane.shape)
    values = info.plane[along_rows.start :: step, along_columns.start :: step].ravel()
    return go.Mesh3d(
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        z=z.astype(np.float32),
        i=i,
        j=j,
        k=k,
        intensity=np.concatenate([values, values]),
        intensitymode="cell",
        cmin=info.low,
        cmax=info.high,
        colorscale=GREY,
        showscale=False,
        opacity=0.9,
        flatshading=True,
        lighting=_FLAT,
        name="plane",
        hoverinfo="skip",
    )


def _cell_ends(size: int, step: int) -> NDArray[np.float64]:
    """Where the cells around the voxels that are drawn begin and end; together they cover the plane."""
    ends = np.array([*(index - step / 2 for index in kept(size, step)), 0.0])
    ends[0], ends[-1] = -0.5, size - 0.5
    return ends


# The greys and the depth colours mean something: light must not change them.
_FLAT = {"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0}
_SHADED = {"ambient": 0.75, "diffuse": 0.35, "specular": 0.0, "fresnel": 0.0}


def _quads(corners: Sequence[NDArray[np.float64]], colours: Sequence[str], info: SceneInfo, name: str) -> go.Mesh3d:
    points = np.concatenate(corners) * np.array(info.spacing)
    first = np.arange(len(corners)) * 4
    return go.Mesh3d(
        x=points[:, 2],
        y=points[:, 1],
        z=points[:, 0],
        i=np.concatenate([first, first]),
        j=np.concatenate([first + 1, first + 2]),
        k=np.concatenate([first + 2, first + 3]),
        facecolor=[*colours, *colours],
        flatshading=True,
        lighting=_SHADED,
        name=name,
        hoverinfo="skip",
    )


def _cubes(boxes: Sequence[Box], colours: Sequence[str], info: SceneInfo, name: str) -> go.Mesh3d:
    corners, painted = [], []
    for box, colour in zip(boxes, colours, strict=True):
        for axis, side in itertools.product(range(3), (0, 1)):
            corners.append(_box_face(box, axis, side))
            painted.append(colour)
    return _quads(corners, painted, info, name)


def _face(voxel: Triple, axis: int, side: int) -> NDArray[np.float64]:
    return _box_face(_voxel_box(_window([(n, n) for n in voxel])), axis, (side + 1) // 2)


def _box_face(box: Box, axis: int, side: int) -> NDArray[np.float64]:
    """The four corners of one face, in order around it, as (4, 3) in D, H, W."""
    free = [i for i in range(3) if i != axis]
    corners = np.empty((4, 3))
    corners[:, axis] = box[axis][side]
    corners[:, free[0]] = np.array(box[free[0]])[[0, 1, 1, 0]]
    corners[:, free[1]] = np.array(box[free[1]])[[0, 0, 1, 1]]
    return corners


def _edges(box: Box) -> NDArray[np.float64]:
    """The twelve edges of a box as (12, 2, 3) in D, H, W."""
    edges = []
    for axis in range(3):
        free = [i for i in range(3) if i != axis]
        for a, b in itertools.product((0, 1), (0, 1)):
            edge = np.empty((2, 3))
            edge[:, axis] = box[axis]
            edge[:, free[0]] = box[free[0]][a]
            edge[:, free[1]] = box[free[1]][b]
            edges.append(edge)
    return np.stack(edges)


def _lines(edges: Sequence[NDArray[np.float64]], info: SceneInfo, colour: str, width: float, name: str) -> go.Scatter3d:
    segments = np.concatenate(edges) * np.array(info.spacing)
    # A gap after each segment lets one trace draw them all.
    broken = np.concatenate([segments, np.full((len(segments), 1, 3), np.nan)], axis=1).reshape(-1, 3)
    return go.Scatter3d(
        x=broken[:, 2],
        y=broken[:, 1],
        z=broken[:, 0],
        mode="lines",
        line={"color": colour, "width": width},
        connectgaps=False,
        name=name,
        hoverinfo="skip",
    )


def _output_box(info: SceneInfo) -> tuple[Box, _Place]:
    """Where the output grid stands: beside the input along W, its middle level with the input's."""
    region = _voxel_box(info.region)
    gap = 0.25 * max((last - first) * step for (first, last), step in zip(region, info.spacing, strict=True))
    first = [span[0] for span in info.output_region]
    size = [b - a + 1 for a, b in info.output_region]
    corner = [(a + b - n) / 2 for (a, b), n in zip(region, size, strict=True)]
    corner[2] = region[2][1] + gap / info.spacing[2]
    place = _Place(_triple(first), (corner[0], corner[1], corner[2]))
    d, h, w = ((c, c + n) for c, n in zip(corner, size, strict=True))
    return (d, h, w), place


@dataclass(frozen=True, slots=True)
class _Place:
    """From an output index to where its voxel is drawn."""

    first: Triple
    corner: tuple[float, float, float]

    def __call__(self, axis: int, index: int) -> float:
        return self.corner[axis] + index - self.first[axis] + 0.5


def _output_lattice(info: SceneInfo, place: _Place) -> go.Scatter3d:
    """A dot per output, thinned on large grids to at most about ten along an axis."""
    along = []
    for axis, (first, last) in enumerate(info.output_region):
        step = max(1, -(-(last - first + 1) // 10))
        along.append([place(axis, n) for n in range(first, last + 1, step)])
    points = np.array(list(itertools.product(*along))) * np.array(info.spacing)
    return go.Scatter3d(
        x=points[:, 2],
        y=points[:, 1],
        z=points[:, 0],
        mode="markers",
        marker={"size": 1.5, "color": LINE},
        name="outputs",
        hoverinfo="skip",
    )


def _sight_lines(info: SceneInfo, place: _Place) -> go.Scatter3d:
    """From the four corners of the window's near face to the pinned output voxel."""
    target = np.array([place(i, n) for i, n in enumerate(info.pin)])
    target[2] -= 0.5
    corners = _box_face(_voxel_box(info.window), 2, 1)
    segments = np.stack([corners, np.broadcast_to(target, corners.shape)], axis=1)
    return _lines([segments], info, ACCENT, 1.5, "window to output")


def _labels(info: SceneInfo, input_box: Box, output_box: Box) -> go.Scatter3d:
    step = np.array(info.spacing)
    points, texts = [], []
    for box, what, size in ((input_box, "input", info.input_size), (output_box, "output", info.output_size)):
        points.append([box[0][1], sum(box[1]) / 2, sum(box[2]) / 2])
        texts.append(f"{what} {' × '.join(str(n) for n in size)}")
    ends = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    for letter, end in zip(AXES, ends, strict=True):
        middle = [sum(span) / 2 if e else span[0] for span, e in zip(input_box, end, strict=True)]
        points.append(middle)
        texts.append(letter)
    at = np.array(points) * step
    return go.Scatter3d(
        x=at[:, 2],
        y=at[:, 1],
        z=at[:, 0],
        mode="text",
        text=texts,
        textposition=["top center", "top center", "middle left", "middle left", "bottom center"],
        textfont={"size": 12},
        name="labels",
        hoverinfo="skip",
    )


def _around(window: Window, input_size: Triple) -> Window:
    """The window and its surroundings; reaches into the padding only where the window does."""
    spans = []
    for (first, last), size in zip(window, input_size, strict=True):
        margin = max(2, round((last - first + 1) * _MARGIN))
        low = max(0, first - margin) if first >= 0 else first
        high = min(size - 1, last + margin) if last < size else last
        # A window that lies wholly in the padding must not lose the input from sight.
        spans.append((min(low, size - 1), max(high, 0)))
    return _window(spans)


def _voxel_box(window: Window, inset: float = 0.0) -> Box:
    reach = 0.5 - inset
    d, h, w = ((first - reach, last + reach) for first, last in window)
    return d, h, w


def _window(spans: Sequence[tuple[int, int]]) -> Window:
    d, h, w = spans
    return d, h, w


def _triple(numbers: Sequence[int]) -> Triple:
    d, h, w = numbers
    return d, h, w
