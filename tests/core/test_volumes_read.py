"""Each reader against the format's own library, on real files and on files made here."""

import gzip
import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.bundled import FOLDER

MNI = FOLDER / "mri_mni152_t1_1mm.nii.gz"
EPI = FOLDER / "mri_nibabel_example4d.nii.gz"
DTI = FOLDER / "mri_papaya_dti_V1.nii.gz"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(compressed=True, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def nifti(array, affine=None, kind=nibabel.Nifti1Image, slope=None, units="mm"):
    image = kind(array, np.eye(4) if affine is None else affine, dtype=array.dtype)
    image.header.set_xyzt_units(units)
    if slope:
        image.header.set_slope_inter(*slope)
    return image.to_bytes()


class TestNumpy:
    @pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<u2", ">u2", "<i4", ">i8", "f2", ">f4", "<f8"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_dtype_and_order_reads_as_numpy_reads_it(self, dtype, order):
        array = np.asarray(np.arange(24).reshape(2, 3, 4) % 100, dtype=dtype, order=order)
        volume = read_volume(npy(array), name="a.npy")
        np.testing.assert_array_equal(volume.array[..., 0], np.load(io.BytesIO(npy(array))).astype(np.float32))
        assert volume.shape == (2, 3, 4, 1)
        assert volume.dtype == array.dtype.newbyteorder("=").name
        assert (volume.name, volume.notes, volume.spacing_mm, volume.affine) == ("a.npy", (), None, None)

    @given(
        hnp.arrays(st.sampled_from(["u1", ">i2", "f4", ">f8"]), hnp.array_shapes(min_dims=3, max_dims=4, max_side=4))
    )
    def test_any_array_comes_back(self, array):
        with np.errstate(over="ignore"):
            expected = array.astype(np.float32).reshape(*array.shape[:3], -1)
        np.testing.assert_array_equal(read_volume(npy(array)).array, expected)

    def test_four_axes_end_in_channels(self):
        array = np.arange(120.0).reshape(2, 3, 4, 5)
        assert (read_volume(npy(array)).array == array).all()

    def test_a_leading_batch_axis_is_dropped(self):
        volume = read_volume(npy(np.ones((1, 2, 3, 4, 5))))
        assert volume.shape == (2, 3, 4, 5)
        assert volume.notes == ("the batch axis of 1 was dropped",)

    def test_a_picture_is_one_plane(self):
        volume = read_volume(npy(np.arange(12).reshape(3, 4)))
        assert volume.array[0, 2, 3, 0] == 11
        assert volume.notes == ("a single plane, read as D = 1",)

    def test_what_float32_loses_is_said(self):
        large = np.full((2, 2, 2), 2**24 + 1, np.int32)
        assert read_volume(npy(large)).notes == ("integers above 2**24 lose precision in float32",)
        assert read_volume(npy(large - 1)).notes == ()
        huge = np.array([1e300, np.inf, 1.0]).reshape(3, 1, 1)
        assert read_volume(npy(huge)).notes == (
            "1 numbers beyond the range of float32 became infinite",
            "2 infinite values",
        )

    def test_only_what_can_be_nan_or_infinite_is_looked_through(self, monkeypatch):
        looked = []
        monkeypatch.setattr("conv3d_core.volumes.volume.non_finite", lambda array: looked.append(array) or ("seen",))
        bits = np.random.default_rng(0).integers(0, 256, (2, 2, 2), np.uint8)
        wide = np.full((2, 2, 2), 2**64 - 1, np.uint64)
        for integers in (bits > 9, bits, wide, wide.view(">i8"), bits.astype(">u2")):
            volume = read_volume(npy(integers))
            assert (volume.is_finite, looked) == (True, [])
            assert np.isfinite(volume.array).all()
        assert read_volume(npy(wide), part=Part(reduce=2)).array.item() == 2.0**64
        assert not looked
        scaled = nifti(bits.astype(np.int16), slope=(1e38, 0))
        for data in (npy(bits.astype("f2")), npy(bits.astype(">f8")), scaled):
            assert read_volume(data).notes[-1:] == ("seen",)
        changed = replace(read_volume(npy(bits)), array=np.full((1, 1, 1, 1), np.nan))
        assert changed.notes == ("seen",)

    def test_npz_of_one_array(self):
        volume = read_volume(npz(x=np.arange(8).reshape(2, 2, 2)))
        assert volume.array.ravel().tolist() == list(range(8))
        assert volume.source == "NumPy .npy 'x', int64 (2, 2, 2) 0 1 2 -> D H W = 0 1 2"

    @pytest.mark.parametrize("compressed", [True, False])
    def test_npz_takes_the_only_volume_or_the_member_asked_for(self, compressed):
        data = npz(compressed, scan=np.ones((2, 3, 4)), spacing=np.ones(3), mask=np.zeros((2, 3)))
        assert read_volume(data).shape == (2, 3, 4, 1)
        assert read_volume(data, member="mask").shape == (1, 2, 3, 1)

    def test_indian_pines(self):
        volume = read_volume(FOLDER / "hyperspectral_indian_pines_64x64x200.npz")
        with np.load(FOLDER / "hyperspectral_indian_pines_64x64x200.npz") as file:
            np.testing.assert_array_equal(volume.array[..., 0], file["volume"])


class TestNifti:
    @pytest.mark.parametrize("path", [MNI, EPI, DTI], ids=["mni", "epi", "dti"])
    def test_real_files_hold_nibabels_values_at_nibabels_places(self, path):
        volume = read_volume(path)
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        rng = np.random.default_rng(0)
        inverse = np.linalg.inv(image.affine)
        for _ in range(200):
            index = [int(rng.integers(size)) for size in volume.shape[:3]]
            world = volume.affine @ [*index, 1]
            x, y, z = np.rint(inverse @ world)[:3].astype(int)
            np.testing.assert_allclose(inverse @ world, [x, y, z, 1], atol=1e-4)
            np.testing.assert_array_equal(volume.array[tuple(index)], np.atleast_1d(values[x, y, z]))

    @pytest.mark.parametrize("path", [MNI, EPI, DTI], ids=["mni", "epi", "dti"])
    def test_whole_real_files_equal_nibabels_reorientation(self, path):
        volume = read_volume(path)
        image = nibabel.load(path)
        start = nibabel.io_orientation(image.affine)
        turned = image.as_reoriented(
            nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt("LPS"))
        )
        values = turned.get_fdata(dtype=np.float32)
        expected = np.moveaxis(values.reshape(*values.shape[:3], -1), (0, 1, 2), (2, 1, 0))
        np.testing.assert_array_equal(volume.array, expected)
        np.testing.assert_allclose(volume.spacing_mm, turned.header.get_zooms()[2::-1], rtol=1e-5)
        assert volume.directions == "SPL"

    def test_the_brain_lies_the_right_way(self):
        """Anatomy that does not depend on any library: the cerebellum and brain stem are low, and at the back."""
        brain = read_volume(MNI).array[..., 0] > 60
        d, h, _ = brain.shape
        low = brain[: d // 4]
        assert low[:, h // 2 :].sum() > 1.5 * low[:, : h // 2].sum()
        # The upper surface is one dome: the highest slice of tissue lies near the middle of the head.
        top = np.flatnonzero(brain.any(axis=(1, 2)))[-1]
        rows = np.flatnonzero(brain[top - 4].any(axis=1))
        assert h * 0.25 < rows.mean() < h * 0.75

    def test_left_and_right(self):
        """A voxel marked on the person's left is at large W, whatever way the file was stored."""
        for flip in (1, -1):
            array = np.zeros((5, 4, 3), np.float32)
            affine = np.diag([2.0 * flip, 3, 4, 1])
            array[0] = 1  # x = 0: leftmost if x rises to the right
            volume = read_volume(nifti(array, affine))
            assert volume.shape == (3, 4, 5, 1)
            assert volume.array[..., -1 if flip == 1 else 0, 0].all()
            assert volume.array.sum() == 12
            assert volume.spacing_mm == (4, 3, 2)

    @given(st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1])] * 3), st.integers(0, 2**32 - 1))
    def test_every_storage_order_gives_the_same_volume(self, order, signs, seed):
        """The same world sampled in 48 storage orders is read as the same (D, H, W) and the same affine."""
        array = np.random.default_rng(seed).random((3, 4, 5)).astype(np.float32)
        image = nibabel.Nifti1Image(array, np.array([[2.0, 0, 0, -7], [0, 3, 0, 5], [0, 0, 4, 1], [0, 0, 0, 1]]))
        stored = image.as_reoriented(np.array(list(zip(order, signs, strict=True)), float))
        first, second = read_volume(image.to_bytes()), read_volume(stored.to_bytes())
        np.testing.assert_array_equal(first.array, second.array)
        np.testing.assert_allclose(first.affine, second.affine, atol=1e-6)
        assert first.spacing_mm == (4, 3, 2)

    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_slope_and_intercept(self, kind, zipped):
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        data = bytearray(nifti(array, np.diag([-1.0, -1, 1, 1]), kind))
        header = kind.header_class(bytes(data[: kind.header_class.sizeof_hdr]))
        header["scl_slope"], header["scl_inter"] = 0.1, -3
        data[: header.sizeof_hdr] = header.binaryblock
        expected = nibabel.Nifti1Image.get_fdata(kind.from_bytes(bytes(data)))
        volume = read_volume(gzip.compress(data, mtime=0) if zipped else bytes(data))
        np.testing.assert_allclose(volume.array[..., 0], expected.transpose(2, 1, 0), rtol=1e-6)
        assert volume.array[0, 0, 0, 0] == -3
        assert volume.dtype == "int16"
        assert volume.source.startswith("NIfTI-1" if kind is nibabel.Nifti1Image else "NIfTI-2")

    def test_big_endian(self):
        array = np.arange(24, dtype=">i2").reshape(2, 3, 4)
        header = nibabel.Nifti1Header(endianness=">")
        header.set_data_dtype(">i2")
        data = nibabel.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]), header).to_bytes()
        assert data[:4] == b"\0\0\x01\x5c"
        np.testing.assert_array_equal(read_volume(data).array[..., 0], array.transpose(2, 1, 0))

    def test_time_and_vectors_become_channels(self):
        lps = np.diag([-1.0, -1, 1, 1])
        array = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
        four, five = read_volume(nifti(array, lps)), read_volume(nifti(array[:, :, :, None], lps))
        np.testing.assert_array_equal(four.array, array.transpose(2, 1, 0, 3))
        np.testing.assert_array_equal(five.array, four.array)
        assert "D H W C = z y x t, LPS" in four.source
        assert "D H W C = z y x v, LPS" in five.source

    def test_units_are_millimetres(self):
        array = np.zeros((2, 3, 4), np.uint8)
        assert read_volume(nifti(array, np.diag([500.0, 500, 500, 1]), units="micron")).spacing_mm == (0.5, 0.5, 0.5)
        assert read_volume(nifti(array, np.diag([1.0, 1, 1, 1]), units="meter")).spacing_mm == (1000, 1000, 1000)

    def test_oblique_is_kept_and_said(self):
        assert read_volume(EPI).notes == ("oblique affine (9.3 degrees) kept, not resampled",)

    def test_an_affine_that_is_none_is_not_used(self):
        data = bytearray(nifti(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)))
        header = nibabel.Nifti1Header(bytes(data[:348]))
        header["srow_x"] = header["srow_y"] = [1, 1, 0, 0]
        data[:348] = header.binaryblock
        volume = read_volume(bytes(data))
        assert (volume.affine, volume.spacing_mm) == (None, None)
        assert volume.notes == ("its affine cannot be used: axes are read as stored, without spacing",)
        assert volume.array[3, 2, 1, 0] == 23

    def test_no_orientation_is_said(self):
        image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), None)
        assert read_volume(image.to_bytes()).notes == (
            "the header names no orientation (sform and qform code 0); left and right may be swapped",
        )

    def test_several_gzip_members(self):
        data = nifti(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.diag([-1.0, -1, 1, 1]))
        parts = (
            gzip.compress(data[:300], mtime=0)
            + gzip.compress(data[300:360], mtime=0)
            + gzip.compress(data[360:], mtime=0)
        )
        assert read_volume(parts).digest == read_volume(data).digest


