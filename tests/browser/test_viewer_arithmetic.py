"""The viewer's integers, in a browser and without the app: they are the core's, and MLX's own gradient."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
from conv3d_core.figures.linked import Side, linked_info, sent_box
from conv3d_core.receptive_field import central_voxel, describe, readers, taps
from conv3d_core.spec import Triple
from pages._ui import viewer
from tests.browser.conftest import viewer_code

EXPORTED = """
globalThis.viewerCode = {
    axisTaps, axisReaders, axisLattice, axisWindow, central, nearestOutput, tapsOnPlane, readersOnPlane, latticeOnPlane,
    outputWords, inputWords, tapWords, unpack, paint, colourTable, number, Volume, Store,
};
"""


@pytest.fixture(scope="module")
def code(browser: Browser) -> Iterator[Page]:
    """A page with the viewer's functions as `viewerCode`."""
    with viewer_code(browser, EXPORTED) as page:
        yield page


def layers(count: int, seed: int, largest: int = 9) -> Iterator[tuple[ConvSpec, Triple]]:
    """Random layers with an input that they take."""
    draw = random.Random(seed)

    def three(low: int, high: int) -> Triple:
        d, h, w = (draw.randint(low, high) for _ in range(3))
        return d, h, w

    while count:
        spec = ConvSpec(draw.choice((1, 1, 3)), 2, three(1, 4), three(1, 3), three(0, 3), three(1, 3))
        size = three(2, largest)
        if all(axis.output_size(n) > 0 for axis, n in zip(spec.axes, size, strict=True)):
            count -= 1
            yield spec, size


def axes_of(spec: ConvSpec, size: Triple) -> list[dict[str, int]]:
    side = Side("", "", (0.0, 1.0), "", None)
    axes: list[dict[str, int]] = linked_info(spec, size, (0, 0, 0), 0, side, side, "", sent_box(size, (0, 0, 0)))[
        "axes"
    ]
    return axes


def outputs_of(spec: ConvSpec, size: Triple) -> Triple:
    d, h, w = (axis.output_size(n) for axis, n in zip(spec.axes, size, strict=True))
    return d, h, w


# Every tap, plane by plane: what is highlighted if each plane is looked at.
TAPS = """([axes, output]) => {
    const {axisWindow, tapsOnPlane} = viewerCode;
    const [first, last] = axisWindow(axes[0], output[0]);
    const found = [];
    for (let d = first; d <= last; d++) {
        for (const {row, column, tap, padding} of tapsOnPlane(axes, output, 0, d)) {
            found.push([tap, [d, row, column], padding]);
        }
    }
    return found;
}"""

READERS = """([axes, input]) => Array.from({length: axes[0].outputs}, (_, d) =>
    viewerCode.readersOnPlane(axes, input, 0, d).map(({row, column}) => [d, row, column])).flat()"""


def test_taps_words_and_readers_are_the_core_s(code: Page) -> None:
    draw = random.Random(1)
    for spec, size in layers(150, seed=2):
        axes, outputs = axes_of(spec, size), outputs_of(spec, size)
        output = tuple(draw.randrange(n) for n in outputs)
        found = {(tuple(tap), tuple(voxel), padding) for tap, voxel, padding in code.evaluate(TAPS, [axes, output])}
        assert found == {(tap.tap, tap.voxel, tap.in_padding) for tap in taps(spec, output, size)}, spec
        words = code.evaluate(
            "([axes, o, n]) => viewerCode.outputWords(axes, o, 1, n)", [axes, output, spec.in_channels]
        )
        assert words == describe(spec, output, size, 1)
        assert tuple(code.evaluate("([axes, o]) => viewerCode.central(axes, o)", [axes, output])) == central_voxel(
            spec, output, size
        )
        voxel = tuple(draw.randrange(n) for n in size)
        reading = [tuple(each) for each in code.evaluate(READERS, [axes, voxel])]
        assert sorted(reading) == sorted(readers(spec, voxel, size)), spec
        words = code.evaluate("([axes, v]) => viewerCode.inputWords(axes, v)", [axes, voxel])
        assert words.startswith(f"Input ({', '.join(map(str, voxel))}) is read by {len(reading) or 'no'} output")


