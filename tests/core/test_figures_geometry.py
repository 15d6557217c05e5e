"""The arrays of a chain to scale: what is drawn, and that it is sound SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from conv3d_core.chain import Case
from conv3d_core.chain.examples import EXAMPLES
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.trace import trace
from conv3d_core.figures.geometry import SPACE, Block, GeometryInfo, geometry_info, geometry_svg

SVG = "{http://www.w3.org/2000/svg}"


def geometry(text: str, *input_shape: int) -> GeometryInfo:
    chain = read_chain(text)
    return geometry_info(trace(Case(chain, input_shape or chain.input_shape or ())))


def front(path: str) -> tuple[float, float]:
    """Width and height of a box's front, in pixels."""
    found = re.fullmatch(r"M[\d.]+ [\d.]+h([\d.]+)v([\d.]+)h-[\d.]+z", path)
    assert found
    return float(found[1]), float(found[2])


def test_a_block_stands_wherever_the_shape_changes() -> None:
    info = geometry(
        "nn.Sequential(nn.Conv3d(1, 8, 3, dilation=2), nn.ReLU(), nn.MaxPool3d(2), nn.ReLU())", 1, 12, 14, 16, 1
    )
    assert info.blocks == (
        Block((12, 14, 16), 1, "NDHWC (1, 12, 14, 16, 1)", window=(5, 5)),
        Block((8, 10, 12), 8, "NDHWC (1, 8, 10, 12, 8)", ("Conv3d k3 d2",), window=(2, 2)),
        Block((4, 5, 6), 8, "NDHWC (1, 4, 5, 6, 8)", ("ReLU", "MaxPool3d k2"), after=("ReLU",)),
    )
    assert info.failed == ""
    assert info.words == (
        "NDHWC (1, 12, 14, 16, 1); Conv3d k3 d2 gives NDHWC (1, 8, 10, 12, 8); "
        "ReLU, MaxPool3d k2 gives NDHWC (1, 4, 5, 6, 8)."
    )


def test_what_fails_ends_the_picture() -> None:
    info = geometry("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Conv3d(8, 8, (1, 7, 7), stride=2))", 1, 8, 8, 8, 1)
    assert [block.sizes for block in info.blocks] == [(8, 8, 8), (6, 6, 6)]
    assert info.failed == "Conv3d k(1,7,7) s2"
    assert info.words.endswith("; Conv3d k(1,7,7) s2 does not take it.")


def test_channels_are_no_depth() -> None:
    """A box is as large as its voxels, however many channels there are; these are squares below."""
    few = geometry_svg(geometry("nn.Identity()", 1, 4, 8, 16, 2))
    many = geometry_svg(geometry("nn.Identity()", 1, 4, 8, 16, 200))
    boxes = [[path.get("d") for path in ElementTree.fromstring(svg).iter(f"{SVG}path")][:3] for svg in (few, many)]
    assert boxes[0] == boxes[1]
    assert "2 channels" in few
    assert "... 200 channels" in many


def test_boxes_are_to_one_scale() -> None:
    svg = geometry_svg(geometry("nn.MaxPool3d((1, 2, 4))", 1, 8, 16, 32, 1))
    fronts = [
        front(path.get("d", ""))
        for path in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if path.get("fill") == SPACE and path.get("fill-opacity") == "0.5"
    ]
    assert fronts == [(120.0, 60.0), (30.0, 30.0)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_drawn(name: str) -> None:
    info = geometry(EXAMPLES[name].text)
    root = ElementTree.fromstring(geometry_svg(info))
    assert root.get("aria-label") == info.words
    assert root.get("role") == "img"


def test_names_are_text() -> None:
    svg = geometry_svg(GeometryInfo((Block((1, 1, 1), 1, "<script>"), Block(None, 3, "NF", ("a<b>&",)))))
    assert "<script>" not in svg
    assert [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")][-1] == "NF"