class TestTiff:
    def test_stardist_nuclei(self):
        path = FOLDER / "micro_stardist_nuclei3d.tif"
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array[..., 0], tifffile.imread(path))
        assert (volume.shape, volume.dtype, volume.spacing_mm) == ((31, 61, 57, 1), "uint16", None)

    @pytest.mark.parametrize(
        "options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}, {"bigtiff": True}]
    )
    def test_plain_stacks(self, options):
        array = np.random.default_rng(0).integers(0, 999, (5, 20, 30)).astype(np.uint16)
        np.testing.assert_array_equal(read_volume(tiff(array, **options)).array[..., 0], array)

    def test_imagej_axes_and_spacing(self):
        array = np.random.default_rng(0).integers(0, 255, (4, 2, 6, 7)).astype(np.uint8)
        metadata = {"axes": "ZCYX", "spacing": 2.5, "unit": "um"}
        volume = read_volume(tiff(array, imagej=True, resolution=(2.0, 4.0), metadata=metadata))
        np.testing.assert_array_equal(volume.array, array.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(volume.spacing_mm, (0.0025, 0.00025, 0.0005))  # resolution is (x, y) per unit
        assert volume.source == "ImageJ TIFF, uint8 (4, 2, 6, 7) Z C Y X -> D H W C = Z Y X C"

    def test_imagej_micro_sign(self):
        options = {
            "imagej": True,
            "resolution": (2.0, 2.0),
            "metadata": {"axes": "ZYX", "spacing": 1, "unit": "\\u00B5m"},
        }
        volume = read_volume(tiff(np.zeros((2, 3, 4), np.uint8), **options))
        np.testing.assert_allclose(volume.spacing_mm, (0.001, 0.0005, 0.0005))

    def test_imagej_without_a_unit_has_no_spacing(self):
        data = tiff(np.zeros((2, 3, 4), np.uint8), imagej=True, metadata={"axes": "ZYX", "spacing": 1})
        assert read_volume(data).spacing_mm is None

    def test_ome_axes_and_spacing(self):
        array = np.random.default_rng(0).random((3, 4, 6, 7)).astype(np.float32)
        metadata = {
            "axes": "CZYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.25,
            "PhysicalSizeZ": 3,
            "PhysicalSizeZUnit": "nm",
        }
        volume = read_volume(tiff(array, ome=True, metadata=metadata))
        np.testing.assert_array_equal(volume.array, array.transpose(1, 2, 3, 0))
        np.testing.assert_allclose(volume.spacing_mm, (3e-6, 0.00025, 0.0005))

    def test_a_colour_picture_is_one_plane_of_three_channels(self):
        array = np.random.default_rng(0).integers(0, 255, (6, 7, 3)).astype(np.uint8)
        volume = read_volume(tiff(array, photometric="rgb"))
        np.testing.assert_array_equal(volume.array, array[None])
        assert volume.notes == ("a single plane, read as D = 1",)

    def test_time_beside_depth_and_colour_joins_the_channels(self):
        array = np.random.default_rng(0).integers(0, 255, (2, 4, 3, 6, 7)).astype(np.uint8)
        volume = read_volume(tiff(array, imagej=True, metadata={"axes": "TZCYX"}))
        np.testing.assert_array_equal(volume.array, array.transpose(1, 3, 4, 0, 2).reshape(4, 6, 7, 6))
        assert volume.notes == ("C runs over T x C: 6 channels",)

    def test_the_only_stack_of_several_series(self):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(np.ones((2, 5, 6), np.uint8))
            writer.write(np.zeros((7, 8), np.float32))
        assert read_volume(file.getvalue()).shape == (2, 5, 6, 1)
        assert read_volume(file.getvalue(), member="series 1").shape == (1, 7, 8, 1)


class TestDoor:
    def test_content_decides_and_not_the_name(self):
        data = nifti(np.zeros((2, 3, 4), np.uint8))
        assert read_volume(data, name="picture.png").source.startswith("NIfTI-1")

    def test_a_path_gives_its_name(self, tmp_path):
        path = tmp_path / "scan.npy"
        path.write_bytes(npy(np.zeros((2, 3, 4))))
        assert read_volume(path).name == "scan.npy"
        assert read_volume(str(path), name="other").name == "other"

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_bytes(self, kind):
        assert read_volume(kind(npy(np.zeros((2, 3, 4))))).shape == (2, 3, 4, 1)

    @pytest.mark.parametrize(
        ("given_name", "expected"),
        [
            ("../../etc/a.npy", "a.npy"),
            ("C:\\x\\b.npy", "b.npy"),
            ("a\n\x1b[2J\u202eb", "a[2Jb"),
            ("x" * 99, "x" * 77 + "..."),
        ],
    )
    def test_names_are_fit_to_be_shown(self, given_name, expected):
        assert read_volume(npy(np.zeros((2, 3, 4))), name=given_name).name == expected


def test_entries_of_one_name_get_numbers_and_no_two_the_same():
    content = npy(np.ones((2, 2, 2)))
    files = [("a.npy", content), ("a.npy", content), ("a (1).npy", content)]
    assert sorted(entry.name for entry in inspect_volume(files)) == ["a (1)", "a (2)", "a (3)"]


def test_what_a_mean_or_a_scale_makes_of_large_numbers_is_said_as_it_is():
    large = np.full((2, 2, 2), 1e300)
    (note, _) = read_volume(npy(large), part=Part(reduce=2)).notes
    assert note == "1 numbers beyond the range of float32 became infinite"
    integers = npy(np.full((2, 2, 2), 2**30, np.int32))
    assert read_volume(integers).notes == ("integers above 2**24 lose precision in float32",)
    assert read_volume(integers, part=Part(reduce=2)).notes == ()