def test_on_every_plane_the_same_taps_are_seen(code: Page) -> None:
    """Across H and W, too: their union is that across D."""
    across = """([axes, output, across]) => {
        const [first, last] = viewerCode.axisWindow(axes[across], output[across]);
        const others = [0, 1, 2].filter(axis => axis !== across), found = [];
        for (let at = first; at <= last; at++) {
            for (const {row, column, tap, padding} of viewerCode.tapsOnPlane(axes, output, across, at)) {
                const voxel = [0, 0, 0];
                voxel[across] = at; voxel[others[0]] = row; voxel[others[1]] = column;
                found.push(JSON.stringify([tap, voxel, padding]));
            }
        }
        return found.sort();
    }"""
    for spec, size in layers(40, seed=3):
        axes = axes_of(spec, size)
        output = [n // 2 for n in outputs_of(spec, size)]
        by_depth, by_height, by_width = (code.evaluate(across, [axes, output, axis]) for axis in range(3))
        assert by_depth == by_height == by_width
        assert len(by_depth) == np.prod(spec.kernel_size)


def test_highlighted_taps_are_the_support_of_mlx_s_gradient(code: Page) -> None:
    with Engine(device="cpu", accelerate=False) as engine:
        for spec, size in layers(60, seed=4):
            one = ConvSpec(1, 1, spec.kernel_size, spec.stride, spec.padding, spec.dilation)
            axes, outputs = axes_of(one, size), outputs_of(one, size)
            output = tuple(n - 1 for n in outputs) if size[0] % 2 else (0, 0, 0)
            weight = np.ones(one.weight_shape, np.float32)
            gradient = engine.voxel_gradient(one, (1, *size, 1), output, 0, weight)
            first = [span[0] for span in gradient.window]
            support = {
                tuple(int(at) + begin for at, begin in zip(where, first, strict=True))
                for where in np.argwhere(gradient.values[..., 0])
            }
            lit = {tuple(voxel) for _, voxel, padding in code.evaluate(TAPS, [axes, output]) if not padding}
            assert lit == support, (spec, size, output)


def test_the_inverse_direction_is_the_transpose(code: Page) -> None:
    both = """(axes) => {
        const {readersOnPlane, tapsOnPlane, axisWindow} = viewerCode;
        const forward = new Set(), backward = new Set();
        const every = sizes => { const all = []; for (let d = 0; d < sizes[0]; d++) for (let h = 0; h < sizes[1]; h++)
            for (let w = 0; w < sizes[2]; w++) all.push([d, h, w]); return all; };
        for (const output of every(axes.map(axis => axis.outputs))) {
            const [first, last] = axisWindow(axes[0], output[0]);
            for (let d = first; d <= last; d++) for (const {row, column, padding} of tapsOnPlane(axes, output, 0, d)) {
                if (!padding) forward.add(`${[d, row, column]} ${output}`);
            }
        }
        for (const input of every(axes.map(axis => axis.size))) for (let d = 0; d < axes[0].outputs; d++) {
            for (const {row, column} of readersOnPlane(axes, input, 0, d)) backward.add(`${input} ${[d, row, column]}`);
        }
        return [forward.size, backward.size, [...forward].every(pair => backward.has(pair))];
    }"""
    for spec, size in layers(25, seed=5, largest=6):
        forward, backward, same = code.evaluate(both, axes_of(spec, size))
        assert (forward, same) == (backward, True), spec


def test_what_a_tap_multiplies(code: Page) -> None:
    lattice = """([axes, tap]) => {
        const depths = new Set(viewerCode.axisLattice(axes[0], tap[0])), found = [];
        for (const d of depths) for (const {row, column, padding} of viewerCode.latticeOnPlane(axes, tap, 0, d)) {
            found.push([d, row, column]);
        }
        return found;
    }"""
    for spec, size in layers(30, seed=6, largest=6):
        axes, outputs = axes_of(spec, size), outputs_of(spec, size)
        tap = tuple(n - 1 for n in spec.kernel_size)
        wanted = []
        for output in itertools.product(*map(range, outputs)):
            wanted += [found.voxel for found in taps(spec, output, size) if found.tap == tap]
        assert sorted(map(tuple, code.evaluate(lattice, [axes, tap]))) == sorted(wanted)
        inside = sum(all(0 <= at < n for at, n in zip(voxel, size, strict=True)) for voxel in wanted)
        words = code.evaluate("([axes, tap]) => viewerCode.tapWords(axes, tap)", [axes, tap])
        assert f" multiplies {inside:,} voxel" in words


def test_the_nearest_output_is_the_one_in_whose_middle_a_voxel_lies(code: Page) -> None:
    for spec, size in layers(40, seed=7):
        axes, outputs = axes_of(spec, size), outputs_of(spec, size)
        output = tuple(n // 2 for n in outputs)
        middle = [axis.taps(at)[(axis.kernel_size - 1) // 2] for axis, at in zip(spec.axes, output, strict=True)]
        if all(0 <= at < n for at, n in zip(middle, size, strict=True)):
            assert tuple(code.evaluate("([a, v]) => viewerCode.nearestOutput(a, v)", [axes, middle])) == output


def test_a_message_is_read_as_it_was_packed(code: Page) -> None:
    values = np.array([[[1.5, -2.25], [np.inf, 3e38]]], np.float32)
    message = viewer.pack({"name": "Ü"}, {"x": values, "y": np.zeros((2,), np.float32)})
    header, arrays = viewer.unpack(message)
    assert header == {"name": "Ü"}
    np.testing.assert_array_equal(arrays["x"], values)
    found = code.evaluate(
        """bytes => { const {header, arrays} = viewerCode.unpack(Uint8Array.from(bytes));
            const {x, y} = arrays;
            return JSON.stringify([header.name, x.shape, Array.from(x.data, String), y.shape]); }""",
        list(message),
    )
    assert json.loads(found) == ["Ü", [1, 2, 2], ["1.5", "-2.25", "Infinity", "3.0000000054977558e+38"], [2]]


def test_planes_of_a_box_of_a_volume(code: Page) -> None:
    volume = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    read = """([data, across, index]) => {
        const volume = new viewerCode.Volume(Float32Array.from(data), [2, 3, 4], [10, 20, 30], [99, 99, 99]);
        const plane = volume.plane(across, index);
        return plane && [plane.rows, plane.columns, plane.firstRow, plane.firstColumn, Array.from(plane.values)];
    }"""
    for across, index, cut, first in (
        (0, 11, volume[1], (20, 30)),
        (1, 22, volume[:, 2], (10, 30)),
        (2, 30, volume[..., 0], (10, 20)),
    ):
        found = code.evaluate(read, [volume.ravel().tolist(), across, index])
        assert found == [*cut.shape, *first, cut.ravel().tolist()]
    assert code.evaluate(read, [volume.ravel().tolist(), 0, 12]) is None, "that is not here"


def test_colours_are_the_pictures_own(code: Page) -> None:
    from conv3d_core.figures.palette import SIGNED, hex_colours, paint

    values = np.array([-2, -1, -0.3, 0, 0.6, 1, 7, np.nan, np.inf], np.float32)
    found = code.evaluate(
        """([values, hex]) => { const pixels = new Uint32Array(values.length);
            viewerCode.paint(values.map(Number), -1, 1, viewerCode.colourTable(hex), pixels);
            return Array.from(new Uint8Array(pixels.buffer)); }""",
        [[str(value).replace("inf", "Infinity") for value in values.tolist()], hex_colours(SIGNED)],
    )
    rgba = np.array(found, np.uint8).reshape(-1, 4)
    np.testing.assert_array_equal(rgba[:, :3], paint(values, -1.0, 1.0, SIGNED))
    assert (rgba[:, 3] == 255).all()


def test_names_are_unique_across_the_modules() -> None:
    """Or one module's function would take the place of another's in the one file that they become."""
    declared = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", viewer.bundle(), re.M)
    assert sorted(declared) == sorted(set(declared))
    assert not re.search(r"^import ", viewer.bundle(), re.M)
