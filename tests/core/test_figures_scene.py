"""The 3D scene: what it shows, where, and that its cubes are the taps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.figures.plane import drawable_taps
from conv3d_core.figures.scene import MAX_CELLS, MAX_CUBES, SceneInfo, scene_figure, scene_info, visible_faces

SIZE = (10, 12, 14)
ARRAY = np.random.default_rng(0).normal(size=(*SIZE, 2)).astype(np.float32)


def scene(spec: ConvSpec, pin: tuple[int, int, int], close_up: bool = True, axis: str = "D") -> SceneInfo:
    found = drawable_taps(spec, pin, SIZE)
    return scene_info(spec, ARRAY, 1, pin, found, axis, (-3.0, 3.0), (2.0, 1.0, 0.5), close_up)


def traces(info: SceneInfo) -> dict[str, object]:
    return {trace.name: trace for trace in scene_figure(info, 300).data}


def test_the_plane_is_the_real_data_through_the_middle_of_the_window() -> None:
    spec = ConvSpec(2, 1, 3, stride=2, padding=1)
    info = scene(spec, (2, 3, 4), close_up=False)
    assert info.index == 4
    np.testing.assert_array_equal(info.plane, ARRAY[4, :, :, 1])
    mesh = traces(info)["plane"]
    np.testing.assert_array_equal(mesh.intensity[: ARRAY[4, :, :, 1].size], ARRAY[4, :, :, 1].ravel())
    assert mesh.intensitymode == "cell"
    assert {float(z) for z in mesh.z} == {8.0}, "depth 4 at 2 mm"


def test_a_close_up_cuts_the_same_plane_to_the_region() -> None:
    info = scene(ConvSpec(2, 1, 3), (4, 4, 4))
    assert info.region == ((3, 8), (3, 8), (3, 8)) or all(a <= 4 <= b for a, b in info.region)
    (_, _), (top, bottom), (left, right) = info.region
    np.testing.assert_array_equal(info.plane, ARRAY[info.index, top : bottom + 1, left : right + 1, 1])
    assert info.output_region == ((2, 6), (2, 6), (2, 6))


def test_padding_taps_are_lines_and_the_rest_are_cubes() -> None:
    spec = ConvSpec(2, 1, 3, padding=1)
    drawn = traces(scene(spec, (0, 5, 5)))
    # 9 taps above the volume; the other 18 are one block of 2 x 3 x 3.
    assert "padding taps 0" in drawn
    assert "padding taps 1" not in drawn
    faces = 2 * (2 * 3 + 2 * 3 + 3 * 3)
    assert len(drawn["taps"].i) == 2 * faces
    edges = np.asarray(drawn["padding taps 0"].x)
    assert len(edges) == 9 * 12 * 3


def test_dilation_holes_stay_open() -> None:
    drawn = traces(scene(ConvSpec(2, 1, (1, 1, 3), dilation=2), (5, 5, 2)))
    x = np.unique(np.round(np.asarray(drawn["taps"].x), 3))
    # Taps at W 2, 4 and 6, half a millimetre wide each.
    np.testing.assert_allclose(x, [0.75, 1.25, 1.75, 2.25, 2.75, 3.25])


def test_the_output_stands_beside_the_input_with_the_pin_in_it() -> None:
    info = scene(ConvSpec(2, 1, 3, stride=2, padding=1), (2, 3, 4), close_up=False)
    drawn = traces(info)
    assert min(drawn["pinned output"].x) > max(drawn["plane"].x)
    box = drawn["output grid"]
    for letter in "xyz":
        ends = np.array([n for n in getattr(box, letter) if not np.isnan(n)])
        pin = np.array(getattr(drawn["pinned output"], letter))
        assert ends.min() - 1e-6 <= pin.min()
        assert pin.max() <= ends.max() + 1e-6


@pytest.mark.parametrize("close_up", [True, False])
def test_voxels_keep_their_proportions_and_all_of_the_scene_is_in_its_range(close_up: bool) -> None:
    figure = scene_figure(scene(ConvSpec(2, 1, (1, 3, 3), padding=(0, 1, 1)), (0, 0, 0), close_up), 300)
    layout = figure.layout.scene
    lengths = {letter: np.ptp(layout[f"{letter}axis"].range) for letter in "xyz"}
    scales = [layout.aspectratio[letter] / lengths[letter] for letter in "xyz"]
    np.testing.assert_allclose(scales, scales[0])
    assert max(layout.aspectratio[letter] for letter in "xyz") == pytest.approx(1.6)
    for letter in "xyz":
        low, high = layout[f"{letter}axis"].range
        for trace in figure.data:
            values = np.array([n for n in getattr(trace, letter) if n is not None], float)
            assert np.nanmin(values) > low
            assert np.nanmax(values) < high


def test_a_giant_kernel_leaves_its_window() -> None:
    side = 17
    spec = ConvSpec(2, 1, side, padding=side)
    info = scene(spec, (12, 12, 12))
    assert side**3 > MAX_CUBES
    assert info.taps == ()
    assert "taps" not in traces(info)
    assert "window" in traces(info)
    assert info.note == "4,913 taps are too many to draw: only their window is shown"
    assert info.words.endswith("beside it. 4,913 taps are too many to draw: only their window is shown.")


def test_taps_that_were_never_listed_are_counted_too() -> None:
    assert scene(ConvSpec(2, 1, 100, padding=99), (50, 50, 50)).note.startswith("1,000,000 taps are too many")
    assert scene(ConvSpec(2, 1, 3), (1, 1, 1)).note == ""


def test_a_deep_kernel_draws_a_trace_a_colour() -> None:
    info = scene(ConvSpec(2, 1, (1000, 1, 1), padding=(999, 0, 0)), (500, 5, 5))
    drawn = [name for name in traces(info) if name.startswith(("taps", "padding"))]
    assert len(drawn) <= 33
    lines = sum(len(trace.x) for name, trace in traces(info).items() if name.startswith("padding"))
    assert lines == 990 * 12 * 3, "every tap in the padding is drawn"


@pytest.mark.parametrize(("size", "word"), [((3, 600, 500), "3rd"), ((3, 601, 503), "3rd"), ((3, 300, 300), "2nd")])
def test_a_plane_of_too_many_voxels_draws_every_nth(size: tuple[int, int, int], word: str) -> None:
    array = np.arange(np.prod(size), dtype=np.float32).reshape(*size, 1)
    info = scene_info(ConvSpec(1, 1, 1), array, 0, (1, 0, 0), (), "D", (0.0, 1.0), None, close_up=False)
    assert info.note.startswith(f"every {word} voxel of the plane is drawn: {size[1] * size[2]:,} are too many")
    assert f" Every {word} voxel" in info.words
    mesh = traces(info)["plane"]
    cells = len(mesh.i) // 2
    assert cells == len(mesh.intensity) // 2 <= MAX_CELLS
    for letter, length in (("y", size[1]), ("x", size[2])):
        ends = np.asarray(getattr(mesh, letter))
        assert (ends.min(), ends.max()) == (-0.5, length - 0.5), "the plane keeps its place"
    for cell in (0, 1000, cells - 1):
        first, far = mesh.i[cell], mesh.k[cell]
        row, column = divmod(int(mesh.intensity[cell]) - size[1] * size[2], size[2])
        assert mesh.y[first] <= row <= mesh.y[far], "each cell shows a voxel that lies in it"
        assert mesh.x[first] <= column <= mesh.x[far]
        assert mesh.intensity[cell] in array, "and never a mean"


def test_nothing_finite_can_be_drawn() -> None:
    array = np.full((3, 4, 5, 1), np.nan, np.float32)
    info = scene_info(ConvSpec(1, 1, 1), array, 0, (0, 0, 0), (), "D", None, None, close_up=True)
    assert info.low < info.high
    assert "plane" in traces(info)


def test_a_window_that_lies_in_the_padding_can_be_drawn() -> None:
    info = scene(ConvSpec(2, 1, 2, padding=9), (0, 0, 0))
    drawn = traces(info)
    assert "taps" not in drawn
    assert "padding taps 0" in drawn
    assert info.plane.size > 0


def test_the_words_name_the_window() -> None:
    assert scene(ConvSpec(2, 1, 3), (1, 2, 3)).words == (
        "The input of 10 x 12 x 14 voxels (D x H x W) with plane D 2; the window D 1 to 3, H 2 to 4, W 3 to 5 of output"
        " (1, 2, 3); the output grid of 8 x 10 x 12 beside it."
    )


def test_no_such_output() -> None:
    with pytest.raises(ShapeError, match="depth: output 8 is not among the 8 outputs; use 0 to 7"):
        scene(ConvSpec(2, 1, 3), (8, 0, 0))


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_face_is_visible_where_no_neighbour_hides_it(voxels: set[tuple[int, int, int]]) -> None:
    filled = np.zeros((6, 6, 6), int)
    for voxel in voxels:
        filled[tuple(n + 1 for n in voxel)] = 1
    borders = sum(int(np.abs(np.diff(filled, axis=axis)).sum()) for axis in range(3))
    faces = visible_faces(sorted(voxels))
    assert len(faces) == len(set(faces)) == borders


@given(
    st.tuples(*[st.integers(1, 3)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.booleans(),
    st.sampled_from("DHW"),
    st.integers(0, 10**6),
)
def test_any_layer_can_be_drawn(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dilation: tuple[int, int, int],
    close_up: bool,
    axis: str,
    seed: int,
) -> None:
    spec = ConvSpec(2, 1, kernel, stride, padding, dilation)
    outputs = list(itertools.product(*(range(a.output_size(n)) for a, n in zip(spec.axes, SIZE, strict=True))))
    info = scene(spec, outputs[seed % len(outputs)], close_up, axis)
    figure = scene_figure(info, 300)
    assert {"plane", "input", "window", "output grid", "pinned output", "labels"} <= {t.name for t in figure.data}
    for (first, last), (low, high), size in zip(info.region, info.window, SIZE, strict=True):
        assert first <= last
        assert first <= max(low, 0) or low >= size
        assert last >= min(high, size - 1) or high < 0
