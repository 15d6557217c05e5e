"""The sum behind the pinned output voxel, as the explorer writes it out."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from conv3d_core import ConvSpec
from conv3d_core.arithmetic import arithmetic
from pages._ui import arithmetic_view
from tests.app.driver import FMRI, IMPULSE, NUCLEI, RAMP, Explorer, OpenExplorer


class Page(HTMLParser):
    """The tables of the sum by caption, each a list of rows of text, and the text beside them."""

    def __init__(self, page: Explorer) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.hollow: list[tuple[str, str]] = []
        self.text = ""
        self.source = "".join(html.value for html in page.app.main.html if 'class="sum"' in html.value)
        self._cell: str | None = None
        self._inside = False
        self.feed(re.sub(r"<style>.*?</style>", "", self.source, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append(("", []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th", "caption"):
            self._cell = ""
            if dict(attributes).get("class") == "pad":
                row = self.tables[-1][1]
                self.hollow.append((self.tables[-1][0], f"{len(row) - 2},{len(row[-1]) - 1}"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][1][-1].append(self._cell)
        elif tag == "caption" and self._cell is not None:
            self.tables[-1] = (self._cell, self.tables[-1][1])
        if tag in ("td", "th", "caption"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is None:
            self.text += data
        else:
            self._cell += data

    @property
    def captions(self) -> list[str]:
        return [caption for caption, _ in self.tables]

    def grid(self, caption: str, number: int = 0) -> list[list[str]]:
        """Numbers of a grid without its headers."""
        rows = [rows for found, rows in self.tables if found == caption][number]
        return [row[1:] for row in rows[1:]]

    @property
    def sum(self) -> dict[str, str]:
        (rows,) = (rows for caption, rows in self.tables if caption == "The sum")
        return {row[0]: row[1] for row in rows[1:]}

    @property
    def largest(self) -> list[list[str]]:
        (rows,) = (rows for caption, rows in self.tables if " products" in caption and caption != "products")
        return rows[1:]


def test_the_ramp_by_hand(open_explorer: OpenExplorer) -> None:
    """``4 d + 2 h + w`` around (3, 4, 5) under Sobel W: 16 taps of weight +-1, +-2, +-4, each pair 2 apart."""
    page = open_explorer(volume=RAMP, weights="Sobel W", s=1, p=0, od=2, oh=3, ow=4)
    found = Page(page)
    assert found.captions == [
        *("input D 2", "kernel D 0", "products", "input D 3", "kernel D 1", "products"),
        *("input D 4", "kernel D 2", "products", "The sum"),
    ]
    assert found.tables[0][1][0] == ["H \\ W", "4", "5", "6"]
    assert [row[0] for row in found.tables[0][1][1:]] == ["3", "4", "5"]
    assert found.grid("input D 3") == [["22", "23", "24"], ["24", "25", "26"], ["26", "27", "28"]]
    assert found.grid("kernel D 1") == [["-2", "0", "2"], ["-4", "0", "4"], ["-2", "0", "2"]]
    assert found.grid("products", 1) == [["-44", "0", "48"], ["-96", "0", "104"], ["-52", "0", "56"]]
    assert found.sum == {
        "kernel D 0": "8",
        "kernel D 1": "16",
        "kernel D 2": "8",
        "bias": "0",
        "total": "32",
        "MLX says": "32",
        "difference": "0",
    }
    assert found.hollow == []
    assert "It closes: MLX, which adds in float32, comes to the same number." in found.text
    assert "in the padding" not in found.text


def test_padding_and_dilation(open_explorer: OpenExplorer) -> None:
    """This output reads -1, 1 and 3 of depth and height and 0, 2 and 4 of the width: 12 of the 27 taps lie inside."""
    found = Page(open_explorer(volume=RAMP, weights="Box", d=2, s=1, p=1, od=0, oh=0, ow=1, bias=False))
    assert [caption for caption in found.captions if "input" in caption] == [
        "input D \N{MINUS SIGN}1",
        "input D 1",
        "input D 3",
    ]
    assert found.grid("input D 1") == [["0", "0", "0"], ["6", "8", "10"], ["10", "12", "14"]]
    assert found.grid("kernel D 1")[1][1] == "0.03704"
    assert found.grid("products", 1)[0] == ["0", "0", "0"]
    assert found.grid("products", 1)[1] == ["0.2222", "0.2963", "0.3704"]
    assert len([at for caption, at in found.hollow if "input" in caption]) == 27 - 12
    assert [at for caption, at in found.hollow if caption == "input D 3"] == ["0,0", "0,1", "0,2"]
    assert "in the padding, read as 0" in found.text
    # 6 + 8 + 10 + 10 + 12 + 14, and again 8 more each two planes on, over 27
    assert found.sum["total"] == found.sum["MLX says"] == "6.222222"
    assert "bias" not in found.sum


def test_the_impulse_in_its_one_product(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, weights="Gaussian", s=1, od=7, oh=8, ow=8)
    found = Page(page)
    assert found.grid("input D 8") == [["0", "0", "0"], ["0", "1", "0"], ["0", "0", "0"]]
    assert found.sum["kernel D 2"] == found.sum["total"] == found.sum["MLX says"] == "0.0625"
    page.set(od=3)
    assert Page(page).sum["total"] == "0"


def test_it_follows_the_channel_and_closes_with_what_is_delivered(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI, weights="Random", seed=3, od=4, oh=5, ow=6)
    for channel in (0, 5):
        page.set(oc=channel)
        sum_ = Page(page).sum
        value = page.array("output.npy")[0, 4, 5, 6, channel]
        assert float(sum_["MLX says"]) == pytest.approx(float(value), rel=1e-5)
        assert float(sum_["total"]) == pytest.approx(float(value), rel=1e-5)
        assert abs(float(sum_["difference"])) < 1e-3
        parts = [float(sum_[name]) for name in ("kernel D 0", "kernel D 1", "kernel D 2", "bias")]
        assert sum(parts) == pytest.approx(float(sum_["total"]), abs=3e-4)


def test_several_channels_each_have_their_grids(open_explorer: OpenExplorer) -> None:
    found = Page(open_explorer(volume=FMRI, weights="Box"))
    assert len(found.captions) == 2 * 3 * 3 + 1
    assert "input D 11, C 1" in found.captions
    assert "kernel D 2, channel 1" in found.sum


def test_a_large_kernel_is_folded_and_its_largest_products_come_first(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP, weights="Box", k=7, s=1, p=0, od=0, oh=0, ow=0)
    found = Page(page)
    assert found.captions[:2] == ["The 10 largest of 343 products", "The sum"]
    assert found.source.count("<details") == 7
    # The corner of the window, 4 * 6 + 2 * 6 + 6 = 42, times 1 / 343; the window's mean is 21.
    assert found.largest[0] == ["6, 6, 6", "6, 6, 6", "42", "× 0.002915", "= 0.1224", "0.6 %"]
    assert [row[2] for row in found.largest[:4]] == ["42", "41", "40", "40"]
    assert found.largest[-1][0] == "333 other products"
    assert float(found.largest[-1][1]) == pytest.approx(21 - sum(float(r[4][2:]) for r in found.largest[:10]), abs=5e-3)
    assert found.sum["total"] == "21.00000"
    assert found.sum["kernel D 0"] == "1.28571"  # (0 + 2*3 + 3) / 7
    assert found.grid("input D 6")[6] == ["36", "37", "38", "39", "40", "41", "42"]


def test_a_window_of_zeros_has_no_largest_product(open_explorer: OpenExplorer) -> None:
    found = Page(open_explorer(volume=IMPULSE, weights="Box", k=7, s=1, p=0, od=0, oh=0, ow=0))
    assert found.captions[0] == "0 of 343 products are not 0"
    assert found.largest == [["343 other products", "0", "0.0 %"]]
    assert found.sum["total"] == "0"


def test_many_subtotals_are_the_largest_and_the_rest(open_explorer: OpenExplorer) -> None:
    found = Page(open_explorer(volume=RAMP, weights="Box", k3=True, kd=20, kh=1, kw=1, s=1, p=0, od=0, oh=0, ow=0))
    assert list(found.sum)[:2] == ["kernel D 19", "kernel D 18"]
    assert found.sum["8 other subtotals"] == "5.6"  # 4 * (0 + ... + 7) / 20
    assert found.sum["total"] == "38.0"


def test_more_products_than_are_drawn_or_gathered_leave_the_page_up(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_explorer(volume=IMPULSE, weights="Box", k=17, p=8)
    found = Page(page)
    assert found.captions[0] == "1 of 4,913 products is not 0"
    assert "<details" not in found.source
    assert "The grids of 4,913 products are too many to draw" in found.text
    monkeypatch.setattr(arithmetic_view, "MAX_PRODUCTS", 4912)
    page.run()
    assert Page(page).source == ""
    assert "the sum of 4,913 products. More than 4,912 are not written out" in page.words
    assert page.drawn


def test_half_precision_says_what_it_rounds(open_explorer: OpenExplorer) -> None:
    found = Page(open_explorer(volume=NUCLEI, dtype="bfloat16", weights="Random"))
    assert "MLX computed in bfloat16, which rounds the voxels, the weights and the sum" in found.text
    assert found.sum["difference"] != "0"


def test_what_is_not_finite_is_said(open_explorer: OpenExplorer) -> None:
    array = np.ones((5, 5, 5), np.float32)
    array[2, 2, 2] = np.nan
    file = io.BytesIO()
    np.save(file, array)
    page = open_explorer(volume=IMPULSE, k=3, s=1, p=0, out=1, weights="Box")
    page.upload("hole.npy", file.getvalue())
    found = Page(page)
    assert (found.sum["total"], found.sum["MLX says"], found.sum["difference"]) == ("NaN", "NaN", "0")
    assert "is not finite, and so is the sum, here as in MLX." in found.text


@pytest.mark.parametrize(
    ("factor", "value", "words"),
    [
        (1, 6.0000005, "It closes: MLX adds in float32 and this table in float64, so that the sums of 3 products"),
        (
            1,
            6.1,
            "The rounding of 3 products explains a difference of up to 1.431e\N{NON-BREAKING HYPHEN}06, not this one.",
        ),
        (1, math.nan, "The rounding of 3 products explains a difference"),
        (1e38, math.inf, "The sum is beyond the largest number of float32, in which MLX adds."),
    ],
)
def test_what_the_difference_comes_from(factor: float, value: float, words: str) -> None:
    spec = ConvSpec(1, 1, (1, 1, 3), bias=False)
    array = np.array([1, 2, 3], np.float32).reshape(1, 1, 3, 1)
    found = arithmetic(spec, array, np.full(spec.weight_shape, factor, np.float32), None, (0, 0, 0), 0)
    assert arithmetic_view.closing_words(found, value, "float32").startswith(words)
