"""The shape doctor in the browser: from a layer that fails to one that works, the table under the hand, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from conv3d_core.chain.reading import read_chain
from conv3d_core.weights import Checkpoint, read_checkpoint, write_safetensors
from tests.browser.driver import by_key, call, ready, visit
from tests.browser.test_explorer import query, shapes, violations

FAILING = """import mlx.core as mx
import mlx.nn as nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 16, kernel_size=3, stride=2)
        self.conv2 = nn.Conv3d(16, 32, kernel_size=5)  # too wide

    def __call__(self, x):
        return self.conv2(nn.relu(self.conv1(x)))

print(Net()(mx.zeros((1, 8, 32, 32, 1))).shape)
"""


def code(page: Page) -> Locator:
    return by_key(page, "code").locator("textarea")


def paste(page: Page, text: str) -> None:
    """Over what is there; then on, as after any paste."""
    code(page).fill(text)
    code(page).press("Control+Enter")
    ready(page)


def verdict(page: Page) -> list[str]:
    """The shapes of the input and, where there is one, of the output."""
    found = page.get_by_test_id("stMain").locator(".shape .sizes")
    return [str(sizes.get_attribute("aria-label")) for sizes in found.all()]


def rows(page: Page) -> list[str]:
    """The table's layers, in order."""
    return by_key(page, "chain").locator("tbody .layer b").all_inner_texts()


def cell(page: Page, argument: str, layer: int) -> Locator:
    return page.get_by_label(f"{argument} of layer {layer}", exact=True)


def test_a_newcomer_comes_from_a_failing_snippet_to_a_working_layer_in_five_actions(page: Page) -> None:
    visit(page)
    page.get_by_role("link", name="Shape doctor").click()  # 1
    ready(page)
    code(page).fill(FAILING)  # 2: paste
    code(page).press("Control+Enter")  # 3
    ready(page)
    finding = by_key(page, "finding_0")
    expect(finding).to_contain_text("Does not work layer 3, Conv3d self.conv2, line 8")
    expect(finding).to_contain_text("floor((3 + 2*0 - 5) / 1) + 1 = floor(-2) + 1 = -1")
    # What MLX itself says is its own, of the version that is installed.
    expect(finding).to_contain_text("ValueError: [conv] Spatial dimensions of input after padding cannot be smaller")
    finding.get_by_role("button").first.click()  # 4: the first change that is offered
    ready(page)
    assert len(verdict(page)) == 2, "it gives an output now"
    assert "# too wide" in code(page).input_value(), "the rest of the text is as it was"
    page.get_by_role("button", name="Open in the explorer").click()  # 5
    expect(by_key(page, "header")).to_be_visible()
    ready(page, 60)
    assert call(page).startswith("nn.Conv3d(1, 16, kernel_size=3, stride=2")
    assert shapes(page)[0] == (1, 8, 32, 32, 1), "on a volume of the size that it gets there"


def test_the_explorers_layer_opens_here_possible_or_not_and_the_text_before_comes_back(page: Page) -> None:
    visit(page, "/?volume=Impulse&k=3&s=2&p=0&out=4")
    page.get_by_role("tab", name="Code, files, link").click()
    page.get_by_role("button", name="Open in the shape doctor").click()
    code(page).wait_for()
    ready(page)
    first = "conv = nn.Conv3d(1, 4, kernel_size=3, stride=2)\ny = conv(mx.zeros((1, 17, 17, 17, 1)))\n"
    assert code(page).input_value() == first
    assert verdict(page) == ["(1, 17, 17, 17, 1)", "(1, 8, 8, 8, 4)"]
    assert "k" not in query(page), "the explorer's own keys stay there"
    page.get_by_role("link", name="Explorer", exact=True).click()
    ready(page, 60)
    assert call(page) == "nn.Conv3d(1, 4, kernel_size=3, stride=2)"
    assert "code" not in query(page)
    page.get_by_role("spinbutton", name="kernel_size").fill("99")
    page.get_by_role("spinbutton", name="kernel_size").press("Enter")
    ready(page)
    page.get_by_role("button", name="Open in the shape doctor").click()
    code(page).wait_for()
    ready(page)
    expect(by_key(page, "finding_0")).to_contain_text("Does not work")
    page.get_by_role("button", name="Undo", exact=True).click()
    ready(page)
    assert code(page).input_value() == first


