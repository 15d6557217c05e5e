"""How soon the planes follow a hand: from a slider's release to three new planes on screen, in Chromium.

A 2 mm MRI of 94 x 116 x 98 voxels, 1 -> 8 channels, kernel 3, stride 1. Beside it an empty rerun of the same page: the
time from asking for it to its end, with nothing changed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from conv3d_core.shapes import format_bytes
from tests.browser.conftest import app_in_a_browser
from tests.browser.driver import (
    VIEWER,
    choose,
    point_at,
    ready,
    set_number,
    viewer_canvas,
    viewer_state,
    visit,
)

MOVES = 21
HOVERS = 60
WANTED_MS = 400
LABELS = "Output D (depth)", "Output H (height)", "Output W (width)"

# Looks once a frame. The planes are on screen when the viewer holds another pin than before and has drawn it.
WATCH = """() => {
    const all = () => {
        const {layer, frame} = VIEWER ?? {};
        return layer && !frame ? layer.pin.join() : '';
    };
    const app = document.querySelector('[data-testid=stApp]');
    let watching = 0;
    const start = (event, finish) => document.addEventListener(event, () => {
        const begin = performance.now(), before = all(), mine = ++watching;
        const look = () => {
            if (mine !== watching) return;
            if (finish(before)) window.took = performance.now() - begin;
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, true);
    window.ran = false;
    new MutationObserver(() => { window.ran ||= app.dataset.testScriptState === 'running'; })
        .observe(app, {attributes: true});
    start('pointerup', before => all() && all() !== before);
    start('keydown', () => window.ran && app.dataset.testScriptState === 'notRunning');
}""".replace("VIEWER", VIEWER)


def planes_ms(page: Page, number: int) -> float:
    """Drag the depth, height and width sliders in turn to where they have not been: a plane changes, and two pins."""
    whole = page.get_by_test_id("stSlider").nth(number % 3).bounding_box()
    thumb = page.get_by_role("slider", name=LABELS[number % 3]).bounding_box()
    assert whole is not None
    assert thumb is not None
    y = thumb["y"] + thumb["height"] / 2
    page.evaluate("window.took = undefined")
    # The element's box is as long as the track; the round thumb is at its left end.
    page.mouse.move(thumb["x"] + thumb["height"] / 2, y)
    page.mouse.down()
    page.mouse.move(whole["x"] + whole["width"] * (0.35 + 0.3 * number / MOVES), y, steps=4)
    page.mouse.up()
    return _took(page)


def hover_ms(page: Page) -> list[float]:
    """What drawing takes in the page while the mouse wanders over the planes of a 7x7x7 layer."""
    visit(page, "/?k=7&p=3&s=1")
    viewer_state(page)
    viewer_canvas(page, "input", "D").scroll_into_view_if_needed()
    page.evaluate(f"{VIEWER}.took.splice(0)")
    for number in range(HOVERS):
        kind: Literal["input", "output"] = "input" if number % 2 else "output"
        point_at(page, kind, "D", 20 + number % 70, 15 + number * 7 % 70)
        viewer_state(page)
    took: list[float] = page.evaluate(f"{VIEWER}.took")
    return took


def bytes_sent(page: Page, received: list[int]) -> dict[str, int]:
    """What the server sends: for the first visit, a step of the pin, another padding, another channel."""
    sent = {}
    for what, act in (
        ("first visit", lambda: visit(page, "/?s=2")),
        ("step of the pin", lambda: page.get_by_role("slider", name=LABELS[0]).press("ArrowRight")),
        ("another padding", lambda: set_number(page, "padding", 0)),
        ("another channel", lambda: choose(page, "Output channel", "3")),
    ):
        received.clear()
        act()
        ready(page)
        sent[what] = sum(received)
    return sent


def rerun_ms(page: Page) -> float:
    """Ask for an empty rerun with Streamlit's own key."""
    page.evaluate("window.took = undefined; window.ran = false; document.activeElement.blur()")
    page.keyboard.press("r")
    return _took(page)


def _took(page: Page) -> float:
    page.wait_for_function("window.took")
    took: float = page.evaluate("window.took")
    ready(page)
    return took


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-browser.json"), help="where the numbers go")
    options = parser.parse_args()
    with app_in_a_browser() as new_page:
        page = new_page(1280, 1400)
        visit(page, "/?s=1")
        page.evaluate(WATCH)
        planes_ms(page, MOVES)
        rerun_ms(page)
        # In turn, so that both meet the same machine.
        times = [(planes_ms(page, number), rerun_ms(page)) for number in range(MOVES)]
        hovers = hover_ms(page)
        other = new_page(1280, 1400)
        received: list[int] = []
        other.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
        sent = bytes_sent(other, received)
    planes, reruns = (sorted(values) for values in zip(*times, strict=True))
    planes_median, rerun_median = statistics.median(planes), statistics.median(reruns)
    quartiles = [planes[len(planes) // 4], planes[3 * len(planes) // 4]]
    verdict = "held" if planes_median < WANTED_MS else "NOT HELD"
    spread = f"({quartiles[0]:.0f} to {quartiles[1]:.0f})"
    print(f"slider's release to three new planes: median {planes_median:.0f} ms {spread}")
    print(f"empty rerun of the same page:         median {rerun_median:.0f} ms")
    print(f"ratio {planes_median / rerun_median:.2f}; wanted: planes under {WANTED_MS} ms: {verdict}")
    print(
        f"a hover, 94 x 116 x 98, k=7:          median {statistics.median(hovers):.1f} ms, at most {max(hovers):.1f} ms"
    )
    for what, count in sent.items():
        print(f"sent for {what + ':':28} {format_bytes(count)}")
    found = {
        "planes_ms": planes,
        "rerun_ms": reruns,
        "ratio": planes_median / rerun_median,
        "hover_ms": hovers,
        "sent_bytes": sent,
    }
    options.json.write_text(json.dumps(found, indent=1))
    print(f"\n{options.json}")


if __name__ == "__main__":
    main()
