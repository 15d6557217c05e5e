"""Growth, coverage and gradients as pictures, by value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.effective_field import effective_field
from conv3d_core.figures.growth import growth_figure, growth_info, sides
from conv3d_core.figures.reach import (
    MOST_LISTED,
    coverage_figure,
    coverage_legend,
    coverage_plane_info,
    coverage_words,
    edges,
    strength_figure,
    strength_plane_info,
    window_plane_info,
)
from conv3d_core.receptive_field import coverage

STACK = [ConvSpec(1, 8, 3, stride=2, padding=1), ConvSpec(8, 8, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))]
SHAPE = (1, 20, 16, 16, 1)


def test_growth_by_hand() -> None:
    info = growth_info(STACK, SHAPE, (2.5, 1.0, 1.0))
    first, second = info.rows
    assert (first.output_size, first.size, first.jump, first.padding) == ((10, 8, 8), (3,) * 3, (2,) * 3, (1,) * 3)
    assert (second.layer, second.output_size) == ("k1x3x3s1x2x2p0x1x1", (10, 4, 4))
    assert (second.size, second.jump, second.padding) == ((3, 7, 7), (2, 4, 4), (1, 3, 3))
    assert (second.size_mm, second.jump_mm) == ((7.5, 7, 7), (5, 4, 4))
    assert info.series == [("D", [3, 3]), ("H, W", [3, 7])]
    assert info.words == "The window in voxels of the input: 3 after layer 1, 3 × 7 × 7 after layer 2."
    assert growth_info(STACK, SHAPE, None).rows[0].size_mm is None
    assert sides((1234, 1234, 1234)) == "1,234"
    with pytest.raises(ShapeError, match=r"^layer 2, height:"):
        growth_info([STACK[0], ConvSpec(8, 8, (1, 9, 1))], SHAPE, None)


def test_bars_of_axes_that_differ_stand_side_by_side() -> None:
    figure = growth_figure(growth_info(STACK, SHAPE, None), 200)
    assert [(bar.name, list(bar.y), list(bar.text)) for bar in figure.data] == [
        ("D", [3, 3], ["3", "3"]),
        ("H, W", [3, 7], ["3", "7"]),
    ]
    assert figure.layout.showlegend
    assert len({bar.marker.color for bar in figure.data}) == 2
    (bar,) = growth_figure(growth_info(STACK[:1], SHAPE, None), 200).data
    assert list(bar.x) == ["1"]
    different = [ConvSpec(1, 1, (3, 2, 1))] * 8
    assert growth_figure(growth_info(different, (1, 20, 20, 20, 1), None), 200).data[0].text is None, "too many numbers"


def test_a_plane_with_a_window_that_sticks_out() -> None:
    array = np.arange(4 * 5 * 6 * 2, dtype=np.float32).reshape(4, 5, 6, 2)
    info = window_plane_info(array, 1, ((-2, 2), (1, 3), (4, 7)), "H", (0, 9), (2, 1, 1))
    assert (info.title, info.axis, info.index, info.size, info.aspect) == ("Input 1", "H", 2, 5, 2)
    assert np.array_equal(info.values, array[:, 2, :, 1])
    assert info.window == ((-2, 2), (4, 7))
    assert "The window spans D -2 to 2 and W 4 to 7." in info.words


def test_coverage_marks_what_no_output_reaches() -> None:
    found = coverage([ConvSpec(1, 1, 2, stride=3)], (8, 8, 8))
    info = coverage_plane_info(found, (2, 3, 4), "D", None)
    assert info.values.max() == 0, "plane 2 is read by none"
    info = coverage_plane_info(found, (3, 2, 4), "D", None)
    assert info.values.astype(int).tolist() == np.outer([1, 1, 0] * 2 + [1, 1], [1, 1, 0] * 2 + [1, 1]).tolist()
    assert (info.pin, info.label) == ((2, 4), "D 3/8")
    assert coverage_words(info).endswith("No output reaches 28 of its 64 voxels.")
    counts, none, pin = coverage_figure(info, 300).data
    assert np.array_equal(np.isnan(none.z), info.values > 0)
    assert none.colorscale[0][1] != counts.colorscale[-1][1]
    assert (pin.name, list(pin.x), list(pin.y)) == ("pin", [4], [2])


def test_the_legend_lists_few_counts_and_spans_many() -> None:
    few = coverage_legend(coverage([ConvSpec(1, 1, 3, stride=2)], (10, 10, 10)))
    assert (few.counts, few.listed, few.unreached) == ((1, 2, 4, 8), True, 271)
    assert len(set(few.colours)) == 4
    many = coverage_legend(coverage([ConvSpec(1, 1, 5)], (9, 9, 9)))
    assert (many.counts, many.listed) == ((1, 125), False)
    assert len(many.colours) > MOST_LISTED
    assert coverage_legend(coverage([ConvSpec(1, 1, 1, stride=9, padding=5)], (2, 2, 2))).counts == ()


def test_a_plane_of_gradients_stands_where_its_window_does() -> None:
    strength = np.zeros((3, 2, 3), np.float32)
    strength[1, 0, 1], strength[1, 1, 2] = 4, 2
    # Along H the window begins in the padding.
    field = effective_field([strength], ((2, 4), (-1, 1), (5, 7)), (9, 9, 9))
    info = strength_plane_info(field, (9, 9, 9), "D", None)
    assert (info.plane.index, info.plane.window, info.plane.view) == (3, ((-1, 1), (5, 7)), ((-2, 2), (4, 8)))
    assert np.argwhere(info.plane.values).tolist() == [[0, 6], [1, 7]]
    assert info.plane.values[1, 7] == 0.5
    assert info.words.endswith("2 voxels of this plane exceed 4.55 % of the largest.")
    figure = strength_figure(info, 300)
    assert figure.data[-1].name == "above the threshold"
    assert len(figure.layout.shapes) == 1
    empty = effective_field([np.zeros((0, 0, 0), np.float32)], ((-3, -1), (0, 2), (0, 2)), (9, 9, 9))
    assert strength_plane_info(empty, (9, 9, 9), "H", None).plane.values.max() == 0


def test_no_colour_is_one_that_streamlit_takes_for_its_own() -> None:
    # Its theme replaces #000001 to #000020 by its own colours, also in a colour scale.
    strength = np.ones((1, 1, 1), np.float32)
    field = effective_field([strength], ((0, 0), (0, 0), (0, 0)), (1, 1, 1))
    figures = [
        strength_figure(strength_plane_info(field, (1, 1, 1), "D", None), 300),
        coverage_figure(coverage_plane_info(coverage([ConvSpec(1, 1, 1)], (1, 1, 1)), (0, 0, 0), "D", None), 300),
    ]
    for figure in figures:
        assert not any(f"#0000{n:02d}" in str(trace) for trace in figure.data for n in range(1, 21))


def test_the_edge_around_cells_by_hand() -> None:
    x, y = edges(np.array([[False, True]]))
    segments = {frozenset(zip(x[n : n + 2], y[n : n + 2], strict=True)) for n in range(0, len(x), 3)}
    corners = [(0.5, -0.5), (1.5, -0.5), (1.5, 0.5), (0.5, 0.5)]
    assert segments == {frozenset(pair) for pair in zip(corners, [*corners[1:], corners[0]], strict=True)}
    assert math.isnan(x[2])
    assert edges(np.zeros((2, 2), np.bool_)) == ([], [])