def test_the_table_is_edited_dragged_and_emptied_and_the_text_follows(page: Page) -> None:
    visit(page, f"/shape_doctor?code={quote('nn.Sequential(nn.Conv3d(1, 8, 3), nn.ReLU(), nn.MaxPool3d(2))  # mine')}")
    assert rows(page) == ["Conv3d", "ReLU", "MaxPool3d"]
    cell(page, "kernel_size", 1).fill("1, 3, 3")
    cell(page, "kernel_size", 1).press("Enter")
    ready(page)
    assert code(page).input_value() == "nn.Sequential(nn.Conv3d(1, 8, (1, 3, 3)), nn.ReLU(), nn.MaxPool3d(2))  # mine"
    assert verdict(page) == ["(1, 32, 32, 32, 1)", "(1, 16, 15, 15, 8)"]
    # By the mouse: the last row above the first.
    handle = page.get_by_label("Move layer 3", exact=True).bounding_box()
    first = page.get_by_label("Move layer 1", exact=True).bounding_box()
    assert handle
    assert first
    page.mouse.move(handle["x"] + 5, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(first["x"] + 5, first["y"] + 20, steps=4)
    page.mouse.move(first["x"] + 5, first["y"] - 2, steps=4)
    page.mouse.up()
    ready(page)
    assert rows(page) == ["MaxPool3d", "Conv3d", "ReLU"]
    # By the keyboard, and the focus goes with the row.
    page.get_by_label("Move layer 1", exact=True).press("ArrowDown")
    ready(page)
    assert rows(page) == ["Conv3d", "MaxPool3d", "ReLU"]
    expect(page.get_by_label("Move layer 2", exact=True)).to_be_focused()
    page.get_by_label("Remove layer 3", exact=True).click()
    ready(page)
    assert [layer.kind for layer in read_chain(code(page).input_value()).layers] == ["Conv3d", "MaxPool3d"]
    for _ in range(4):
        page.get_by_role("button", name="Undo", exact=True).click()
        ready(page)
    assert code(page).input_value().endswith("# mine")
    assert "nn.Conv3d(1, 8, 3)" in code(page).input_value()


def test_what_is_no_argument_is_refused_and_the_chain_stays(page: Page) -> None:
    visit(page, f"/shape_doctor?code={quote('nn.Conv3d(1, 8, 3)')}")
    cell(page, "stride", 1).fill("import os")
    cell(page, "stride", 1).press("Enter")
    ready(page)
    expect(page.get_by_test_id("stAlert").first).to_contain_text("argument: 'import os' is not a row of numbers")
    assert code(page).input_value() == "nn.Conv3d(1, 8, 3)"
    # What was typed is there to be mended, or to be given up.
    expect(cell(page, "stride", 1)).to_have_value("import os")
    cell(page, "stride", 1).press("Escape")
    expect(cell(page, "stride", 1)).to_have_value("1")


def test_a_link_brings_it_back(page: Page) -> None:
    visit(page, "/shape_doctor")
    paste(page, FAILING)
    by_key(page, "shape").locator("input").fill("1, 9, 40, 40, 1")
    by_key(page, "shape").locator("input").press("Enter")
    ready(page)
    before = verdict(page)
    page.reload()
    ready(page, 60)
    assert code(page).input_value() == FAILING
    assert verdict(page) == before == ["(1, 9, 40, 40, 1)"]


def test_a_long_text_is_read_and_survives_a_reload(page: Page) -> None:
    layers = "".join(f"    nn.Conv3d(1, 1, kernel_size=1, padding=0),  # layer {n:04}\n" for n in range(190))
    text = f"nn.Sequential(\n{layers})\n"
    visit(page, "/shape_doctor")
    paste(page, text)
    expect(page.get_by_test_id("stMain")).to_contain_text("190 layers")
    page.reload()
    page.wait_for_selector("[data-testid=stApp]")
    ready(page, 60)
    assert code(page).input_value() == text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_can_be_read_by_anybody_on_any_screen(open_page: Callable[..., Page], theme: str) -> None:
    page = open_page(color_scheme=theme)
    visit(page, "/shape_doctor")
    for tab in ("Code for both", "Weights", "MLX beside PyTorch", "Solve for"):
        page.get_by_role("tab", name=tab).click()
        ready(page)
        assert violations(page, "[data-testid=stMain]") == []
    picture = by_key(page, "geometry").get_by_role("img")
    expect(picture).to_have_attribute(
        "aria-label",
        r"NDHWC (1, 16, 64, 64, 1); Conv3d k3 s2 gives NDHWC (1, 7, 31, 31, 8); Conv3d k3 d4 does not take it.",
    )
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390")


def test_weights_go_in_for_one_framework_and_out_for_the_other(page: Page, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 2, 3, 3, 3)).astype(np.float32)
    given = tmp_path / "net.safetensors"
    given.write_bytes(write_safetensors(Checkpoint({"weight": weight, "bias": np.zeros(4, np.float32)}, "torch")))
    visit(page, f"/shape_doctor?code={quote('torch.nn.Conv3d(2, 4, 3)')}")
    page.get_by_role("tab", name="Weights").click()
    ready(page)
    page.locator("[data-testid=stFileUploader] input[type=file]").set_input_files(given)
    ready(page)
    with page.expect_download() as download:
        by_key(page, "converted").get_by_role("button").click()
    arrays = read_checkpoint(download.value.path().read_bytes()).arrays
    (converted,) = (array for array in arrays.values() if array.ndim == 5)
    np.testing.assert_array_equal(converted, weight.transpose(0, 2, 3, 4, 1))
