"""The value, and what is done to it: by hand, and by properties that hold for every volume."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import NORMALISATIONS, Volume, crop, normalise, reduce, remap, select_channel

AFFINE = np.array([[0, 0, -2.0, 90], [0, -3, 0, 80], [4, 0.5, 0, -70], [0, 0, 0, 1]])
VALUES = st.floats(-1e6, 1e6, width=32)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=VALUES)


def ramp(shape=(4, 5, 6, 2)):
    return Volume(np.arange(np.prod(shape)).reshape(shape), "ramp", (4, 3, 2), AFFINE, "int64", "made", ("a note",))


def world(volume, index):
    return volume.affine @ [*index, 1]


class TestVolume:
    def test_the_array_is_float32_contiguous_and_read_only(self):
        volume = Volume(np.asfortranarray(np.arange(24).reshape(2, 3, 4, 1)))
        assert volume.array.dtype == np.float32
        assert volume.array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            volume.array[0] = 1

    def test_nobody_can_change_it_from_outside(self):
        array = np.zeros((2, 2, 2, 1), np.float32)
        volume = Volume(array)
        digest = volume.digest
        array[:] = 1
        assert volume.array.sum() == 0
        assert Volume(volume.array).digest == digest

    def test_a_read_only_array_is_shared(self):
        array = np.zeros((2, 2, 2, 1), np.float32)
        array.flags.writeable = False
        assert Volume(array).array is array

    def test_the_digest_names_shape_and_values(self):
        zeros = [Volume(np.zeros(shape)).digest for shape in ((2, 3, 4, 1), (3, 2, 4, 1), (2, 3, 4, 2))]
        impulse = np.zeros((80, 80, 80, 1))
        moved = impulse.copy()
        impulse[40, 40, 40], moved[40, 40, 41] = 1, 1
        digests = [*zeros, Volume(impulse).digest, Volume(moved).digest]
        assert len(set(digests)) == 5
        assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
        assert Volume(impulse, name="other", notes=("x",)).digest == Volume(impulse).digest

    def test_sizes(self):
        volume = ramp()
        assert (volume.shape, volume.channels, volume.nbytes) == ((4, 5, 6, 2), 2, 960)

    def test_what_is_not_finite_is_kept_and_counted(self):
        array = np.zeros((2, 2, 2, 1))
        array[0, 0], array[1, 0, 0] = np.nan, -np.inf
        volume = Volume(array, notes=("first",))
        assert volume.notes == ("first", "2 NaN values", "1 infinite value")
        assert crop(volume, ((0, 0), (0, 0), (0, 0))).notes == ("first", "1 NaN value")

    def test_directions(self):
        assert ramp().directions == "SPL"
        assert Volume(np.zeros((1, 1, 1, 1)), affine=np.eye(4)).directions == "RAS"
        assert Volume(np.zeros((1, 1, 1, 1))).directions is None

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                {"array": np.zeros((2, 2, 2))},
                "array: (2, 2, 2) is not a volume; use four sizes (D, H, W, C), each >= 1.",
            ),
            ({"array": np.zeros((2, 0, 2, 1))}, "array: (2, 0, 2, 1) is not a volume"),
            ({"array": np.zeros((2, 2, 2, 1), complex)}, "array: complex128 values are not real numbers"),
            ({"spacing_mm": (1, 2)}, "spacing_mm: (1, 2) has 2 numbers; use three (D, H, W), or None."),
            ({"spacing_mm": (1, 0, 1)}, "spacing_mm: 0 mm along height is not a distance; use three numbers above 0"),
            ({"spacing_mm": (1, 1, np.nan)}, "spacing_mm: nan mm along width is not a distance"),
            (
                {"affine": np.eye(3)},
                "affine: an array (3, 3) that cannot be inverted is no affine; use a 4x4 one, or None.",
            ),
            ({"affine": np.zeros((4, 4))}, "affine: an array (4, 4) that cannot be inverted"),
            ({"affine": np.full((4, 4), np.nan)}, "affine: an array (4, 4) that cannot be inverted"),
        ],
    )
    def test_what_is_refused(self, fields, message):
        with pytest.raises(VolumeError, match=re.escape(message)):
            Volume(**{"array": np.zeros((2, 2, 2, 1)), **fields})


class TestRemap:
    def test_depth_and_height_change_places(self):
        volume = ramp()
        swapped = remap(volume, "HDWC")
        assert swapped.shape == (5, 4, 6, 2)
        assert swapped.array[3, 1, 2, 1] == volume.array[1, 3, 2, 1]
        assert swapped.spacing_mm == (3, 4, 2)
        np.testing.assert_array_equal(world(swapped, (3, 1, 2)), world(volume, (1, 3, 2)))
        assert (swapped.name, swapped.notes, swapped.source) == ("ramp", ("a note",), "made")

    def test_channels_in_space_have_no_place_in_the_world(self):
        volume = remap(ramp(), "CHWD")
        assert volume.shape == (2, 5, 6, 4)
        assert (volume.spacing_mm, volume.affine) == (None, None)

    @given(ARRAYS, st.permutations("DHWC"))
    def test_the_inverse_order_brings_it_back(self, array, order):
        volume = Volume(array)
        inverse = "".join("DHWC"[order.index(letter)] for letter in "DHWC")
        assert remap(remap(volume, "".join(order)), inverse).digest == volume.digest

    @given(st.permutations("DHW"), st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)))
    def test_voxels_stay_where_they_are_in_the_world(self, order, index):
        volume = ramp()
        changed = remap(volume, "".join(order) + "C")
        new = tuple(index["DHW".index(letter)] for letter in order)
        np.testing.assert_array_equal(world(changed, new), world(volume, index))
        np.testing.assert_array_equal(changed.array[new], volume.array[index])

    @pytest.mark.parametrize("axes", ["DHW", "DDWC", "dhwc", "DHWCN", "", None])
    def test_what_is_refused(self, axes):
        with pytest.raises(
            VolumeError, match=r"is not an order of D, H, W, C; use each letter once, as in 'HDWC'\.$"
        ) as error:
            remap(ramp(), axes)
        assert error.value.field == "axes"


class TestSelectChannel:
    def test_one_channel(self):
        volume = select_channel(ramp(), np.int64(1))
        np.testing.assert_array_equal(volume.array, ramp().array[..., 1:])
        assert volume.spacing_mm == (4, 3, 2)

    @pytest.mark.parametrize("channel", [2, -1, True, 0.0, "0"])
    def test_what_is_refused(self, channel):
        message = re.escape(f"channel: there is no channel {channel!r}; use 0 to 1.")
        with pytest.raises(VolumeError, match=message):
            select_channel(ramp(), channel)


class TestCrop:
    def test_both_ends_are_inside(self):
        volume = crop(ramp(), ((1, 2), (0, 4), (5, 5)))
        np.testing.assert_array_equal(volume.array, ramp().array[1:3, :, 5:6])

    @given(st.data())
    def test_voxels_keep_their_world_coordinates(self, data):
        volume = ramp()
        box = []
        for size in volume.shape[:3]:
            first = data.draw(st.integers(0, size - 1))
            box.append((first, data.draw(st.integers(first, size - 1))))
        part = crop(volume, box)
        assert part.shape == (*(last - first + 1 for first, last in box), 2)
        index = tuple(data.draw(st.integers(0, size - 1)) for size in part.shape[:3])
        old = tuple(at + first for at, (first, _) in zip(index, box, strict=True))
        np.testing.assert_array_equal(part.array[index], volume.array[old])
        np.testing.assert_allclose(world(part, index), world(volume, old))
        assert part.spacing_mm == volume.spacing_mm

    @pytest.mark.parametrize(
        ("box", "message", "axis"),
        [
            (((0, 4), (0, 4), (0, 5)), "depth: 0 to 4 is not inside 0 to 3; use 0 <= first <= last <= 3.", "D"),
            (((0, 3), (3, 2), (0, 5)), "height: 3 to 2 is not inside 0 to 4", "H"),
            (((0, 3), (0, 4), (-1, 5)), "width: -1 to 5 is not inside 0 to 5", "W"),
            (((0, 3), (0, 4), (0, 1.5)), "width: 0 to 1.5 is not inside 0 to 5", "W"),
            (((0, 3), (0, 4)), "crop: ((0, 3), (0, 4)) is not a box; use (first, last) for D, H and W.", None),
        ],
    )
    def test_what_is_refused(self, box, message, axis):
        with pytest.raises(VolumeError, match=re.escape(message)) as error:
            crop(ramp(), box)
        assert (error.value.field, error.value.axis) == ("crop", axis)


class TestNormalise:
    def test_none_is_the_same_volume(self):
        volume = ramp()
        assert normalise(volume, "none") is volume

    def test_by_hand(self):
        volume = Volume(np.array([2.0, 4, 6, 12]).reshape(4, 1, 1, 1))
        np.testing.assert_allclose(normalise(volume, "0-1").array.ravel(), [0, 0.2, 0.4, 1])
        scores = (np.array([2, 4, 6, 12]) - 6) / np.sqrt((16 + 4 + 0 + 36) / 4)
        np.testing.assert_allclose(normalise(volume, "z-score").array.ravel(), scores, rtol=1e-6)

    @pytest.mark.parametrize("how", ["0-1", "z-score"])
    def test_constant(self, how):
        volume = normalise(Volume(np.full((3, 3, 3, 1), 0.1)), how)
        assert not volume.array.any()
        assert volume.notes == ("constant at 0.1: normalised to zeros",)

    def test_what_is_not_finite_stays_and_counts_for_nothing(self):
        volume = Volume(np.array([np.nan, 0, 10, np.inf, -np.inf]).reshape(5, 1, 1, 1))
        np.testing.assert_array_equal(normalise(volume, "0-1").array.ravel(), [np.nan, 0, 1, np.inf, -np.inf])
        np.testing.assert_array_equal(normalise(volume, "z-score").array.ravel(), [np.nan, -1, 1, np.inf, -np.inf])

    @pytest.mark.parametrize("how", ["0-1", "z-score"])
    def test_constant_but_for_what_is_not_finite(self, how):
        volume = normalise(Volume(np.array([np.nan, 3, 3, np.inf]).reshape(4, 1, 1, 1)), how)
        np.testing.assert_array_equal(volume.array.ravel(), [np.nan, 0, 0, np.inf])

    def test_a_small_spread_on_a_large_mean(self):
        """Sums in float32 would lose it: 1e6 + 0 or 1, a million times."""
        array = np.full((100, 100, 100, 1), 1e6, np.float32)
        array[::2] += 1
        scores = normalise(Volume(array), "z-score").array
        assert set(np.unique(scores)) == {-1.0, 1.0}

    @given(ARRAYS)
    def test_the_range_and_the_moments(self, array):
        volume = Volume(array)
        unit = normalise(volume, "0-1").array
        if array.min() == array.max():
            assert not unit.any()
            return
        assert (unit.min(), unit.max()) == (0, 1)
        scores = normalise(volume, "z-score").array.astype(np.float64)
        np.testing.assert_allclose([scores.mean(), scores.std()], [0, 1], atol=1e-5)

    def test_what_is_refused(self):
        assert NORMALISATIONS == ("none", "0-1", "z-score")
        with pytest.raises(VolumeError, match=r"normalise: 'max' is not known; use one of 'none', '0-1', 'z-score'\.$"):
            normalise(ramp(), "max")
        with pytest.raises(
            VolumeError, match=r"normalise: there is no finite value to measure; leave the values as they are"
        ):
            normalise(Volume(np.full((1, 1, 1, 1), np.nan)), "0-1")


class TestReduce:
    def test_by_hand(self):
        volume = Volume(np.arange(27.0).reshape(3, 3, 3, 1), spacing_mm=(1, 2, 3), affine=AFFINE)
        half = reduce(volume, 2)
        assert half.array.ravel().tolist() == [(0 + 1 + 3 + 4 + 9 + 10 + 12 + 13) / 8]
        assert half.spacing_mm == (2, 4, 6)
        np.testing.assert_array_equal(world(half, (0, 0, 0)), world(volume, (0.5, 0.5, 0.5)))
        np.testing.assert_array_equal(world(half, (1, 2, 3)), world(volume, (2.5, 4.5, 6.5)))

    def test_by_one_is_nothing(self):
        volume = ramp()
        same = reduce(volume, 1)
        assert same.digest == volume.digest
        np.testing.assert_array_equal(same.affine, volume.affine)

    @given(st.integers(1, 4), VALUES, st.tuples(*[st.integers(4, 9)] * 3))
    def test_a_constant_stays(self, factor, value, sizes):
        volume = reduce(Volume(np.full((*sizes, 2), value, np.float32)), factor)
        assert volume.shape == (*(size // factor for size in sizes), 2)
        assert (volume.array == np.float32(value)).all()

    @given(hnp.arrays(np.float32, (5, 6, 7, 2), elements=VALUES), st.integers(1, 5))
    def test_every_block_is_its_mean(self, array, factor):
        reduced = reduce(Volume(array), factor).array
        for index in np.ndindex(*reduced.shape[:3]):
            block = array[tuple(slice(at * factor, (at + 1) * factor) for at in index)]
            expected = block.astype(np.float64).mean(axis=(0, 1, 2))
            np.testing.assert_allclose(reduced[index], expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("factor", [0, 5, True, 2.0])
    def test_what_is_refused(self, factor):
        message = f"factor: blocks of {factor!r} do not fit (4, 5, 6); use an integer from 1 to 4."
        with pytest.raises(VolumeError, match=re.escape(message)):
            reduce(ramp(), factor)
