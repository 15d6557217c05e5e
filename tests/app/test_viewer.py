"""What the linked viewer is sent: the layer's own numbers, and each volume under the name of its content."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from conv3d_core.figures import linked
from conv3d_core.receptive_field import central_voxel
from conv3d_core.spec import ConvSpec
from conv3d_core.volumes import load_sample
from tests.app.driver import BRAIN, FMRI, RAMP, Explorer, OpenExplorer


def test_it_gets_the_kernel_and_the_planes_through_the_pin(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=BRAIN, od=3, oh=20, ow=44, oc=4)
    header, arrays = page.message()
    whole = page.array("output.npy")[0, ..., 4]
    np.testing.assert_allclose(arrays["plane_D"], whole[3], rtol=1e-6)
    np.testing.assert_allclose(arrays["plane_H"], whole[:, 20], rtol=1e-6)
    np.testing.assert_allclose(arrays["plane_W"], whole[:, :, 44], rtol=1e-6)
    np.testing.assert_array_equal(arrays["kernel"][1], [[-2, -4, -2], [0, 0, 0], [2, 4, 2]])
    assert header["pin"] == [3, 20, 44]
    assert header["axes"][1] == {"size": 116, "outputs": 58, "kernel": 3, "stride": 2, "padding": 1, "dilation": 1}
    assert (header["output"]["title"], header["output"]["scope"]) == ("Output 4 Sobel H", "this map")
    assert (header["input"]["spacing"], header["output"]["spacing"]) == ([2, 2, 2], [4, 4, 4])
    assert len(header["depthColours"]) == 3
    assert header["notice"] == ""


def test_volumes_are_sent_whole_under_the_name_that_the_viewer_asks_for(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI, ic=1, oc=2)
    header, _ = page.message()
    for side in ("input", "output"):
        kept, arrays = page.message(f"viewer_{side}")
        assert kept["key"] == header[side]["key"]
        assert kept["full"] == list(arrays["volume"].shape)
        assert kept["origin"] == [0, 0, 0]
    np.testing.assert_array_equal(page.message("viewer_input")[1]["volume"], page.array("input.npy")[0, ..., 1])
    np.testing.assert_array_equal(page.message("viewer_output")[1]["volume"], page.array("output.npy")[0, ..., 2])
    assert header["input"]["title"] == "Input 1"
    assert header["kernelTitle"] == "Kernel of output 2 on input 1"


def names(page: Explorer) -> tuple[str, str]:
    header, _ = page.message()
    return header["input"]["key"], header["output"]["key"]


def test_what_differs_has_another_name_and_what_does_not_has_the_same(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP, weights="Random")
    begin = names(page)
    page.set(od=1, axis="H", range="shared")
    assert names(page) == begin
    seen = [begin]
    for change in ({"oc": 1}, {"k": 5}, {"seed": 1}, {"dtype": "float16"}, {"norm": "0-1"}):
        page.set(**change)
        seen.append(names(page))
    assert len({output for _, output in seen}) == len(seen)
    assert [before[0] == after[0] for before, after in pairwise(seen)] == [True, True, True, True, False]


def test_a_small_map_chooses_its_channel(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    assert page.message()[0]["channel"] == 0
    page.app.button(key="map_3").click()
    page.run()
    assert page.message()[0]["channel"] == page.value("oc") == 3
    assert page.message()[0]["output"]["title"] == "Output 3 Sobel D"
    assert page.app.button(key="map_3").label == ":blue[**3** Sobel D]"


def test_a_large_volume_is_shown_through_a_box_and_that_is_said(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linked.sent_box, "__defaults__", (64**3,))
    page = open_explorer(volume=BRAIN, s=1, p=1, od=90, oh=5, ow=50)
    header, _ = page.message()
    box = "D 30-93, H 0-63, W 0-63"
    assert header["notice"] == (
        f"Of the input of 94 × 116 × 98 voxels the box {box} around the pin is here, at full resolution; "
        "the small picture has one voxel in 2 of each axis of the whole."
    )
    kept, arrays = page.message("viewer_input")
    assert (kept["origin"], arrays["volume"].shape) == ([30, 0, 0], (64, 64, 64))
    volume = load_sample("mni152_t1_2mm").array[..., 0]
    np.testing.assert_array_equal(arrays["volume"], volume[30:, :64, :64])
    assert kept["full"] == [94, 116, 98]
    small, arrays = page.message("viewer_overview")
    assert small["key"] == header["overview"]["key"]
    np.testing.assert_array_equal(arrays["volume"], volume[::2, ::2, ::2])
    page.set(oh=10)
    assert page.message("viewer_input")[0]["key"] == kept["key"], "a small step sends nothing again"


def test_the_box_holds_the_voxel_it_is_around() -> None:
    spec, size = ConvSpec(1, 1, 3), (300, 40, 900)
    for output in ((0, 0, 0), (297, 37, 897), (150, 20, 450)):
        centre = central_voxel(spec, output, size)
        box = linked.sent_box(size, centre, 100**3)
        assert all(first <= at <= last for (first, last), at in zip(box, centre, strict=True))
        assert np.prod([last - first + 1 for first, last in box]) <= 100**3
        assert all(first >= 0 and last < n for (first, last), n in zip(box, size, strict=True))
