"""Makes assets/viewer.gif, the README's picture of a hover and a sweep: `.venv/bin/python -m tools.animation`."""

from __future__ import annotations

import io
import math

from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import ROOT, app_in_a_browser
from tests.browser.driver import by_key, point_at, ready, viewer_state, visit

WIDTH = 700
FRAME_MS = 110
COLOURS = 192


def frames(page: Page) -> list[Image.Image]:
    """The viewer while a hand moves over an output plane, an input plane and the kernel, and while it sweeps."""
    shots: list[Image.Image] = []
    outputs = [axis["outputs"] for axis in viewer_state(page)["axes"]]
    viewer = by_key(page, "viewer")

    def shoot() -> None:
        viewer_state(page)
        picture = Image.open(io.BytesIO(viewer.screenshot()))
        picture = picture.crop((0, 0, picture.width, min(picture.height, 980)))
        shots.append(picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS))

    for step in range(14):
        angle = step * math.pi / 7
        point_at(page, "output", "D", round(28 + 15 * math.cos(angle)), round(24 + 12 * math.sin(angle)))
        shoot()
    for step in range(8):
        point_at(page, "input", "H", 30 + 4 * step, 60 - 3 * step)
        shoot()
    box = viewer.locator(".kernel canvas").bounding_box()
    assert box is not None
    for step in range(6):
        page.mouse.move(box["x"] + 20 + step % 3 * 40, box["y"] + 40 + step // 3 * 40)
        shoot()
    page.mouse.move(2, 2)
    scrub = viewer.get_by_label("Output position of the sweep")
    for step in range(10):
        scrub.fill(str((16 + step) * outputs[1] * outputs[2] + outputs[1] * outputs[2] // 2 + 90 * step))
        shoot()
    return shots


def main() -> None:
    """Run the app, take the frames, write the file."""
    with app_in_a_browser() as new_page:
        page = new_page(1240, 1500)
        visit(page, "/?oc=4&k=5&p=2")
        ready(page)
        shots = frames(page)
    # One palette for all, so that nothing flickers.
    strip = Image.new("RGB", (WIDTH, sum(shot.height for shot in shots[::6])))
    top = 0
    for shot in shots[::6]:
        strip.paste(shot.convert("RGB"), (0, top))
        top += shot.height
    palette = strip.quantize(COLOURS, dither=Image.Dither.NONE)
    first, *rest = (shot.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for shot in shots)
    path = ROOT / "assets" / "viewer.gif"
    first.save(path, save_all=True, append_images=rest, duration=FRAME_MS, loop=0, optimize=True)
    print(f"{path}: {len(shots)} frames, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
