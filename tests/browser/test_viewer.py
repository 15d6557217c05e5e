"""The linked viewer in the app: hover never asks the server, a click pins for all, everything goes by keyboard too."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import SCENE, VIEWER, by_key, point_at, ready, scene_state, viewer_canvas, viewer_state, visit

# Frames that the page sends over its websockets, counted from when the page is watched.
Sent = list[Any]


def watch(page: Page) -> Sent:
    sent: Sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    return sent


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """So tall that no plane is under the header."""
    return open_page(viewport={"width": 1280, "height": 1500})


def hint(page: Page) -> str:
    return by_key(page, "viewer").locator(".sentence").inner_text()


def test_hovering_sends_nothing_and_answers_within_a_frame(page: Page) -> None:
    sent = watch(page)
    visit(page, "/?k=7&p=3&s=1&oc=1")
    viewer_canvas(page, "input", "D").scroll_into_view_if_needed()
    sent.clear()
    page.evaluate(f"{VIEWER}.took.splice(0)")
    draw = random.Random(1)
    seen = set()
    for number in range(200):
        kind = ("input", "output")[number % 2]
        axis = "DHW"[number // 2 % 3]
        rows, columns = {"D": (116, 98), "H": (94, 98), "W": (94, 116)}[axis]
        row, column = draw.randrange(rows), draw.randrange(columns)
        point_at(page, kind, axis, row, column)  # type: ignore[arg-type]
        focus = viewer_state(page)["focus"]

        seen.add((focus["kind"], *focus["at"]))
    assert len(seen) > 180
    assert sent == []
    took = page.evaluate(f"{VIEWER}.took")
    assert len(took) >= 180
    print(f"a hover takes {statistics.median(took):.1f} ms (median of {len(took)}), at most {max(took):.1f} ms")
    assert statistics.median(took) < 8


def test_what_lights_up_is_what_is_read(page: Page) -> None:
    visit(page, "/?volume=Ball, bar and step&k=3&s=2&p=1&d=2")
    point_at(page, "output", "D", 0, 0)
    state = viewer_state(page)
    assert state["focus"] == {"kind": "output", "at": [7, 0, 0]}
    assert state["words"].startswith("Output (7, 0, 0) of channel 0 reads 12 voxels: depth 13-17 in steps of 2")
    assert "Output (7, 0, 0) of channel 0 = " in hint(page)
    point_at(page, "input", "H", 5, 8)
    state = viewer_state(page)
    assert state["focus"]["kind"] == "input"
    assert state["words"].startswith(f"Input ({', '.join(map(str, state['focus']['at']))}) is read by ")
    kernel = by_key(page, "viewer").locator(".kernel canvas")
    box = kernel.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    assert viewer_state(page)["focus"] == {"kind": "tap", "at": [0, 0, 0]}
    assert viewer_state(page)["words"].startswith("Tap (0, 0, 0) multiplies ")
    page.mouse.move(2, 2)
    assert viewer_state(page)["focus"] == {"kind": "output", "at": [7, 7, 7]}, "back to the pin"


def selection(page: Page) -> dict[str, Any]:
    """The pinned voxel as each place tells it."""
    query = parse_qs(urlsplit(page.url).query)
    labels = ("Output D (depth)", "Output H (height)", "Output W (width)")
    told = [int(page.get_by_role("slider", name=label).input_value()) for label in labels]
    text = page.locator("[data-testid=stMarkdown] p", has_text=re.compile(r"^Output \(")).inner_text()
    sentence = re.match(r"Output \((\d+), (\d+), (\d+)\)", text)
    assert sentence is not None
    link = [int(query[key][-1]) if key in query else value for key, value in zip(("od", "oh", "ow"), told, strict=True)]
    return {
        "element": viewer_state(page)["pin"],
        "sliders": told,
        "sentence": [int(part) for part in sentence.groups()],
        "link": link,
        "scene": scene_state(page)["focus"]["at"],
    }


def test_a_click_pins_for_the_whole_page(page: Page) -> None:
    draw = random.Random(3)
    for _ in range(4):
        kernel, stride, dilation = draw.randint(1, 4), draw.randint(1, 3), draw.randint(1, 2)
        visit(page, f"/?volume=Ball, bar and step&k={kernel}&s={stride}&p={draw.randint(0, 2)}&d={dilation}")
        outputs = [axis["outputs"] for axis in viewer_state(page)["axes"]]
        for axis in ("D", "W"):
            rows, columns = (outputs[1], outputs[2]) if axis == "D" else (outputs[0], outputs[1])
            row, column = draw.randrange(rows), draw.randrange(columns)
            before = viewer_state(page)["pin"]
            point_at(page, "output", axis, row, column)  # type: ignore[arg-type]
            page.mouse.down()
            page.mouse.up()
            wanted = [before[0], row, column] if axis == "D" else [row, column, before[2]]
            page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '{wanted}'.replaceAll(' ', '')")
            ready(page)
            found = selection(page)
            assert [found[name] for name in ("element", "sliders", "sentence", "link", "scene")] == [wanted] * 5, found


def test_an_input_voxel_pins_the_output_in_whose_middle_it_lies_and_escape_goes_back(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=2&p=1&od=2&oh=3&ow=4")
    point_at(page, "input", "D", 12, 14)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '[2,6,7]'")
    ready(page)
    viewer_canvas(page, "output", "H").focus()
    page.keyboard.press("ArrowRight")
    assert viewer_state(page)["focus"]["at"] == [2, 6, 8]
    page.keyboard.press("Escape")
    assert viewer_state(page)["focus"]["at"] == [2, 6, 7], "first back to the pin"
    page.keyboard.press("Escape")
    page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '[5,5,5]'")
    ready(page)
    assert selection(page)["sliders"] == [5, 5, 5], "then the pin is released: to the middle"


def test_scrubbing_drops_no_step_and_asks_nobody(page: Page) -> None:
    sent = watch(page)
    visit(page, "/?oh=5&oc=1")
    page.mouse.move(2, 2)
    canvas = viewer_canvas(page, "input", "H")
    canvas.scroll_into_view_if_needed()
    begin = viewer_state(page)["shown"]["input"][1]
    canvas.focus()
    sent.clear()
    box = canvas.bounding_box()
    assert box is not None
    shown = []
    for _ in range(32):
        page.keyboard.press("PageUp")
        shown.append(viewer_state(page)["shown"]["input"][1])

    assert viewer_state(page)["shown"]["input"][1] == begin + 32
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.move(2, 2)
    for _ in range(32):
        canvas.dispatch_event("wheel", {"deltaY": 100, "bubbles": True, "cancelable": True})
    page.wait_for_function(f"!{VIEWER}.frame")
    assert shown == list(range(begin + 1, begin + 33))
    assert viewer_state(page)["shown"]["input"][1] == begin + 64
    assert sent == []
    expect(canvas.locator("xpath=..").locator(".index")).to_have_text(re.compile(r"H \d+/116"))


def test_the_sweep_fills_the_output_in_and_yields_to_the_hand(page: Page) -> None:
    sent = watch(page)
    visit(page, "/?volume=Ball, bar and step&k=3&s=1&p=1&weights=Random")
    page.mouse.move(2, 2)
    sent.clear()
    viewer = by_key(page, "viewer")
    viewer.get_by_label("Speed of the sweep").select_option("6000")
    viewer.get_by_role("button", name="Sweep", exact=True).click()
    page.wait_for_function(f"{VIEWER}.sweep.position > 2000")
    point_at(page, "output", "D", 3, 3)
    page.wait_for_function(f"{VIEWER}.hover")
    halted = viewer_state(page)["sweep"]["position"]
    page.wait_for_timeout(200)
    assert viewer_state(page)["sweep"]["position"] <= halted + 200, "hover interrupts"
    page.mouse.move(2, 2)
    page.wait_for_function(f"{VIEWER}.sweep.position > {halted} + 500")  # leaving resumes
    viewer.get_by_role("button", name="Pause", exact=True).click()
    state = viewer_state(page)
    assert not state["sweep"]["playing"]
    d, h, w = state["focus"]["at"]
    assert (d * 32 + h) * 32 + w == state["sweep"]["position"]
    # On the plane that it has reached, what is ahead is not drawn.
    ahead = page.evaluate(
        f"""() => {{
            const {{picture}} = {VIEWER}.bases.get({VIEWER}.cells.output[0]);
            const {{data}} = picture.getContext('2d').getImageData(0, 0, picture.width, picture.height);
            return Array.from({{length: data.length / 4}}, (_, i) => data[4 * i + 3] === 0).indexOf(true);
        }}"""
    )
    assert ahead == h * 32 + w + 1
    scrub = viewer.get_by_label("Output position of the sweep")
    scrub.fill("100")
    assert viewer_state(page)["focus"]["at"] == [0, 3, 4]
    assert sent == []
    page.keyboard.press("Escape")
    assert viewer_state(page)["sweep"] is None


def test_the_sum_is_added_up_tap_by_tap_to_what_mlx_says(page: Page) -> None:
    sent = watch(page)
    visit(page, "/?volume=Ball, bar and step&k=3&s=2&p=1&d=2&weights=Random&seed=5&od=0&oh=9&ow=8")
    viewer_state(page)
    page.mouse.move(2, 2)
    viewer = by_key(page, "viewer")
    viewer.get_by_label("Speed of the sweep").select_option("8")
    sent.clear()
    viewer.get_by_role("button", name="Add up", exact=True).click()
    page.mouse.move(2, 2)
    seen = set()
    while (state := viewer_state(page))["sum"]["playing"]:
        assert state["focus"]["kind"] == "tap"
        assert state["focus"]["of"] == [0, 9, 8]
        seen.add(tuple(state["focus"]["at"]))
    assert len(seen) > 3
    words = viewer_state(page)["words"]
    assert words.startswith("Tap (2, 2, 2) of output (0, 9, 8): ")
    last = re.search(r"27 of 27 added: (\S+), with the bias (\S+) (\S+); MLX says (\S+)\.$", words)
    assert last is not None, words
    total, said = float(last[3]), float(last[4])
    assert total == pytest.approx(said, rel=2e-3, abs=1e-4)
    first = page.evaluate(f"{VIEWER}.added([0, 9, 8], 0)")
    assert (first["voxel"], first["sum"]) == (None, 0), "the first tap lies in the padding"
    assert sent == []
    page.keyboard.press("Escape")
    assert viewer_state(page)["focus"] == {"kind": "output", "at": [0, 9, 8]}


def test_a_step_ends_a_sweep_where_it_stands(page: Page) -> None:
    visit(page, "/?volume=Ball, bar and step&k=3&s=1&p=1")
    viewer_state(page)
    by_key(page, "viewer").get_by_label("Output position of the sweep").fill("2000")
    assert viewer_state(page)["focus"]["at"] == [1, 30, 16]
    viewer_canvas(page, "output", "D").focus()
    page.keyboard.press("ArrowRight")
    assert viewer_state(page)["focus"]["at"] == [1, 30, 17]
    assert viewer_state(page)["sweep"] is None


def test_only_what_has_left_the_page_goes(page: Page) -> None:
    """Streamlit may take back an element that it has shown again meanwhile; then the viewer stayed empty."""
    visit(page, "/?volume=Ramp")
    viewer_state(page)
    scene_state(page)
    taken_back = f"""async () => {{
        const code = await conv3d.promise;
        for (const {{root}} of [{VIEWER}, {SCENE}]) code.hide(root);
        await new Promise(resolve => setTimeout(resolve, 50));
        return [Boolean({VIEWER}?.box.isConnected), Boolean({SCENE}?.box.isConnected)];
    }}"""
    assert page.evaluate(taken_back) == [True, True]
    gone = """async () => {
        const code = await conv3d.promise, host = document.createElement('div');
        document.body.append(host);
        code.showScene({parentElement: host.attachShadow({mode: 'open'})});
        const {scene} = host, before = scene.gl !== null;
        host.remove();
        code.hide();
        await new Promise(resolve => setTimeout(resolve, 50));
        return [before, scene.gl];
    }"""
    assert page.evaluate(gone) == [True, None], "its graphics context is given back"


def test_the_viewer_by_keyboard_alone(page: Page) -> None:
    visit(page, "/?volume=Ramp&k=3&s=2&p=1")
    by_key(page, "range").get_by_role("radio").first.focus()
    inside = f"{VIEWER}.root.activeElement?.getAttribute('aria-label') ?? ''"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(inside).startswith("Output 0 Identity, plane across depth"):
            break
    else:
        pytest.fail("the plane of the output cannot be reached with Tab")
    assert page.evaluate(f"getComputedStyle({VIEWER}.root.activeElement).outlineStyle") == "solid"
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "PageUp"):
        page.keyboard.press(key)
    assert viewer_state(page)["focus"]["at"] == [6, 6, 7]
    live = by_key(page, "viewer").locator("[aria-live=polite]")
    expect(live).to_contain_text("Output (6, 6, 7) of channel 0 = ")
    expect(live).to_contain_text("reads 27 voxels: depth 11-13, height 11-13, width 13-15; none in the padding.")
    page.keyboard.press("Enter")
    page.wait_for_function(f"JSON.stringify({VIEWER}.layer.pin) === '[6,6,7]'")
    ready(page)
    assert selection(page)["link"] == [6, 6, 7]
    for _ in range(30):
        page.keyboard.press("+")
    zoom = page.evaluate(f"{VIEWER}.zoom.output")
    assert zoom > 4
    page.keyboard.press("0")
    assert page.evaluate(f"{VIEWER}.zoom.output") == 1


def test_colours_are_set_by_hand_and_reset(page: Page) -> None:
    visit(page, "/?volume=Ramp")
    viewer_state(page)
    bar = by_key(page, "viewer").locator(".head.input i")
    before = page.evaluate(f"{VIEWER}.range('input')")
    box = bar.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 70, box["y"] + 5, steps=5)
    page.mouse.up()
    low, high = page.evaluate(f"{VIEWER}.range('input')")
    assert high - low < before[1] - before[0], "to the right there is more contrast"
    expect(by_key(page, "viewer").locator(".head.input small")).to_have_text("set by hand")
    bar.dblclick()
    assert page.evaluate(f"{VIEWER}.range('input')") == before
    expect(by_key(page, "viewer").locator(".head.input small")).to_have_text("whole volume")


def test_a_parameter_does_not_send_the_input_again(page: Page) -> None:
    received: list[int] = []

    def count(frame: Any) -> None:
        received.append(len(frame) if isinstance(frame, str | bytes) else 0)

    page.on("websocket", lambda socket: socket.on("framereceived", count))
    visit(page, "/?s=2")
    assert sum(received) > 94 * 116 * 98 * 4, "it came once"
    received.clear()
    page.get_by_role("slider", name="Output D (depth)").press("ArrowRight")
    ready(page)
    moved = sum(received)
    received.clear()
    box = page.get_by_role("spinbutton", name="padding", exact=True)
    box.fill("0")
    box.press("Enter")
    ready(page)
    changed = sum(received)
    print(f"sent for a step of the pin: {moved / 1024:.0f} KiB, for another padding: {changed / 1024:.0f} KiB")
    assert changed < 94 * 116 * 98 * 4 / 2
    assert moved < changed
