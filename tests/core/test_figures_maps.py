"""Small multiples, statistics, histogram, cost."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.figures.channels import (
    BINS,
    channel_statistics,
    histogram_figure,
    histogram_info,
    planes_statistics,
)
from conv3d_core.figures.cost import cost_info, count, duration
from conv3d_core.figures.maps import maps_info, sheet_png, tile_image, tile_png


def output() -> np.ndarray:
    """Channel 0 rises along D, H and W, channel 1 is 5 everywhere."""
    array = np.zeros((2, 3, 4, 2), np.float32)
    array[..., 0] = np.arange(24).reshape(2, 3, 4) - 12
    array[..., 1] = 5
    return array


def test_maps_have_their_own_range_over_the_whole_volume_or_a_shared_one() -> None:
    own = maps_info(output()[1], "D", shared=False, statistics=channel_statistics(output()))
    assert [(m.low, m.high) for m in own] == [(-12, 12), (-5, 5)]
    shared = maps_info(output()[1], "D", shared=True, statistics=channel_statistics(output()))
    assert [(m.low, m.high) for m in shared] == [(-12, 12), (-12, 12)]
    np.testing.assert_array_equal(own[0].values, output()[1, :, :, 0])
    assert [m.label for m in own] == ["0: ±12", "1: constant 5"]
    assert [m.note for m in own] == ["", "dead: constant 5"]


def test_before_the_whole_is_known_ranges_come_from_the_planes_on_screen() -> None:
    array = output()
    planes = (array[1], array[:, 0], array[:, :, 3])
    statistics = planes_statistics(planes)
    # Channel 0 has 0 to 11 on D 1, -12 to -9 and 0 to 3 on H 0, and -9, -5, -1, 3, 7, 11 on W 3.
    assert [(c.low, c.high, c.whole) for c in statistics] == [(-12, 11, False), (5, 5, False)]
    infos = maps_info(planes[0], "D", shared=False, statistics=statistics)
    assert [(m.low, m.high) for m in infos] == [(-12, 12), (-5, 5)]
    np.testing.assert_array_equal(infos[0].values, array[1, :, :, 0])
    assert [m.note for m in infos] == ["", "constant here"], "a map that is constant on a plane is not dead"
    array[1, 0, 0, 0] = np.nan
    assert planes_statistics((array[1],))[0].flag == "1 not finite"


def test_maps_of_zeros_and_of_nothing_finite_still_have_a_range() -> None:
    array = np.zeros((1, 2, 2, 2), np.float32)
    array[..., 1] = np.nan
    infos = maps_info(array[0], "D", shared=False, statistics=channel_statistics(array))
    assert [(m.low, m.high) for m in infos] == [(-1, 1), (-1, 1)]
    assert [m.label for m in infos] == ["0: constant 0", "1: nothing finite"]
    assert [m.note for m in infos] == ["dead: constant 0", "nothing finite"]
    assert [m.value_range for m in infos] == [(-1, 1), None]


def test_a_map_says_what_is_not_finite() -> None:
    array = output()
    array[0, 0, :3, 0] = np.nan
    info = maps_info(array[0], "D", shared=False, statistics=channel_statistics(array))[0]
    assert (info.label, info.note) == ("0: ±11, 3 not finite", "3 not finite")


def test_a_map_of_the_largest_numbers_keeps_its_colours() -> None:
    array = np.array([-3e38, 0, 3e38], np.float32).reshape(1, 1, 3, 1)
    info = maps_info(array[0], "D", shared=False, statistics=channel_statistics(array))[0]
    blue, white, red = (tile_image(info, 1.0, size=3).getpixel((column, 0)) for column in range(3))
    assert blue[2] > blue[0]
    assert min(white) > 240
    assert red[0] > red[2]


def test_a_tile_keeps_voxels_square_edged_and_spaced() -> None:
    info = maps_info(output()[0], "D", shared=False, statistics=channel_statistics(output()))[0]
    picture = tile_image(info, aspect=2.0, size=240)
    assert picture.size == (160, 240), "4 columns by 3 rows, each twice as high as wide"
    assert len(picture.crop((0, 0, 40, 80)).getcolors()) == 1, "one voxel, one colour"
    assert Image.open(io.BytesIO(tile_png(info, 1.0))).format == "PNG"


def test_d_runs_upwards_on_tiles_too() -> None:
    info = maps_info(output()[:, :, 0], "W", shared=False, statistics=channel_statistics(output()))[0]
    picture = tile_image(info, 1.0)
    top, bottom = picture.getpixel((0, 0)), picture.getpixel((0, picture.height - 1))
    assert top[0] > top[2], "d = 1 holds the positive values and is on top"
    assert bottom[2] > bottom[0]


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_a_sheet_holds_every_map(channels: int) -> None:
    array = np.random.default_rng(0).normal(size=(2, 5, 6, channels)).astype(np.float32)
    infos = maps_info(array[0], "D", shared=False, statistics=channel_statistics(array))
    sheet = Image.open(io.BytesIO(sheet_png(infos, "nn.Conv3d(1, 8, kernel_size=3)", "shapes", 1.0, [""] * channels)))
    coloured = (np.ptp(np.asarray(sheet).astype(int), axis=-1) > 12).sum()
    assert coloured > channels * 20 * 200


def test_statistics_by_hand_and_the_dead_map_is_flagged() -> None:
    varied, dead = channel_statistics(output())
    assert (varied.low, varied.high, varied.mean) == (-12, 11, -0.5)
    assert varied.deviation == pytest.approx(np.sqrt((24**2 - 1) / 12))
    assert varied.zero_share == pytest.approx(1 / 24)
    assert (varied.flag, varied.constant) == ("", None)
    assert (dead.flag, dead.constant) == ("dead: constant 5", 5)


def test_statistics_count_what_is_not_finite() -> None:
    array = output()
    array[0, 0, 0] = np.nan
    array[0, 0, 1, 1] = np.inf
    varied, other = channel_statistics(array)
    assert (varied.not_finite, varied.low) == (1, -11)
    assert (other.flag, other.constant) == ("2 not finite", None)
    nothing = channel_statistics(np.full((1, 1, 1, 1), np.nan, np.float32))[0]
    assert nothing.flag == "nothing finite"
    assert nothing.constant is None


def test_a_histogram_counts_every_finite_value() -> None:
    info = histogram_info(output(), 0)
    assert (info.counts.sum(), len(info.edges)) == (24, BINS + 1)
    assert (info.edges[0], info.edges[-1]) == (-12, 11)
    bars = histogram_figure(info).data[0]
    np.testing.assert_array_equal(bars.y, info.counts)


@pytest.mark.parametrize("value", [0, 5, -0.25, 1e-45, 1e20, -1e20, 3.4028234e38])
def test_a_constant_channel_of_any_size_has_a_histogram(value: float) -> None:
    array = np.full((2, 3, 4, 1), value, np.float32)
    info = histogram_info(array, 0)
    assert (info.counts.sum(), np.count_nonzero(info.counts)) == (24, 1)
    assert (np.diff(info.edges) > 0).all()
    assert np.isfinite(info.edges).all()
    hit = int(info.counts.argmax())
    assert info.edges[hit] <= array[0, 0, 0, 0] <= info.edges[hit + 1]
    assert len(histogram_figure(info).layout.shapes) == (value == 0)
    assert channel_statistics(array)[0].deviation == pytest.approx(0, abs=abs(value) * 1e-6)


def test_the_largest_numbers_have_statistics_and_a_histogram() -> None:
    array = np.array([-3e38, 3e38, 1e38, 0], np.float32).reshape(1, 1, 4, 1)
    statistics = channel_statistics(array)[0]
    assert statistics.deviation == pytest.approx(np.std(array.astype(np.float64)))
    assert histogram_info(array, 0).counts.sum() == 4


def test_a_histogram_of_nothing_finite_is_empty() -> None:
    info = histogram_info(np.full((1, 1, 1, 1), np.nan, np.float32), 0)
    assert info.counts.sum() == 0
    assert len(histogram_figure(info).data) == 1


def test_zero_is_marked_where_it_is_in_sight_and_never_widens_the_axis() -> None:
    def lines(*values: float) -> int:
        array = np.array(values, np.float32).reshape(1, 1, -1, 1)
        return len(histogram_figure(histogram_info(array, 0)).layout.shapes)

    assert [lines(-1, 2), lines(0, 3), lines(100, 101), lines(-5, -4)] == [1, 1, 0, 0]


def test_costs_explain_themselves() -> None:
    rows = {row.quantity: row for row in cost_info(ConvSpec(1, 8, 3, stride=2, padding=1), (1, 94, 116, 98, 1))}
    assert rows["Parameters"].value == "224"
    assert rows["Parameters"].because == "8 out × 3 × 3 × 3 taps × 1 in + 8 biases"
    assert rows["MACs"].value == "28.9 M"
    assert rows["Input"].value == "4.08 MiB"
    assert rows["Weights"].value == "896 B"
    assert rows["Output"].value == "4.08 MiB"
    assert rows["Unfolded by nn.Conv3d at once"].value == "13.76 MiB"
    assert (rows["Type"].value, rows["Type"].because) == ("float32", "4 B a number")
    half = {row.quantity: row for row in cost_info(ConvSpec(1, 8, 3), (1, 9, 9, 9, 1), "bfloat16")}
    assert half["Type"].value == "bfloat16"
    assert half["Type"].because == "2 B a number in the layer; the sizes above are of float32"
    dilated = {row.quantity: row for row in cost_info(ConvSpec(1, 8, 3, dilation=2, bias=False), (1, 9, 9, 9, 1))}
    assert dilated["Unfolded by nn.Conv3d at once"].value == "none"
    assert dilated["Parameters"].because.endswith("1 in, no bias")
    batch = {row.quantity: row for row in cost_info(ConvSpec(1, 8, 3), (5, 9, 9, 9, 1))}
    assert batch["MACs"].value == "370,440"
    assert batch["MACs"].because == "5 volumes × 7 × 7 × 7 positions × 8 out × 3 × 3 × 3 taps × 1 in"
    assert batch["Unfolded by nn.Conv3d at once"].because.startswith("5 volumes × 7 × 7 × 7 positions × 3")
    with pytest.raises(ShapeError, match="depth: effective kernel 3 does not fit"):
        cost_info(ConvSpec(1, 8, 3), (1, 2, 9, 9, 1))


def test_quantities_to_read() -> None:
    assert [count(n) for n in (999_999, 10**9, 2 * 10**12)] == ["999,999", "1 G", "2 T"]
    assert [duration(ms) for ms in (0.04, 9.94, 999, 9_940, 99_400, 600_000)] == [
        "0.0 ms", "9.9 ms", "999 ms", "9.9 s", "99 s", "10 min",
    ]  # fmt: skip
