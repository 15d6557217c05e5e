"""Drives the app in a browser: words for what a person does, and waiting for what they would wait for.

Run as a program it prints which browser the tests will use, or says that there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Response

SHOTS = Path(__file__).parent / "shots"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

# How long the page must have been still. A slider sends its value 200 ms after the last key, and until the script
# has started nothing shows that an answer is still to come.
STILL_MS = 300

# A server under load may take longer than that to say that it has begun: it is asked, and what was sent before comes
# before its answer.
READY = """(still) => {
    const app = document.querySelector('[data-testid=stApp]');
    const busy = !app
        || app.dataset.testConnectionState !== 'CONNECTED'
        || app.dataset.testScriptState !== 'notRunning'
        || document.querySelector('[data-stale=true], [data-testid=stSkeleton]')
        || document.querySelector('.st-key-cancel');  // the whole volume is still on its way
    if (busy) { window.quiet = undefined; return false; }
    const quiet = window.quiet ??= {since: performance.now()};
    if (performance.now() - quiet.since < still) return false;
    quiet.asked ??= fetch('/_stcore/health').then(() => { quiet.answered = performance.now(); });
    return performance.now() - quiet.answered >= 50;
}"""

# Traces as JSON: Plotly keeps typed arrays and, under names with an underscore, its own workings.
PLOT = """(graph) => JSON.stringify(graph._fullData, (name, value) =>
    name.startsWith('_') || typeof value === 'function' ? undefined
    : ArrayBuffer.isView(value) ? Array.from(value) : value)"""


def find_chromium() -> str:
    """Path of the Chromium or Chrome to test with; LookupError says what to do where there is none."""
    chosen = os.environ.get("CHROME")
    if chosen:
        path = shutil.which(chosen)
        if path:
            return path
        raise LookupError(f"CHROME={chosen} is not a program")
    for name in (*CHROMIUM_NAMES, *MAC_APPLICATIONS):
        path = shutil.which(name)
        if path:
            return path
    hint = "brew install --cask chromium" if sys.platform == "darwin" else "apt-get install chromium"
    raise LookupError(f"no Chromium or Chrome found; install one ({hint}) or set CHROME=/path/to/it")


def ready(page: Page, timeout_s: float = 30) -> None:
    """Wait until the app has answered everything and stands still."""
    page.evaluate("window.quiet = undefined")
    page.wait_for_function(READY, arg=STILL_MS, timeout=timeout_s * 1000)


def visit(page: Page, address: str = "/", timeout_s: float = 60) -> None:
    """Open a page of the app, such as "/" or "/?k=3", and wait until it is ready."""
    page.goto(address)
    page.wait_for_selector("[data-testid=stApp]", timeout=timeout_s * 1000)
    ready(page, timeout_s)


def set_number(page: Page, label: str, value: float | str) -> None:
    """Type a number into the input of that label, press Enter, wait for the answer."""
    box = page.get_by_role("spinbutton", name=label, exact=True)
    box.fill(str(value))
    box.press("Enter")
    ready(page)


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of the select box of that label and wait for the answer."""
    box = page.get_by_role("combobox", name=label)
    box.scroll_into_view_if_needed()  # or the click scrolls, and the list closes when anything scrolls
    box.click()
    page.get_by_role("option", name=option, exact=True).click()
    ready(page)


def by_key(page: Page, key: str) -> Locator:
    """The element that was made with ``key=``."""
    return page.locator(f".st-key-{key}")


def call(page: Page) -> str:
    """The constructor call in the header."""
    return by_key(page, "header").locator("code").inner_text().strip()


def switch(page: Page, key: str) -> None:
    """Turn the toggle that was made with ``key=`` and wait for the answer."""
    by_key(page, key).locator("label").first.click()
    ready(page)


