"""Planes: what is cut, what is drawn on it, and what the words say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.figures.palette import (
    MAX_DEPTH_COLOURS,
    SIGNED,
    depth_colours,
    depth_level,
    gradient,
    number,
    paint,
    value_range,
)
from conv3d_core.figures.plane import (
    MAX_CELLS,
    PlaneInfo,
    aspect_of,
    pin_on,
    plane_figure,
    plane_of,
    row_is_up,
)
from conv3d_core.figures.thinning import kept, step_for, thinning_note

ARRAY = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)


def plane(**changes: object) -> PlaneInfo:
    values = {
        "title": "Input",
        "values": ARRAY[1, :, :, 0],
        "axis": "D",
        "index": 1,
        "size": 2,
        "aspect": 1.5,
        "low": 0.0,
        "high": 46.0,
        "scope": "whole volume",
    }
    return PlaneInfo(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axis", "index", "expected"), [("D", 1, ARRAY[1]), ("H", 2, ARRAY[:, 2]), ("W", 0, ARRAY[:, :, 0])]
)
def test_a_plane_keeps_the_other_axes_in_order(axis: str, index: int, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(plane_of(ARRAY, axis, index), expected)


def test_aspect_is_row_over_column_spacing() -> None:
    spacing = (6.0, 2.0, 1.0)
    assert [aspect_of(axis, spacing) for axis in "DHW"] == [2.0, 6.0, 3.0]
    assert aspect_of("D", None) == 1.0


def test_pin_on_a_plane() -> None:
    assert [pin_on((1, 2, 3), axis) for axis in "DHW"] == [(2, 3), (1, 3), (1, 2)]


def test_the_words_say_what_the_picture_shows() -> None:
    info = plane(window=((0, 2), (-1, 1)))
    assert info.words == (
        "Input, plane D 1/2: H down, W across, colours 0 to 46, whole volume. The window spans H 0 to 2 and W -1 to 1."
    )


def test_d_runs_upwards_as_in_the_scene() -> None:
    assert [row_is_up(axis) for axis in "DHW"] == [False, True, True]
    up = plane_figure(plane(axis="W", values=ARRAY[:, :, 0, 0]), 300).layout.yaxis.range
    down = plane_figure(plane(), 300).layout.yaxis.range
    assert up[0] < up[1]
    assert down[0] > down[1]
    assert "D up, H across" in plane(axis="W", values=ARRAY[:, :, 0, 0]).words


def test_the_figure_draws_the_values_and_the_range() -> None:
    figure = plane_figure(plane(), 300)
    heatmap = figure.data[0]
    np.testing.assert_array_equal(heatmap.z, ARRAY[1, :, :, 0])
    assert (heatmap.zmin, heatmap.zmax, heatmap.zsmooth) == (0, 46, False)
    assert figure.layout.yaxis.scaleratio == 1.5
    assert "H %{y}, W %{x}" in heatmap.hovertemplate


def test_a_flat_plane_takes_less_height() -> None:
    assert plane_figure(plane(values=np.zeros((40, 40), np.float32)), 300).layout.height == 300
    assert plane_figure(plane(values=np.zeros((4, 40), np.float32)), 300).layout.height == 64 + 78


def test_the_window_is_framed_and_seen_where_it_sticks_out() -> None:
    figure = plane_figure(plane(window=((0, 1), (-1, 1))), 300)
    (_, window) = figure.data
    assert window.name == "window"
    assert list(window.x) == [-1.5, 1.5, 1.5, -1.5, -1.5]
    assert list(window.y) == [-0.5, -0.5, 1.5, 1.5, -0.5]
    assert figure.layout.xaxis.range[0] == -1.5


def test_a_close_up_shows_the_region() -> None:
    figure = plane_figure(plane(view=((0, 1), (2, 3))), 300)
    assert figure.layout.xaxis.range == (1.5, 3.5)
    assert figure.layout.yaxis.range == (1.5, -0.5)


def test_zero_is_white_and_ranges_leave_out_what_is_not_finite() -> None:
    assert value_range(np.array([np.nan, -3, 2], np.float32)) == (-3, 2)
    assert value_range(np.array([np.nan, np.inf], np.float32)) is None
    white = paint(np.zeros(1, np.float32), -3, 3, SIGNED)[0]
    assert white.min() > 240


def test_what_is_not_finite_is_magenta() -> None:
    np.testing.assert_array_equal(paint(np.array([np.nan, np.inf], np.float32), -1, 1, SIGNED), [[255, 0, 255]] * 2)


def test_colours_rise_with_the_value() -> None:
    rgb = paint(np.array([-1, 1], np.float32), -1, 1, SIGNED).astype(int)
    assert rgb[0, 2] > rgb[0, 0], "negative is blue"
    assert rgb[1, 0] > rgb[1, 2], "positive is red"
    assert gradient(SIGNED).startswith("linear-gradient(to right, rgb(5, 48, 97)")


def test_depth_colours_differ() -> None:
    assert len(set(depth_colours(7))) == 7
    assert len(depth_colours(1)) == 1
    assert len(set(depth_colours(MAX_DEPTH_COLOURS))) == MAX_DEPTH_COLOURS


@pytest.mark.parametrize("count", [33, 1000, 100_000])
def test_depth_colours_repeat_on_deep_kernels(count: int) -> None:
    colours = depth_colours(count)
    assert len(colours) == count
    assert list(dict.fromkeys(colours)) == list(depth_colours(MAX_DEPTH_COLOURS)), "in order, none left out"
    assert [colours[depth] for depth in (0, count - 1)] == [depth_colours(2)[0], depth_colours(2)[1]]
    levels = [depth_level(depth, count) for depth in range(count)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(MAX_DEPTH_COLOURS))


def test_a_plane_of_too_many_voxels_draws_every_nth() -> None:
    values = np.arange(2000 * 3000, dtype=np.float32).reshape(2000, 3000)
    info = plane(values=values, axis="H")
    assert info.note == "every 2nd voxel of the plane is drawn: 6,000,000 are too many"
    assert info.words.endswith("whole volume. Every 2nd voxel of the plane is drawn: 6,000,000 are too many.")
    figure = plane_figure(info, 300)
    heatmap = figure.data[0]
    assert heatmap.z.size <= MAX_CELLS
    for row, column in ((0, 0), (7, 1000), (999, 1499)):
        at = heatmap.y0 + row * heatmap.dy, heatmap.x0 + column * heatmap.dx
        assert heatmap.z[row][column] == values[at], "what stands under the cursor is the voxel at that index"
    assert figure.layout.xaxis.range == (-0.5, 2999.5)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 100))
def test_drawn_voxels_are_few_enough_and_spread_over_the_plane(rows: int, columns: int, most: int) -> None:
    step = step_for((rows, columns), most)
    drawn = [kept(size, step) for size in (rows, columns)]
    assert len(drawn[0]) * len(drawn[1]) <= most
    assert step == 1 or len(range(0, rows, step - 1)) * len(range(0, columns, step - 1)) > most, (
        "no coarser than it must"
    )
    for indices, size in zip(drawn, (rows, columns), strict=True):
        # No voxel is further than half a step from one that is drawn; at the end a step, where they do not divide.
        assert all(min(abs(index - at) for at in indices) <= max(step // 2, step - 1) for index in range(size))
        assert 0 <= indices[0] <= indices[-1] < size


@pytest.mark.parametrize(
    ("step", "word"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (21, "21st"), (112, "112th")]
)
def test_a_step_in_words(step: int, word: str) -> None:
    assert thinning_note(step, 4_000_000) == f"every {word} voxel of the plane is drawn: 4,000,000 are too many"
    assert thinning_note(1, 4_000_000) == ""


def test_one_long_row_is_thinned_too() -> None:
    heatmap = plane_figure(plane(values=np.zeros((1, 3_000_000), np.float32)), 300).data[0]
    assert np.shape(heatmap.z) == (1, 1_500_000)
    assert (heatmap.y0, heatmap.dy, heatmap.dx) == (0, 1, 2)


def test_numbers_at_reading_precision() -> None:
    assert [number(n) for n in (0, 242.2049, 1e-9)] == ["0", "242.2", "1e-09"]
