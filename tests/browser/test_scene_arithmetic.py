"""The 3D scene's arithmetic, in a browser and without the app: what stands where, what hides, what a click meets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from conv3d_core import ConvSpec
from conv3d_core.receptive_field import central_voxel, readers, receptive_field, taps
from tests.browser.conftest import viewer_code
from tests.browser.test_viewer_arithmetic import axes_of, layers, outputs_of

EXPORTED = """
globalThis.sceneCode = {
    START, boxCorners, cameraBasis, clipMatrix, dot, lookAt, rayAt, toScreen, boxEdges, hitBox, hitPlane, visibleFaces,
    setStage,
};
"""
CUBE = "[voxel.map(n => n - 0.5), voxel.map(n => n + 0.5)]"


@pytest.fixture(scope="module")
def code(browser: Browser) -> Iterator[Page]:
    """A page with the scene's functions as `sceneCode`."""
    with viewer_code(browser, EXPORTED) as page:
        yield page


def cameras(count: int, seed: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    for _ in range(count):
        pan = [draw.uniform(-80, 80), draw.uniform(-80, 80)]
        yield {
            "azimuth": draw.uniform(-7, 7),
            "elevation": draw.uniform(-1.57, 1.57),
            "zoom": draw.uniform(1, 9),
            "pan": pan,
        }


def test_faces_that_two_cubes_share_are_not_drawn(code: Page) -> None:
    """By hand: a block of a x b x c cubes shows 2 (ab + bc + ca) faces, and cubes apart show six each."""
    count = "voxels => sceneCode.visibleFaces(voxels).length"
    for sides in ((1, 1, 1), (1, 1, 2), (3, 3, 3), (2, 3, 4), (16, 16, 16)):
        a, b, c = sides
        block = [[d - 1, h + 5, w] for d, h, w in itertools.product(*map(range, sides))]
        assert code.evaluate(count, block) == 2 * (a * b + b * c + c * a)
    apart = [[2 * d, 2 * h, 2 * w] for d, h, w in itertools.product(range(3), repeat=3)]
    assert code.evaluate(count, apart) == 6 * 27
    assert code.evaluate(count, [[0, 0, 1], [0, 1, 0]]) == 12, "an edge in common hides nothing"
    assert code.evaluate(count, []) == 0


def test_a_face_is_seen_where_no_neighbour_is(code: Page) -> None:
    draw = random.Random(1)
    for _ in range(30):
        voxels = [list(v) for v in itertools.product(range(4), repeat=3) if draw.random() < 0.4]
        filled = np.zeros((6, 6, 6), int)
        for d, h, w in voxels:
            filled[d + 1, h + 1, w + 1] = 1
        faces = code.evaluate("voxels => sceneCode.visibleFaces(voxels)", voxels)
        assert len(faces) == sum(int(np.abs(np.diff(filled, axis=axis)).sum()) for axis in range(3))
        for number, face in faces:
            neighbour = [n + 1 for n in voxels[number]]
            neighbour[face // 2] += 1 if face % 2 else -1
            assert not filled[tuple(neighbour)]


def test_a_box_has_twelve_edges_as_long_as_its_sides(code: Page) -> None:
    edges = np.array(code.evaluate("sceneCode.boxEdges([0, 0, 0], [2, 3, 5])"))
    lengths = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    assert sorted(lengths) == [2] * 4 + [3] * 4 + [5] * 4
    assert len({tuple(sorted(map(tuple, edge))) for edge in edges.tolist()}) == 12


def test_the_camera_begins_with_d_upwards_and_w_to_the_right(code: Page) -> None:
    x, y = (np.array(code.evaluate("sceneCode.cameraBasis(sceneCode.START)")[name]) for name in ("right", "up"))
    assert (x[2] > 0.8, x[0] == 0, y[0] > 0.8) == (True, True, True)
    for camera in cameras(20, seed=2):
        basis = code.evaluate("camera => sceneCode.cameraBasis(camera)", camera)
        matrix = np.array([basis["right"], basis["up"], basis["eye"]])
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


def test_all_of_it_fits_and_the_graphics_system_sees_the_same(code: Page) -> None:
    look = """(camera) => {
        const boxes = [{low: [-3, 0, 2], high: [40, 9, 20]}, {low: [5, 5, 30], high: [9, 60, 44]}];
        const view = sceneCode.lookAt(camera, boxes, [360, 270], [50, 40, 10, 20]);
        const corners = boxes.flatMap(({low, high}) => sceneCode.boxCorners(low, high));
        const seen = corners.map(corner => sceneCode.toScreen(view, corner));
        return [corners, seen, Array.from(sceneCode.clipMatrix(view))];
    }"""
    for camera in cameras(50, seed=3):
        corners, seen, numbers = code.evaluate(look, camera)
        points = np.array([[*corner, 1] for corner in corners])
        clip = points @ np.array(numbers).reshape(4, 4)
        np.testing.assert_allclose(clip[:, 3], 1)
        x, y = (clip[:, 0] + 1) * 180, (1 - clip[:, 1]) * 135
        np.testing.assert_allclose(np.array(seen)[:, :2], np.stack([x, y], axis=1), atol=1e-2)
        assert (np.argsort(-clip[:, 2]) == np.argsort(np.array(seen)[:, 2])).all(), (
            "what is nearer hides what is farther"
        )
        assert np.abs(clip[:, 2]).max() < 1
        whole = camera | {"zoom": 1, "pan": [0, 0]}
        _, seen, _ = code.evaluate(look, whole)
        x, y = np.array(seen)[:, 0], np.array(seen)[:, 1]
        assert (x.min() > 50 - 1e-6, x.max() < 350 + 1e-6, y.min() > 40 - 1e-6, y.max() < 250 + 1e-6) == (True,) * 4
        assert x.min() < 51 or y.min() < 41, "and fills the picture"


def test_where_a_voxel_is_seen_it_is_picked(code: Page) -> None:
    picked = f"""([camera, voxels]) => {{
        const {{lookAt, toScreen, rayAt, hitBox}} = sceneCode;
        const view = lookAt(camera, [{{low: [-1, -1, -1], high: [12, 12, 12]}}], [400, 300], [40, 30, 0, 10]);
        return voxels.map(target => {{
            const [x, y, depth] = toScreen(view, target);
            const ray = rayAt(view, x, y);
            const far = voxels.map(voxel => hitBox(ray, ...{CUBE}));
            const nearest = far.indexOf(Math.min(...far));
            const alone = (voxel => hitBox(ray, ...{CUBE}))(target);
            return [alone < Infinity, voxels[nearest], toScreen(view, voxels[nearest])[2] >= depth - 1];
        }});
    }}"""
    draw = random.Random(4)
    for camera in cameras(60, seed=4):
        lone = [draw.randrange(12) for _ in range(3)]
        assert code.evaluate(picked, [camera, [lone]]) == [[True, lone, True]]
        voxels = [[3 * d, 3 * h, 3 * w] for d, h, w in itertools.product(range(4), repeat=3)]
        for met, _, nearer in code.evaluate(picked, [camera, voxels]):
            assert (met, nearer) == (True, True), "itself, or one that hides it"
    assert code.evaluate("sceneCode.hitBox({origin: [0, 9, 0], direction: [1, 0, 0]}, [1, 1, 1], [2, 2, 2])") == float(
        "inf"
    )


def test_where_a_plane_is_seen_its_voxel_is_picked(code: Page) -> None:
    met = """([camera, voxel, across]) => {
        const {lookAt, toScreen, rayAt, hitPlane} = sceneCode;
        const [low, high] = [[-0.5, -0.5, -0.5], [9.5, 9.5, 9.5]];
        const view = lookAt(camera, [{low, high}], [400, 300], [40, 30, 0, 10]);
        const [x, y] = toScreen(view, voxel);
        const ray = rayAt(view, x, y);
        const far = hitPlane(ray, across, voxel[across], low, high);
        return ray.origin.map((from, i) => from + far * ray.direction[i]);
    }"""
    draw = random.Random(5)
    for camera in cameras(60, seed=5):
        voxel, across = [draw.randrange(10) for _ in range(3)], draw.randrange(3)
        np.testing.assert_allclose(code.evaluate(met, [camera, voxel, across]), voxel, atol=1e-6)
    beside = "sceneCode.hitPlane({origin: [5, 0, 0], direction: [-1, 0, 0]}, 0, 1, [0, 1, 1], [2, 2, 2])"
    assert code.evaluate(beside) == float("inf")


STAGE = """([axes, focus, at, close]) => sceneCode.setStage(axes, focus, at, [1, 1, 1], close)"""


def test_the_cubes_are_the_core_s_taps_and_readers(code: Page) -> None:
    draw = random.Random(6)
    for number, (spec, size) in enumerate(layers(60, seed=6)):
        axes, outputs, close = axes_of(spec, size), outputs_of(spec, size), bool(number % 2)
        output = tuple(draw.randrange(n) for n in outputs)
        at = {"input": list(central_voxel(spec, output, size)), "output": list(output)}
        stage = code.evaluate(STAGE, [axes, {"kind": "output", "at": output}, at, close])
        cubes = {(tuple(cube["tap"]), tuple(cube["voxel"]), cube["padding"]) for cube in stage["taps"]}
        assert cubes == {(tap.tap, tap.voxel, tap.in_padding) for tap in taps(spec, output, size)}, spec
        assert [tuple(span) for span in stage["window"]] == list(receptive_field([spec]).window(output))
        assert (stage["readers"], stage["note"]) == ([], "")
        one = [n - 1 for n in spec.kernel_size]
        (cube,) = code.evaluate(STAGE, [axes, {"kind": "tap", "at": one}, at, close])["taps"]
        assert (tuple(one), tuple(cube["voxel"]), cube["padding"]) in cubes
        voxel = [draw.randrange(n) for n in size]
        at = {"input": voxel, "output": list(output)}
        stage = code.evaluate(STAGE, [axes, {"kind": "input", "at": voxel}, at, close])
        assert sorted(map(tuple, stage["readers"])) == sorted(readers(spec, tuple(voxel), size))  # type: ignore[arg-type]
        assert stage["taps"] == []


def test_what_is_lit_is_in_sight_and_the_output_stands_beside_the_input(code: Page) -> None:
    draw = random.Random(7)
    for number, (spec, size) in enumerate(layers(60, seed=8, largest=30)):
        axes, outputs = axes_of(spec, size), outputs_of(spec, size)
        output = [draw.randrange(n) for n in outputs]
        at = {"input": list(central_voxel(spec, tuple(output), size)), "output": output}  # type: ignore[arg-type]
        stage = code.evaluate(STAGE, [axes, {"kind": "output", "at": output}, at, bool(number % 2)])
        for (first, last), (low, high), n in zip(stage["region"], stage["window"], size, strict=True):
            assert 0 <= first <= last < n
            assert first <= max(low, 0) or low >= n
            assert last >= min(high, n - 1) or high < 0
        for (first, last), index, n in zip(stage["grid"], output, outputs, strict=True):
            assert 0 <= first <= index <= last < n
        assert stage["grid"][2][0] + stage["place"][2] > max(stage["region"][2][1], stage["window"][2][1]) + 1


def test_too_many_cubes_are_said_and_not_drawn(code: Page) -> None:
    spec, size = ConvSpec(1, 1, 17, padding=8), (20, 20, 20)
    at = {"input": [9, 9, 9], "output": [9, 9, 9]}
    stage = code.evaluate(STAGE, [axes_of(spec, size), {"kind": "output", "at": [9, 9, 9]}, at, True])
    assert stage["taps"] == []
    assert stage["note"] == "4,913 taps are too many to draw: only the box around them is shown."
    assert stage["window"] == [[1, 17]] * 3
    stage = code.evaluate(STAGE, [axes_of(spec, size), {"kind": "input", "at": [9, 9, 9]}, at, True])
    assert stage["note"].startswith("4,913 outputs are too many to draw")
    one = code.evaluate(STAGE, [axes_of(spec, size), {"kind": "tap", "at": [0, 0, 16]}, at, True])
    assert ([cube["voxel"] for cube in one["taps"]], one["note"]) == ([[1, 1, 17]], "")
