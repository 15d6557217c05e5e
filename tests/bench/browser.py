"""How soon the planes follow a hand: from a slider's release to three new planes on screen, in Chromium.

A 2 mm MRI of 94 x 116 x 98 voxels, 1 -> 8 channels, kernel 3, stride 1. Beside it an empty rerun of the same page: the
time from asking for it to its end, with nothing changed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, Server
from tests.browser.driver import find_chromium, ready, visit

MOVES = 21
WANTED_MS = 400
LABELS = "Output D (depth)", "Output H (height)", "Output W (width)"

# Looks once a frame. A plane is on screen when its graph holds other numbers, or another pin, than before.
WATCH = """() => {
    const numbers = axis => {
        const graph = document.querySelector(`.st-key-output_${axis} .js-plotly-plot`);
        return graph && graph._fullData
            ? graph._fullData.map(t => t.z ? Array.from(t.z[t.z.length >> 1]).join() : `${t.x};${t.y}`).join('|')
            : '';
    };
    const all = () => ['D', 'H', 'W'].map(numbers);
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
    start('pointerup', before => all().every((now, i) => now && now !== before[i]));
    start('keydown', () => window.ran && app.dataset.testScriptState === 'notRunning');
}"""


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
    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home))
        try:
            server.wait_until_healthy()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
                page = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900}).new_page()
                visit(page, "/?s=1")
                page.evaluate(WATCH)
                planes_ms(page, MOVES)
                rerun_ms(page)
                # In turn, so that both meet the same machine.
                times = [(planes_ms(page, number), rerun_ms(page)) for number in range(MOVES)]
                browser.close()
        finally:
            server.stop()
    planes, reruns = (sorted(values) for values in zip(*times, strict=True))
    planes_median, rerun_median = statistics.median(planes), statistics.median(reruns)
    quartiles = [planes[len(planes) // 4], planes[3 * len(planes) // 4]]
    verdict = "held" if planes_median < WANTED_MS else "NOT HELD"
    spread = f"({quartiles[0]:.0f} to {quartiles[1]:.0f})"
    print(f"slider's release to three new planes: median {planes_median:.0f} ms {spread}")
    print(f"empty rerun of the same page:         median {rerun_median:.0f} ms")
    print(f"ratio {planes_median / rerun_median:.2f}; wanted: planes under {WANTED_MS} ms: {verdict}")
    found = {"planes_ms": planes, "rerun_ms": reruns, "ratio": planes_median / rerun_median}
    options.json.write_text(json.dumps(found, indent=1))
    print(f"\n{options.json}")


if __name__ == "__main__":
    main()
