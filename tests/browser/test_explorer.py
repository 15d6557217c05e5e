"""The explorer in Chromium under `streamlit run`: what only a browser shows.

Every test ends in the checks of the `page` fixture: no error in the console, no request to another machine, no
traceback in the server's log. What the page computes and says is tested without a browser in tests/app.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import nibabel
import numpy as np
import pytest
import tifffile
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from conv3d_core import ConvSpec
from tests.browser.conftest import Faults, Server
from tests.browser.driver import (
    by_key,
    call,
    choose,
    point_at,
    ready,
    scene_state,
    set_number,
    upload,
    viewer_plane,
    viewer_state,
    visit,
)

VOLUMES = Path(__file__).parents[2] / "assets" / "volumes"
NIFTI = VOLUMES / "mri_nibabel_example4d.nii.gz"
TIFF = VOLUMES / "micro_stardist_nuclei3d.tif"

# What Streamlit 1.67 itself does wrong, by axe's rule and a piece of the element; ours must not add to it.
FRAMEWORK = {
    "scrollable-region-focusable": "^<pre ",  # a code block with long lines scrolls and takes no focus
    "color-contrast": 'class="token',  # the colours of code, which no theme option changes
}


def shapes(page: Page) -> list[tuple[int, ...]]:
    """The shapes in the header: of the input and, where there is one, of the output."""
    cells = by_key(page, "header").locator("[aria-label^='(']").all()
    return [ast.literal_eval(cell.get_attribute("aria-label") or "") for cell in cells]


def sentence(page: Page) -> Locator:
    return page.locator("[data-testid=stMarkdown] p", has_text=re.compile(r"^Output \("))


def alerts(page: Page) -> list[str]:
    # Streamlit's Markdown writes ≥ for >= and ≤ for <=.
    texts = page.get_by_test_id("stAlert").all_inner_texts()
    return [text.strip().replace("≥", ">=").replace("≤", "<=") for text in texts]


def query(page: Page) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(urlsplit(page.url).query).items()}


def plane(page: Page, kind: Literal["input", "output"], axis: Literal["D", "H", "W"] = "D") -> NDArray[np.float32]:
    """The numbers behind the plane that is drawn."""
    return np.array(viewer_plane(page, kind, axis), dtype=np.float32)


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    assert started.value.suggested_filename == name
    return started.value.path().read_bytes()


def violations(page: Page, inside: str = "body") -> list[str]:
    """What axe finds serious or critical, without what Streamlit itself brings."""
    found = []
    for violation in Axe().run(page, context=inside, options={"resultTypes": ["violations"]}).response["violations"]:
        for node in violation["nodes"]:
            theirs = re.search(FRAMEWORK.get(violation["id"], "^$"), node["html"])
            if violation["impact"] in ("serious", "critical") and not theirs:
                why = "; ".join(check["message"] for check in (*node["any"], *node["all"], *node["none"]))
                found.append(f"{violation['id']}: {node['html'][:120]} ({why[:200]})")
    return found


def test_a_cold_visit_finds_the_first_picture_with_no_click(page: Page) -> None:
    visit(page)
    assert call(page) == "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1)"
    assert shapes(page) == [(1, 94, 116, 98, 1), (1, 47, 58, 49, 8)]
    expect(sentence(page)).to_have_text(
        "Output (23, 28, 24) of channel 0 reads 27 voxels: depth 45-47, height 55-57, width 47-49; none in the padding."
    )
    # The brain is in both planes; channel 0 copies every second voxel of the input.
    brain, copied = plane(page, "input"), plane(page, "output")
    assert (brain.shape, copied.shape) == ((116, 98), (58, 49))
    assert np.unique(brain).size > 100
    np.testing.assert_array_equal(copied, brain[::2, ::2])
    assert [plane(page, "input", axis).shape for axis in ("D", "H", "W")] == [(116, 98), (94, 98), (94, 116)]
    assert [plane(page, "output", axis).shape for axis in ("D", "H", "W")] == [(58, 49), (47, 49), (47, 58)]
    # The three planes meet in the pinned voxel (23, 28, 24).
    assert copied[28, 24] == plane(page, "output", "H")[23, 24] == plane(page, "output", "W")[23, 28]
    # The pinned voxel is marked on its plane, and its taps stand in the scene.
    assert viewer_state(page)["focus"] == {"kind": "output", "at": [23, 28, 24]}
    cubes = scene_state(page)["taps"]
    assert [cube["voxel"] for cube in cubes] == [
        [d, h, w] for d in (45, 46, 47) for h in (55, 56, 57) for w in (47, 48, 49)
    ]
    maps = by_key(page, "maps").locator("img")
    assert maps.count() == 8
    assert all(image.evaluate("image => image.complete && image.naturalWidth > 50") for image in maps.all())
    assert alerts(page) == []
    assert query(page) == {}


def test_every_parameter_is_typed_and_the_output_shape_read(page: Page) -> None:
    """At the speed of a hand: the next number is typed when the header answers, while the plots are still drawn."""

    def answered(constructor: str, output: tuple[int, ...]) -> None:
        expect(by_key(page, "header").locator("code")).to_have_text(constructor)
        expect(by_key(page, "header").locator("[aria-label^='(']").last).to_have_attribute("aria-label", str(output))
        assert ConvSpec.parse(constructor).output_shape((1, 17, 17, 17, 1)) == output

    def type_number(label: str, number: int) -> None:
        box = page.get_by_role("spinbutton", name=label, exact=True)
        box.fill(str(number))
        box.press("Enter")

    visit(page, "/?volume=Impulse")
    type_number("kernel_size", 5)
    answered("nn.Conv3d(1, 8, kernel_size=5, stride=2, padding=1)", (1, 8, 8, 8, 8))
    type_number("stride", 1)
    answered("nn.Conv3d(1, 8, kernel_size=5, padding=1)", (1, 15, 15, 15, 8))
    type_number("padding", 3)
    answered("nn.Conv3d(1, 8, kernel_size=5, padding=3)", (1, 19, 19, 19, 8))
    type_number("dilation", 2)
    answered("nn.Conv3d(1, 8, kernel_size=5, padding=3, dilation=2)", (1, 15, 15, 15, 8))
    type_number("out_channels", 3)
    answered("nn.Conv3d(1, 3, kernel_size=5, padding=3, dilation=2)", (1, 15, 15, 15, 3))
    by_key(page, "bias").locator("label").first.click()
    answered("nn.Conv3d(1, 3, kernel_size=5, padding=3, dilation=2, bias=False)", (1, 15, 15, 15, 3))
    by_key(page, "k3").locator("label").first.click()
    type_number("D", 1)
    type_number("W", 4)
    answered("nn.Conv3d(1, 3, kernel_size=(1, 5, 4), padding=3, dilation=2, bias=False)", (1, 23, 15, 17, 3))
    type_number("in_channels", 2)
    expect(by_key(page, "header")).to_contain_text("no output")
    page.get_by_role("button", name="Set in_channels = 1").click()
    answered("nn.Conv3d(1, 3, kernel_size=(1, 5, 4), padding=3, dilation=2, bias=False)", (1, 23, 15, 17, 3))
    ready(page)
    assert plane(page, "output").shape == (15, 17)
    assert shapes(page) == [(1, 17, 17, 17, 1), (1, 23, 15, 17, 3)]


def test_an_impossible_kernel_is_explained_the_app_stays_up_and_it_is_undone(page: Page) -> None:
    visit(page, "/?volume=Impulse")
    before = plane(page, "output")
    for number, message in (
        (
            200,
            "depth: effective kernel 200 does not fit the padded input of 19 (17 + 2*1); "
            "use depth >= 198, padding >= 92 or kernel_size <= 19.",
        ),
        (0, "kernel_size: 0 is below 1; use an integer >= 1."),
    ):
        set_number(page, "kernel_size", number)
        assert alerts(page) == [message, message]
        sidebar = page.get_by_test_id("stSidebar").get_by_test_id("stAlert")
        field = page.get_by_role("spinbutton", name="kernel_size", exact=True)
        expect(sidebar).to_be_visible()
        gap = sidebar.bounding_box()["y"] - field.bounding_box()["y"]
        assert 0 < gap < 120, "the message is not beside the control"
        assert call(page) == f"nn.Conv3d(1, 8, kernel_size={number}, stride=2, padding=1)"
        expect(by_key(page, "header")).to_contain_text("no output")
        assert page.locator(".js-plotly-plot").count() == 0
    set_number(page, "kernel_size", 3)
    assert alerts(page) == []
    np.testing.assert_array_equal(plane(page, "output"), before)


def test_a_field_never_shows_another_number_than_the_layer_has(page: Page) -> None:
    visit(page, "/?volume=Impulse")
    field = page.get_by_role("spinbutton", name="kernel_size", exact=True)
    set_number(page, "kernel_size", "2.5")
    assert f"kernel_size={field.input_value()}," in call(page)
    # Beyond 2^53 a browser has no integers: the field itself says so, and the layer keeps its number.
    set_number(page, "kernel_size", "99999999999999999999")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(by_key(page, "k").get_by_role("alert")).to_have_text(re.compile("above the allowed range"))
    assert "kernel_size=2," in call(page)


def test_a_nifti_file_is_uploaded_and_its_planes_are_seen(page: Page) -> None:
    visit(page, "/?volume=Impulse&oc=0&weights=Identity")
    upload(page, NIFTI)
    # Read with nibabel alone: RAS turned to LPS, then (x, y, z, t) as t planes of (z, y, x).
    ras = nibabel.as_closest_canonical(nibabel.load(NIFTI)).get_fdata(dtype=np.float32)
    scan = ras[::-1, ::-1].transpose(3, 2, 1, 0)
    assert shapes(page) == [(1, 24, 96, 128, 2), (1, 12, 48, 64, 8)]
    # The middle output (5, 23, 31) has its centre tap on voxel (10, 46, 62).
    np.testing.assert_array_equal(plane(page, "input"), scan[0, 10])
    np.testing.assert_array_equal(plane(page, "input", "H"), scan[0, :, 46])
    np.testing.assert_array_equal(plane(page, "input", "W"), scan[0, :, :, 62])
    np.testing.assert_allclose(plane(page, "output"), scan[:, 10, ::2, ::2].mean(axis=0), rtol=1e-6)
    choose(page, "Input channel", "1")
    np.testing.assert_array_equal(plane(page, "input"), scan[1, 10])
    assert alerts(page) == []


def test_a_tiff_stack_is_uploaded_and_its_planes_are_seen_and_a_broken_file_changes_nothing(
    page: Page, tmp_path: Path
) -> None:
    visit(page, "/?volume=Impulse")
    upload(page, TIFF)
    stack = tifffile.imread(TIFF).astype(np.float32)
    assert shapes(page)[0] == (1, *stack.shape, 1)
    np.testing.assert_array_equal(plane(page, "input"), stack[14])
    by_key(page, "axis").get_by_text("W", exact=True).click()
    ready(page)
    np.testing.assert_array_equal(plane(page, "input", "W"), stack[:, :, 28])
    np.testing.assert_array_equal(plane(page, "output", "W"), stack[::2, ::2, 28])

    broken = tmp_path / "b*ro*ken_<i>.tif"
    broken.write_bytes(b"hello")
    upload(page, broken)
    message = f"file: '{broken.name}' (text) is not a volume format that is read here; "
    assert [text.startswith(message) for text in alerts(page)] == [True, True]
    assert shapes(page)[0] == (1, *stack.shape, 1)
    np.testing.assert_array_equal(plane(page, "input", "W"), stack[:, :, 28])


def test_a_link_is_restored_and_the_address_bar_follows(page: Page) -> None:
    spec = ConvSpec(1, 3, (1, 3, 5), stride=(1, 2, 3), padding=(0, 1, 2), dilation=(1, 2, 1), bias=False)
    asked = spec.to_query() | {"volume": "Ball, bar and step", "od": "10", "oh": "3", "ow": "2", "oc": "1", "axis": "W"}
    visit(page, f"/?{urlencode(asked)}")
    assert call(page) == spec.to_mlx()
    assert shapes(page) == [(1, 32, 32, 32, 1), spec.output_shape((1, 32, 32, 32, 1))]
    expect(sentence(page)).to_have_text(
        "Output (10, 3, 2) of channel 1 reads 15 voxels: depth 10, height 5-9 in steps of 2, width 4-8; "
        "none in the padding."
    )
    expect(page.get_by_role("radio", name="W", exact=True)).to_be_checked()
    assert plane(page, "output", "W").shape == (32, 15)
    assert alerts(page) == []

    choose(page, "Weights", "Random")
    set_number(page, "seed", 7)
    page.get_by_role("slider", name="Output D (depth)").press("ArrowRight")
    ready(page)
    changed = {"weights": "Random", "seed": "7", "od": "11"}
    assert {key: query(page).get(key) for key in changed} == changed
    assert query(page)["kw"] == "5"
    shown = (call(page), shapes(page), sentence(page).inner_text(), plane(page, "output").tolist())
    page.get_by_role("tab", name="Code, files, link").click()
    (link,) = (text.strip() for text in page.get_by_test_id("stCode").all_inner_texts() if "://" in text)
    assert urlsplit(link).netloc == urlsplit(page.url).netloc
    assert parse_qs(urlsplit(link).query) == parse_qs(urlsplit(page.url).query), "the link on the page is another"

    visit(page, page.url)
    assert (call(page), shapes(page), sentence(page).inner_text(), plane(page, "output").tolist()) == shown


def test_a_bad_value_in_a_link_is_said(page: Page) -> None:
    visit(page, "/?volume=Impulse&k=abc&axis=Q&od=999&weights=%3Cimg%20src=x%20onerror=alert(1)%3E")
    assert sorted(alerts(page)) == [
        "link: axis=Q cannot be restored here; showing D instead.",
        "link: k=abc cannot be restored here; showing 3 instead.",
        "link: od=999 cannot be restored here; showing 4 instead.",
        "link: weights=<img src=x onerror=alert(1)> cannot be restored here; showing One of each instead.",
    ]
    assert shapes(page)[1] == (1, 9, 9, 9, 8)
    assert plane(page, "output").shape == (9, 9)


def test_what_leaves_the_machine_and_what_the_console_says_is_recorded(browser: Browser, server: Server) -> None:
    """The checks at the end of every other test see what they are there to see."""
    faults = Faults(server)
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    faults.watch(page)
    page.goto("/_stcore/health")
    assert faults.found() == []
    page.evaluate("fetch('https://example.com/fonts.css').catch(() => 0)")
    page.evaluate("console.error('it went wrong')")
    page.evaluate("setTimeout(() => { throw new Error('nobody caught me') })")
    page.wait_for_event("pageerror") if not any("nobody" in fault for fault in faults.found()) else None
    with page.expect_websocket():
        page.evaluate("new WebSocket('wss://example.com/') && 0")
    context.close()
    found = "\n".join(faults.found())
    for expected in (
        "request outside this machine: https://example.com/fonts.css",
        "request outside this machine: wss://example.com/",
        "console: it went wrong",
        "uncaught in the page: nobody caught me",
    ):
        assert expected in found


# What is on screen, frame by frame: header, size of the output plane, whether a picture or the sentence of before
# is still visible, whether something stands in for the new one.
RECORD = """() => {
    const seen = [];
    const visible = element => element && element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
    const text = () => [...document.querySelectorAll('[data-testid=stMarkdown] p')]
        .find(p => p.textContent.startsWith('Output ('));
    const pictures = () => [...document.querySelectorAll('.st-key-maps img')].filter(visible).map(i => i.src);
    const before = {pictures: pictures(), sentence: text().textContent};
    const look = () => {
        const header = [...document.querySelectorAll('.st-key-header [aria-label^="("]')].at(-1);
        const host = [...document.querySelectorAll('.st-key-viewer *')].find(element => element.viewer);
        const plane = host && visible(host) ? host.viewer.cells.output[0].plane : null;
        const state = JSON.stringify({
            header: header ? header.ariaLabel : null,
            plane: plane ? [plane.rows, plane.columns] : null,
            oldPictures: pictures().some(source => before.pictures.includes(source)),
            oldSentence: visible(text()) ? text().textContent === before.sentence : false,
        });
        if (state !== seen.at(-1)) seen.push(state);
        requestAnimationFrame(look);
    };
    look();
    window.seen = seen;
}"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_slow_layer_never_leaves_the_old_picture_under_the_new_header(page: Page, server: Server) -> None:
    """MLX's process is stopped while the new layer is asked for: for as long as this takes there is no answer."""
    visit(page, "/?k=4&d=2")
    old, new = "(1, 45, 56, 47, 8)", "(1, 90, 112, 94, 8)"
    assert str(shapes(page)[1]) == old
    page.evaluate(RECORD)
    with server.worker_stopped():
        box = page.get_by_role("spinbutton", name="stride", exact=True)
        box.fill("1")
        box.press("Enter")
        expect(by_key(page, "header").locator("[aria-label^='(']").last).to_have_attribute("aria-label", new)
        expect(page.locator("[data-testid=stMarkdown] p", has_text="MLX is running")).to_be_visible()
        page.wait_for_timeout(500)
    ready(page)
    assert str(shapes(page)[1]) == new
    assert plane(page, "output").shape == (112, 94)
    seen: list[dict[str, Any]] = [json.loads(state) for state in page.evaluate("seen")]
    under_new = [state for state in seen if state["header"] == new]
    assert [state for state in under_new if state["plane"] == [56, 47]] == []
    assert [state for state in under_new if state["oldPictures"] or state["oldSentence"]] == []
    assert [state for state in seen if state["header"] != new and state["plane"] == [112, 94]] == []
    assert {"header": new, "plane": None, "oldPictures": False, "oldSentence": False} in under_new


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_wide_and_narrow_the_page_fits_and_can_be_read(open_page: Callable[..., Page], theme: str) -> None:
    page = open_page(color_scheme=theme)
    visit(page, "/?volume=Ball, bar and step&weights=Random")
    background = page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert brightness > 200 if theme == "light" else brightness < 60

    found = violations(page)
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.get_by_role("tabpanel", name=tab.inner_text())).to_be_visible()
        found += violations(page, "[role=tabpanel]")
    assert sorted(set(found)) == []
    page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    ready(page)
    assert violations(page, ".st-key-header") == [], "after the theme changed while the page was open"

    page.set_viewport_size({"width": 390, "height": 844})
    ready(page)
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.get_by_role("tabpanel", name=tab.inner_text())).to_be_visible()
        widths = page.evaluate("""[document.documentElement, ...document.querySelectorAll(
            '[data-testid=stMain], [data-testid=stMainBlockContainer]')].map(e => e.scrollWidth)""")
        assert max(widths) <= 390, f"the page scrolls sideways in the tab {tab.inner_text()}"
    assert violations(page) == []


