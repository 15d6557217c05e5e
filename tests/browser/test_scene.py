"""The 3D scene in the app: it shows what the viewer looks at, keeps its camera, and a click in it pins."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from conv3d_core import ConvSpec
from conv3d_core.receptive_field import describe, readers, taps
from tests.browser.driver import SCENE, VIEWER, by_key, point_at, ready, scene_state, set_number, visit
from tests.browser.test_viewer import selection, watch

RAMP = (24, 24, 24)
# Colours of the middle of the picture, as they would be on screen: red, green, blue, alpha.
PIXELS = """(scene) => {
    scene.draw();
    const {gl} = scene, [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return [Array.from({length: width * height}, (_, i) => pixels.slice(4 * i, 4 * i + 4).join()), width, height];
}"""


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """So tall that the viewer and the scene are both in sight."""
    return open_page(viewport={"width": 1280, "height": 1700})


def canvas(page: Page) -> Locator:
    return by_key(page, "scene").locator("canvas")


def seen_at(page: Page, kind: str, voxel: list[int]) -> tuple[float, float]:
    """Where in the window the middle of a voxel is seen."""
    scene_state(page)
    canvas(page).scroll_into_view_if_needed()
    box = canvas(page).bounding_box()
    assert box is not None
    x, y, _ = page.evaluate(f"([kind, voxel]) => {SCENE}.where(kind, voxel)", [kind, voxel])
    return box["x"] + x, box["y"] + y


def pixels(page: Page) -> tuple[list[str], int, int]:
    scene_state(page)
    found: tuple[list[str], int, int] = page.evaluate(f"({PIXELS})({SCENE})")
    return found


def test_what_is_drawn_is_what_the_layer_reads(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=2&p=3&d=2&od=0&oh=5&ow=5")
    spec, pin = ConvSpec(1, 8, 3, stride=2, padding=3, dilation=2), (0, 5, 5)
    state = scene_state(page)
    wanted = {(tap.tap, tap.voxel, tap.in_padding) for tap in taps(spec, pin, RAMP)}
    assert {(tuple(cube["tap"]), tuple(cube["voxel"]), cube["padding"]) for cube in state["taps"]} == wanted
    # None touches another: all six faces of each, of the pinned output too.
    assert state["faces"] == 6 * (27 + 1)
    assert describe(spec, pin, RAMP, 0) in state["label"]
    expect(canvas(page)).to_have_attribute("aria-label", re.compile(r"^Receptive field in 3D\. Output \(0, 5, 5\)"))
    assert state["planes"] == [[1, 11, 11], [0, 5, 5]] or state["planes"] == [[0, 9, 9], [0, 5, 5]]
    colours, _, _ = pixels(page)
    assert len(set(colours)) > 50
    assert colours.count("0,0,0,0") > len(colours) / 4, "around it is the page"
    set_number(page, "dilation", 1)
    state = scene_state(page)
    assert len(state["taps"]) == 27


def test_both_directions(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=1&p=1")
    spec = ConvSpec(1, 8, 3, padding=1)
    point_at(page, "input", "D", 4, 6)
    state = scene_state(page)
    depth = state["focus"]["at"][0]
    assert state["focus"] == {"kind": "input", "at": [depth, 4, 6]}
    assert sorted(map(tuple, state["readers"])) == sorted(readers(spec, (depth, 4, 6), RAMP))
    assert (state["taps"], state["faces"]) == ([], 6 * 9 + 6)
    kernel = by_key(page, "viewer").locator(".kernel canvas")
    box = kernel.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    state = scene_state(page)
    assert state["focus"] == {"kind": "tap", "at": [0, 0, 0]}
    (cube,) = state["taps"]
    assert cube["tap"] == [0, 0, 0]
    assert state["readers"] == []


def test_it_follows_the_hand_without_the_server(page: Page) -> None:
    sent = watch(page)
    visit(page, "/?volume=Ramp&k=3&s=1&p=1")
    spec = ConvSpec(1, 8, 3, padding=1)
    scene_state(page)
    canvas(page).scroll_into_view_if_needed()
    before, _, _ = pixels(page)
    sent.clear()
    for row, column in ((0, 0), (3, 17), (23, 23), (11, 2)):
        point_at(page, "output", "D", row, column)
        state = scene_state(page)
        voxel = (state["focus"]["at"][0], row, column)
        assert tuple(state["focus"]["at"]) == voxel
        assert {tuple(cube["voxel"]) for cube in state["taps"]} == {tap.voxel for tap in taps(spec, voxel, RAMP)}
    after, _, _ = pixels(page)
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 1000
    scrub = by_key(page, "viewer").get_by_label("Output position of the sweep")
    scrub.fill("1000")
    page.mouse.move(2, 2)
    assert scene_state(page)["focus"] == {"kind": "output", "at": [1, 17, 16]}
    assert sent == []


def test_the_camera_outlives_parameters_reruns_and_results(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=2&p=1")
    scene_state(page)
    canvas(page).focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    camera = scene_state(page)["camera"]
    assert (round(camera["azimuth"], 2), round(camera["elevation"], 2), camera["zoom"]) == (0.58, 0.51, 1.25**2)
    assert camera["pan"] == [27, 0]
    page.get_by_role("slider", name="Output D (depth)").press("ArrowRight")
    ready(page)
    assert scene_state(page)["camera"] == camera
    set_number(page, "padding", 0)
    set_number(page, "kernel_size", 5)
    state = scene_state(page)
    assert state["camera"] == camera
    assert len(state["taps"]) == 125
    canvas(page).focus()
    page.keyboard.press("0")
    assert scene_state(page)["camera"] == {"azimuth": 0.4, "elevation": 0.42, "zoom": 1, "pan": [0, 0]}


@pytest.mark.parametrize("link", ["k=3&s=2&p=2&d=2&od=0", "k=5&s=3&p=1"])
def test_a_click_on_a_cube_pins_the_nearest_output(page: Page, link: str) -> None:
    visit(page, f"/?volume=Ramp&{link}")
    before = scene_state(page)["focus"]["at"]
    nearest = f"({SCENE}.viewer.centres({{kind: 'input', at: voxel}}).output)"
    # A cube that nothing hides, and whose output is another.
    voxel, wanted = page.evaluate(
        f"""(before) => {{
            for (const {{voxel}} of {SCENE}.state().taps) {{
                const hit = {SCENE}.pick(...{SCENE}.where('input', voxel).slice(0, 2));
                const output = {nearest};
                const seen = hit.kind === 'tap' && hit.at.join() === voxel.join();
                if (seen && output.join() !== before.join()) return [voxel, output];
            }}
        }}""",
        before,
    )
    page.mouse.click(*seen_at(page, "input", voxel))
    page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '{wanted}'.replaceAll(' ', '')")
    ready(page)
    found = selection(page)
    assert [found[name] for name in ("element", "sliders", "sentence", "link", "scene")] == [wanted] * 5, found


def test_a_click_on_the_output_pins_what_is_seen_there(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=2&p=1")
    by_key(page, "scene").get_by_role("button", name="Whole volume").click()
    state = scene_state(page)
    assert state["grid"] == [[0, 11]] * 3
    assert state["region"] == [[0, 23]] * 3
    d, _, _ = state["focus"]["at"]
    page.mouse.click(*seen_at(page, "output", [d, 1, 9]))
    page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '[{d},1,9]'")
    ready(page)
    assert selection(page)["sliders"] == [d, 1, 9]
    assert not scene_state(page)["closeUp"], "and the view stays"


def test_dragging_turns_and_the_wheel_scrolls_the_page_until_it_is_clicked(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    visit(page, "/?volume=Ramp")
    begin = scene_state(page)
    canvas(page).scroll_into_view_if_needed()
    box = canvas(page).bounding_box()
    assert box is not None
    x, y = box["x"] + 6, box["y"] + 6

    def turn_wheel(**options: Any) -> bool:
        """Whether the picture keeps the wheel for itself."""
        kept: bool = canvas(page).evaluate(
            """(canvas, options) => {
                const event = new WheelEvent('wheel', {deltaY: -120, bubbles: true, cancelable: true, ...options});
                canvas.dispatchEvent(event);
                return event.defaultPrevented;
            }""",
            options,
        )
        return kept

    assert not turn_wheel()
    assert scene_state(page)["camera"]["zoom"] == 1
    assert turn_wheel(ctrlKey=True)
    zoom = scene_state(page)["camera"]["zoom"]
    assert zoom > 1
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 70, y + 28, steps=4)
    page.mouse.up()
    camera = scene_state(page)["camera"]
    assert camera["azimuth"] == pytest.approx(begin["camera"]["azimuth"] - 0.5, abs=0.02)
    assert camera["elevation"] == pytest.approx(begin["camera"]["elevation"] + 0.2, abs=0.02)
    assert scene_state(page)["focus"] == begin["focus"], "a drag is no click"
    under = f"{SCENE}.where('input', [5, 5, 5]).slice(0, 2)"
    at = page.evaluate(under)
    assert turn_wheel(clientX=box["x"] + at[0], clientY=box["y"] + at[1]), "now it has the focus"
    assert scene_state(page)["camera"]["zoom"] > zoom
    assert page.evaluate(under) == pytest.approx(at, abs=1.5), "what is under the pointer stays there"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert canvas(page).evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid"


def test_it_comes_back_after_the_graphics_system_lost_it(page: Page) -> None:
    visit(page, "/?volume=Ramp")
    before, _, _ = pixels(page)
    page.evaluate(f"window.lose = {SCENE}.gl.getExtension('WEBGL_lose_context'); lose.loseContext()")
    failure = by_key(page, "scene").locator(".failure")
    expect(failure).to_contain_text("has dropped the 3D scene")
    page.evaluate("lose.restoreContext()")
    expect(failure).to_be_hidden()
    assert pixels(page)[0] == before


def test_without_webgl_the_page_goes_on_and_says_so(page: Page) -> None:
    page.add_init_script(
        """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind === 'webgl2' ? null : get.call(this, kind, ...rest);
        };"""
    )
    visit(page, "/?volume=Ramp")
    expect(by_key(page, "scene").locator(".failure")).to_contain_text("no WebGL 2")
    expect(canvas(page)).to_be_hidden()
    point_at(page, "output", "D", 3, 3)
    expect(by_key(page, "viewer").locator(".sentence")).to_contain_text("3, 3)")


def test_leaving_the_page_gives_the_graphics_system_its_memory_back(page: Page) -> None:
    visit(page, "/?volume=Ramp")
    scene_state(page)
    page.evaluate(f"window.gl = {SCENE}.gl")
    page.get_by_role("link", name="Device").click()
    page.wait_for_function("gl.isContextLost()")
    ready(page)
    page.get_by_role("link", name="Explorer").click()
    page.wait_for_function(f"{SCENE}?.stage")
    ready(page)
    assert len(scene_state(page)["taps"]) == 27


def test_on_a_phone_nothing_is_cut_off(open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": 390, "height": 844})
    visit(page, "/?volume=Ramp&k=3&p=1")
    for button in ("Whole volume", "Close-up"):
        by_key(page, "scene").get_by_role("button", name=button).click()
        width, _ = scene_state(page)["size"]
        box = by_key(page, "scene").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert width > 300
        colours, wide, high = pixels(page)
        edge = [colours[row * wide + column] for row in range(high) for column in (0, wide - 1)]
        assert set(edge + colours[:wide] + colours[-wide:]) == {"0,0,0,0"}
        for label in by_key(page, "scene").locator(".labels span").all():
            inside = label.bounding_box()
            assert inside is not None
            assert inside["x"] >= box["x"] - 1
            assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1


def test_how_long_a_drawing_takes(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=7&p=3&s=1")
    scene_state(page)
    took = page.evaluate(
        f"""() => {{
            const scene = {SCENE}, pixel = new Uint8Array(4), took = [];
            for (let i = 0; i < 55; i++) {{
                scene.turn(0.1, 0);
                const began = performance.now();
                scene.draw();
                const drawn = performance.now();
                // Waits until it is painted.
                scene.gl.readPixels(0, 0, 1, 1, scene.gl.RGBA, scene.gl.UNSIGNED_BYTE, pixel);
                took.push([drawn - began, performance.now() - began]);
            }}
            return took.slice(5);
        }}"""
    )
    drawn, painted = (sorted(times) for times in zip(*took, strict=True))
    print(
        f"343 taps: a drawing holds the page up for {statistics.median(drawn):.1f} ms (median of {len(drawn)}), and is "
        f"painted after {statistics.median(painted):.1f} ms"
    )
    assert statistics.median(drawn) < 16