def upload(page: Page, *files: Path, key: str = "upload") -> None:
    """Give files to the uploader that was made with ``key=``, all at once, and wait for the answer."""
    sent: list[Response] = []

    def all_sent(response: Response) -> bool:
        if response.request.method == "PUT":
            sent.append(response)
        return len(sent) == len(files)

    # Until they have all arrived, which a busy machine takes its time for, the page stands still as if it had answered.
    with page.expect_response(all_sent):
        by_key(page, key).locator("input[type=file]").set_input_files(files)
    ready(page)


def plot_data(page: Page, key: str) -> list[dict[str, Any]]:
    """The traces, as drawn, of the Plotly chart that was made with ``key=``; arrays are lists."""
    graph = by_key(page, key).locator(".js-plotly-plot")
    graph.wait_for()
    page.wait_for_function("(graph) => graph._fullData", arg=graph.element_handle())
    traces: list[dict[str, Any]] = json.loads(graph.evaluate(PLOT))
    return traces


VIEWER = "[...document.querySelectorAll('.st-key-viewer *')].find(element => element.viewer)?.viewer"


def viewer_state(page: Page) -> dict[str, Any]:
    """What the linked viewer shows: its pin, what it looks at, which planes."""
    page.wait_for_function(f"{VIEWER}?.indices && !{VIEWER}.frame")
    state: dict[str, Any] = page.evaluate(f"{VIEWER}.state()")
    return state


SCENE = "[...document.querySelectorAll('.st-key-scene *')].find(element => element.scene)?.scene"


def scene_state(page: Page) -> dict[str, Any]:
    """What the 3D scene shows: its taps and outputs as cubes, what is around them, its camera."""
    page.wait_for_function(f"{VIEWER}?.indices && !{VIEWER}.frame && {SCENE}?.stage && !{SCENE}.frame")
    state: dict[str, Any] = page.evaluate(f"{SCENE}.state()")
    return state


def viewer_plane(page: Page, kind: Literal["input", "output"], axis: Literal["D", "H", "W"]) -> list[list[float]]:
    """The numbers of a plane of the linked viewer, as it shows it, by rows."""
    viewer_state(page)
    rows: list[list[float]] = page.evaluate(
        f"""([kind, across]) => {{
            const {{plane}} = {VIEWER}.cells[kind][across];
            return Array.from({{length: plane.rows}}, (_, row) =>
                Array.from(plane.values.subarray(row * plane.columns, (row + 1) * plane.columns)));
        }}""",
        [kind, "DHW".index(axis)],
    )
    return rows


def viewer_canvas(page: Page, kind: Literal["input", "output"], axis: Literal["D", "H", "W"]) -> Locator:
    """The canvas of a plane of the linked viewer."""
    return by_key(page, "viewer").locator(f".cell.{kind}.{axis} canvas")


def point_at(page: Page, kind: Literal["input", "output"], axis: Literal["D", "H", "W"], row: int, column: int) -> None:
    """Put the mouse on a voxel of a plane of the linked viewer."""
    canvas = viewer_canvas(page, kind, axis)
    canvas.scroll_into_view_if_needed()
    x, y = page.evaluate(
        f"(at) => {VIEWER}.place(...at)",
        [kind, "DHW".index(axis), row, column],
    )
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)


def screenshot(page: Page, name: str, width: int = 1280, theme: Literal["light", "dark"] = "light") -> Path:
    """A picture of the whole page under ``tests/browser/shots``, which git ignores."""
    before = page.viewport_size
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    ready(page)
    # The page scrolls in an inner container, so a full-page shot does not grow: the window must.
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": max(900, height)})
    ready(page)
    SHOTS.mkdir(exist_ok=True)
    path = SHOTS / f"{name}-{width}-{theme}.png"
    page.screenshot(path=path)
    page.emulate_media(color_scheme="light")
    if before:
        page.set_viewport_size(before)
    ready(page)
    return path


if __name__ == "__main__":
    try:
        print(find_chromium())
    except LookupError as error:
        sys.exit(str(error))