def test_an_impossible_layer_fits_and_can_be_read_in_the_dark(open_page: Callable[..., Page]) -> None:
    page = open_page(color_scheme="dark", viewport={"width": 390, "height": 844})
    visit(page, "/?volume=Impulse&k=200&in=2")
    assert len(alerts(page)) == 2
    assert violations(page) == []
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390


def test_the_pin_is_moved_by_keyboard_and_the_sentence_follows(page: Page) -> None:
    visit(page, "/?volume=Impulse")
    expect(sentence(page)).to_contain_text("Output (4, 4, 4) of channel 0")
    page.get_by_role("combobox", name="Weights").focus()
    sliders = []
    for _ in range(15):
        page.keyboard.press("Tab")
        focused = "[document.activeElement.type, document.activeElement.ariaLabel]"
        kind, name = page.evaluate(focused)
        if kind != "range":
            continue
        sliders.append(name)
        if len(sliders) == 2:
            continue
        page.keyboard.press("ArrowRight" if len(sliders) == 1 else "Home")
        ready(page)
        assert page.evaluate(focused)[1] == name, "the focus is lost"
        if len(sliders) == 3:
            break
    assert sliders == ["Output D (depth)", "Output H (height)", "Output W (width)"]
    expect(sentence(page)).to_have_text(
        "Output (5, 4, 0) of channel 0 reads 18 voxels: depth 9-11, height 7-9, width 0-1; 9 taps fall in the padding."
    )
    assert viewer_state(page)["pin"] == [5, 4, 0]
    assert query(page) | {"od": "5", "ow": "0"} == query(page)


