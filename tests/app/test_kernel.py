"""The kernel changed by hand: by buttons, by a link, and what each part of the page then says of it.

The fields that numbers are typed into are an element of our own: they are tested in tests/browser.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
from conv3d_core.kernels import kernel_weights
from tests.app.driver import FMRI, IMPULSE, NUCLEI, Explorer, OpenExplorer


def kernel(page: Explorer) -> NDArray[np.float32]:
    """The kernel on screen."""
    return page.message()[1]["kernel"]


def fields(page: Explorer) -> list[dict[str, Any]]:
    """The planes of the editor."""
    (found,) = (element for element in page.app if getattr(element, "key", None) == "kernel_editor")
    planes: list[dict[str, Any]] = json.loads(found.proto.json)["planes"]
    return planes


def state(page: Explorer) -> str:
    """What the editor says of the kernel."""
    (found,) = (text.value for text in page.app.main.markdown if text.value.startswith("**Kernel of output"))
    return str(found).partition(":small[")[2].removesuffix("]")


def test_an_edited_tap_of_a_link_is_what_mlx_runs(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI, out=2, weights="Box", oc=1, edit="1.1.1.1.0_2.5~0.0.0.2.0_-1")
    assert page.warnings == []
    assert state(page) == "edited: 1 of 27 taps, and 1 in other kernels"
    assert kernel(page)[1, 1, 1] == 2.5
    spec = ConvSpec.parse(page.call)
    weight, bias = kernel_weights("box", spec)
    weight[1, 1, 1, 1, 0], weight[0, 0, 0, 2, 0] = 2.5, -1
    with Engine(device="cpu") as engine:
        expected = engine.run(spec, page.array("input.npy"), weight=weight, bias=bias)
    np.testing.assert_array_equal(page.array("output.npy"), expected)
    assert page.statistics["kernel"].tolist() == ["Box (edited)", "Box (edited)"]


def test_an_impulse_shows_the_edited_kernel_and_undo_brings_the_old_one(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, s=1, out=1, weights="Laplacian")
    before = page.array("output.npy")
    laplacian = kernel(page).copy()
    assert state(page) == "as the source gives it"
    assert page.button("Undo").disabled
    assert page.button("Reset").disabled
    page.press("Negate")
    np.testing.assert_array_equal(kernel(page), -laplacian)
    np.testing.assert_array_equal(page.array("output.npy"), -before)
    assert state(page) == "edited: 7 of 27 taps"
    page.press("All 0")
    assert not page.array("output.npy").any()
    page.press("Identity")
    np.testing.assert_array_equal(page.array("output.npy"), page.array("input.npy"))
    page.press("Undo")
    page.press("Undo")
    np.testing.assert_array_equal(kernel(page), -laplacian)
    page.press("Reset")
    np.testing.assert_array_equal(page.array("output.npy"), before)
    assert state(page) == "as the source gives it"
    page.press("Undo")
    np.testing.assert_array_equal(kernel(page), -laplacian)


def test_a_sum_of_one_and_why_there_is_none(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, out=1, weights="Random", edit="0.1.1.1.0_50")
    page.press("Sum to 1")
    assert kernel(page).sum() == pytest.approx(1)
    page.set(weights="Sobel D")
    assert page.button("Sum to 1").disabled
    assert page.button("Sum to 1").help.startswith("kernel: its taps sum to 0")


def test_edits_stay_with_their_weights(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI, weights="Gaussian", oc=2, ic=1)
    page.press("Identity")
    assert kernel(page)[1, 1, 1] == 1
    edited = page.array("output.npy")
    page.set(s=1)  # the same weights with another stride
    assert state(page).startswith("edited: ")
    page.set(s=2, ic=0)
    assert state(page) == "as the source gives it; edited: 27 in other kernels"
    page.set(k=5)
    assert state(page) == "as the source gives it"
    assert page.app.query_params.get("edit") is None
    page.set(k=3)
    np.testing.assert_array_equal(page.array("output.npy"), edited)
    page.press("Reset all kernels")
    assert state(page) == "as the source gives it"


def test_the_link_carries_the_edits_as_far_as_they_are_few(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI, weights="Random", seed=3, oc=1)
    page.press("Negate")
    text = str(np.atleast_1d(page.app.query_params["edit"])[0])
    assert text.count("~") == 26
    again = open_explorer(volume=NUCLEI, weights="Random", seed=3, oc=1, edit=text)
    np.testing.assert_array_equal(again.array("output.npy"), page.array("output.npy"))
    page.set(k=5)
    page.press("Negate")
    assert "A link carries up to 64 changed taps; these are 125." in page.words
    assert "edit" not in page.app.query_params


@pytest.mark.parametrize("edit", ["x", "0.9.0.0.0_1", "0.1.1.1.0_nan", "0.1.1.1.0_1e99"])
def test_a_link_whose_edits_are_none_says_so(open_explorer: OpenExplorer, edit: str) -> None:
    page = open_explorer(volume=IMPULSE, edit=edit)
    assert page.warnings == [f"link: edit={edit} cannot be restored here; showing none instead."]
    assert page.drawn
    assert state(page) == "as the source gives it"


def test_the_fields_show_every_number_and_what_it_was(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, weights="Sobel W", edit="0.1.1.1.0_0.1")
    planes = fields(page)
    assert [plane["title"] for plane in planes] == ["D 0", "D 1", "D 2"]
    assert [[cell["text"] for cell in row] for row in planes[1]["rows"]] == [
        ["-2", "0", "2"], ["-4", "0.1", "4"], ["-2", "0", "2"],
    ]  # fmt: skip
    assert planes[1]["rows"][1][1] | {"source": "0", "dark": False} == planes[1]["rows"][1][1]
    assert (
        planes[1]["rows"][1][0] | {"source": None, "dark": True, "colour": "rgb(5 48 97)"} == (planes[1]["rows"][1][0])
    )


def test_a_large_kernel_is_shown_a_plane_at_a_time(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k3=True, kd=9, kh=3, kw=3, p=4, weights="Gaussian")
    (plane,) = fields(page)
    assert plane["title"] == "D 4"
    page.set(kernel_plane=7)
    assert fields(page)[0]["title"] == "D 7"
    page.set(kd=3)
    assert len(fields(page)) == 3


def test_a_kernel_too_large_to_type(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k=33, p=16, out=1, weights="Gaussian")
    assert "A plane of 33 × 33 taps is too large to type" in page.words
    assert page.button("All 0").disabled
    assert page.errors == ([], [])


def test_the_program_of_an_edited_layer_computes_this_output(open_explorer: OpenExplorer, tmp_path: Path) -> None:
    page = open_explorer(volume=NUCLEI, weights="Random", seed=7, edit="0.1.1.1.0_0.1~3.0.2.1.0_-1e-3")
    (tmp_path / "reproduce.py").write_text(page.program)
    (tmp_path / "input.npy").write_bytes(page.file("input.npy"))
    subprocess.run([sys.executable, "-I", "reproduce.py"], cwd=tmp_path, check=True, timeout=100)
    assert np.load(tmp_path / "output.npy").tobytes() == page.array("output.npy").tobytes()
