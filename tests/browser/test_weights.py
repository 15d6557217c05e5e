"""A trained layer's way onto the screen: its file handed in, the layer chosen, a tap changed, the link followed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
from conv3d_core.volumes import load_sample
from tests.browser.driver import by_key, call, choose, ready, upload, viewer_plane, viewer_state, visit
from tests.browser.test_explorer import alerts, query, violations

DRAW = np.random.default_rng(4)
# As PyTorch has them: (O, I, KD, KH, KW).
STEM = DRAW.normal(size=(4, 1, 3, 3, 3)).astype(np.float32)
BIAS = DRAW.normal(size=4).astype(np.float32)
DEEP = DRAW.normal(size=(6, 4, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "unet.safetensors"
    save_file(
        {"stem.weight": STEM, "stem.bias": BIAS, "deep.weight": DEEP, "head.weight": np.ones((2, 6), np.float32)}, path
    )
    return path


def plane(page: Page) -> NDArray[np.float32]:
    return np.array(viewer_plane(page, "output", "D"), np.float32)


def by_mlx(page: Page, weight: NDArray[np.float32], channel: int) -> NDArray[np.float32]:
    """The plane on screen as MLX has it for the layer in the header."""
    spec = ConvSpec.parse(call(page))
    with Engine(device="cpu") as engine:
        whole = engine.plane(
            spec,
            load_sample("nuclei_3d").array[None],
            axis="D",
            index=viewer_state(page)["pin"][0],
            weight=weight[:, : spec.in_channels].transpose(0, 2, 3, 4, 1),
            bias=BIAS if spec.bias else None,
        )
    return np.asarray(whole[..., channel], np.float32)


def chosen(page: Page) -> tuple[str, str]:
    """The layer and its layout, as their widgets show them."""
    layout = by_key(page, "weights_layout").locator("label:has(input:checked)")
    return by_key(page, "weights_layer").locator("input").input_value(), layout.inner_text()


def close(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """To float32 rounding: the app may multiply by another BLAS."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * float(np.abs(theirs).max()) * 27)


def test_a_trained_layer_is_handed_in_chosen_edited_and_its_link_followed(page: Page, file: Path) -> None:
    visit(page, "/?volume=Cell nuclei, fluorescence&oc=2")
    choose(page, "Weights", "From a file")
    expect(by_key(page, "header")).to_contain_text("Weights: random, seed 0, until their file is here")
    upload(page, file, key="weights_file")
    expect(by_key(page, "header")).to_contain_text("Weights: stem of unet.safetensors")
    assert call(page) == "nn.Conv3d(1, 4, kernel_size=3, stride=2, padding=1)"
    close(plane(page), by_mlx(page, STEM, 2))
    assert alerts(page) == []
    assert violations(page, "[data-testid=stSidebar]") == []

    by_key(page, "kernel").locator("summary").click()
    tap = page.get_by_label("Tap D 1, H 1, W 1")
    tap.fill("7.5")
    tap.press("Enter")
    ready(page)
    edited = STEM.copy()
    edited[2, 0, 1, 1, 1] = 7.5
    close(plane(page), by_mlx(page, edited, 2))

    # On another page and back: it is still there.
    page.get_by_role("link", name="Device").click()
    ready(page)
    assert alerts(page) == []
    page.get_by_role("link", name="Explorer").click()
    ready(page)
    close(plane(page), by_mlx(page, edited, 2))
    assert chosen(page) == ("stem: 1 → 4, 3×3×3", "PyTorch: 1 → 4, 3×3×3")
    shown = plane(page)

    # A link has its name, and asks for it.
    address = page.url
    visit(page, address)
    message = (
        "weights: the link was made with the file 'unet.safetensors', which a link cannot carry; "
        "hand it in again, or choose other weights."
    )
    assert alerts(page) == [message, message]
    upload(page, file, key="weights_file")
    assert alerts(page) == []
    np.testing.assert_array_equal(plane(page), shown)
    assert query(page)["edit"] == "2.1.1.1.0_7.5"


def test_a_deeper_layer_and_a_file_that_is_refused(page: Page, file: Path, tmp_path: Path) -> None:
    visit(page, "/?volume=Cell nuclei, fluorescence&weights=From a file")
    upload(page, file, key="weights_file")
    choose(page, "Layer (", "deep: 4 → 6, 3×3×3")
    assert call(page) == "nn.Conv3d(4, 6, kernel_size=3, stride=2, padding=1, bias=False)"
    assert [text.partition(":")[0] for text in alerts(page)] == ["layer", "layer"]
    page.get_by_role("button", name="Set in_channels = 1").click()
    ready(page)
    close(plane(page), by_mlx(page, DEEP, 0))

    # Names and sizes follow each other.
    page.get_by_text("MLX: 3 → 6, 4×3×3").click()
    ready(page)
    assert chosen(page) == ("deep: 3 → 6, 4×3×3", "MLX: 3 → 6, 4×3×3")
    choose(page, "Layer (", "stem: 3 → 4, 1×3×3")
    assert chosen(page) == ("stem: 3 → 4, 1×3×3", "MLX: 3 → 4, 1×3×3")
    page.get_by_text("PyTorch: 1 → 4, 3×3×3").click()
    ready(page)
    assert chosen(page) == ("stem: 1 → 4, 3×3×3", "PyTorch: 1 → 4, 3×3×3")
    choose(page, "Layer (", "deep: 4 → 6, 3×3×3")
    assert chosen(page) == ("deep: 4 → 6, 3×3×3", "PyTorch: 4 → 6, 3×3×3")
    page.get_by_role("button", name="Set in_channels = 1").click()
    before = plane(page)  # and on while the page is not ready: a layer that is shown once more is not chosen once more
    pickled = tmp_path / "model.pt"
    with zipfile.ZipFile(pickled, "w") as archive:
        archive.writestr("model/data.pkl", b"cposix\nsystem\n(S'touch hacked'\ntR.")
    upload(page, pickled, key="weights_file")
    assert len(alerts(page)) == 2
    assert "safetensors" in alerts(page)[0]
    beside = page.get_by_test_id("stSidebar").get_by_test_id("stAlert").bounding_box()
    uploader = by_key(page, "weights_file").bounding_box()
    assert beside is not None
    assert uploader is not None
    assert 0 < beside["y"] - uploader["y"] - uploader["height"] < 40
    np.testing.assert_array_equal(plane(page), before)
    expect(by_key(page, "header")).to_contain_text("Weights: deep of unet.safetensors, of its 4 input channels the fir")

    # Elsewhere the file is not there; with it the page is as it was.
    visit(page, page.url)
    expect(by_key(page, "header")).to_contain_text("Weights: random, seed 0, until their file is here")
    assert alerts(page)[0].startswith("weights: the link was made with the file 'unet.safetensors'")
    assert plane(page).shape == before.shape
    upload(page, file, key="weights_file")
    assert alerts(page) == []
    assert chosen(page) == ("deep: 4 → 6, 3×3×3", "PyTorch: 4 → 6, 3×3×3")
    np.testing.assert_array_equal(plane(page), before)