def test_files_are_downloaded_and_hold_the_value_under_the_cursor(page: Page) -> None:
    visit(page, "/?volume=Brain, functional MRI&weights=Random&seed=3&c=1&oc=2&oh=5&ow=5")
    page.get_by_role("tab", name="Code, files, link").click()
    x, y = (np.load(io.BytesIO(download(page, name))) for name in ("input.npy", "output.npy"))
    assert [x.shape, y.shape] == shapes(page)
    np.testing.assert_array_equal(x[0, 10, ..., 0], plane(page, "input"))
    np.testing.assert_array_equal(y[0, 5, ..., 2], plane(page, "output"))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(download(page, "output.nii.gz")))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), y[0].transpose(2, 1, 0, 3))
    with Image.open(io.BytesIO(download(page, "maps.png"))) as picture:
        picture.load()
    assert picture.format == "PNG"
    program = download(page, "reproduce.py").decode()
    compile(program, "reproduce.py", "exec")
    assert call(page) in program
    assert "mx.random.seed(3)" in program
    assert program.strip() in [text.strip() for text in page.locator("[data-testid=stCode] code").all_inner_texts()]

    for h, w in ((30, 40), (12, 9)):
        point_at(page, "output", "D", h, w)
        said = by_key(page, "viewer").locator(".sentence")
        expect(said).to_contain_text(f"Output (5, {h}, {w}) of channel 2 = ")
        value = re.search(r"= (\S+) ", said.inner_text())
        assert value is not None
        assert float(value[1]) == pytest.approx(y[0, 5, h, w, 2], rel=1e-3)
