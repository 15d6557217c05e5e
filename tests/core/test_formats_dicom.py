"""DICOM, against GDCM (through SimpleITK), pydicom and the same scan as NIfTI; files are made here with pydicom."""

import gzip
import io
import struct
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Volume, inspect_volume, members, read_volume
from conv3d_core.volumes.bundled import FOLDER
from conv3d_core.volumes.entry import Part
from conv3d_core.volumes.formats import dicom_header, dicom_pixels
from conv3d_core.volumes.formats.dicom import FORMAT
from conv3d_core.volumes.members import Member

REAL = FOLDER / "dicom_mr_brain_anon_20slices.zip"
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"

CT, MR, US, ENHANCED = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.4.1",
)
C, S = np.cos(0.3), np.sin(0.3)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial, feet up": (1, 0, 0, 0, -1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (C, S, 0, 0, 0, -1),
    "doubly oblique": (C, S * C, S * S, -S, C * C, C * S),
}
ROWS, COLUMNS = 5, 4
ROW_SPACING, COLUMN_SPACING = 1.5, 0.75


def numbers(shape=(6, ROWS, COLUMNS), dtype=np.int16, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(max(info.min, -3000), min(info.max, 3000), shape).astype(dtype)


def picture(array, syntax=ExplicitVRLittleEndian, **elements):
    """A data set with these pixels: (rows, columns), (rows, columns, 3), and a leading axis of frames."""
    array = np.asarray(array)
    colour = array.shape[-1] == 3 and array.ndim >= 3
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", CT)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID", "1.2.3")
    ds.Modality = "CT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.5", "1.2.5.1"
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    bits = 8 * array.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    stored = array.astype(array.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else array
    data = stored.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def packed(ds):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are wrong on purpose
        ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def placed(array, orientation="axial", step=2.5, origin=(-10.0, 20.0, 30.0), positions=None, **elements):
    """A data set for each plane, the first one at the origin and the others along the normal."""
    cosines = np.array(ORIENTATIONS[orientation], float)
    normal = np.cross(cosines[:3], cosines[3:])
    sets = []
    for index, plane in enumerate(array):
        along = positions[index] if positions is not None else step * index
        ds = picture(plane, **{"SOPInstanceUID": f"1.2.3.{index + 1}", **elements})
        ds.ImagePositionPatient = [f"{number:.10g}" for number in np.array(origin) + along * normal]
        ds.ImageOrientationPatient = [f"{number:.10g}" for number in cosines]
        ds.PixelSpacing = [ROW_SPACING, COLUMN_SPACING]
        ds.SliceThickness = 99
        ds.InstanceNumber = index + 1
        sets.append(ds)
    return sets


def shuffled(sets, seed=3):
    """As files whose order and names mean nothing."""
    order = np.random.default_rng(seed).permutation(len(sets))
    return [(f"{rank}.bin", packed(sets[index])) for rank, index in enumerate(order)]


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def by_hand(orientation, step, origin):
    """The affine by the definition of the attributes: index along (x, y, z) -> mm, RAS+."""
    cosines = np.array(ORIENTATIONS[orientation], float)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * COLUMN_SPACING
    affine[:3, 1] = cosines[3:] * ROW_SPACING
    affine[:3, 2] = np.cross(cosines[:3], cosines[3:]) * step
    affine[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ affine


def assert_same_world(volume, image):
    """Each voxel of SimpleITK's image is at the same place in the world here, with the same value."""
    inverse = np.linalg.inv(volume.affine)
    values = SimpleITK.GetArrayFromImage(image)
    values = values.reshape(values.shape[-3:])
    for z, y, x in np.ndindex(values.shape):
        index = (x, y, z, 0)[: image.GetDimension()]
        point = image.TransformIndexToPhysicalPoint(index)[:3]
        d, h, w, _ = inverse @ [-point[0], -point[1], point[2], 1]
        np.testing.assert_allclose([d, h, w], np.rint([d, h, w]), atol=1e-3)
        assert volume.array[int(np.rint(d)), int(np.rint(h)), int(np.rint(w)), 0] == values[z, y, x]
    assert values.size == volume.array.size


def series_of(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def written(folder, files):
    for name, data in files:
        (folder / name).write_bytes(data)
    return folder


class TestTheRealSeries:
    def test_it_is_gdcms(self, tmp_path):
        with zipfile.ZipFile(REAL) as archive:
            files = [(f"{9999 - index}", archive.read(name)) for index, name in enumerate(archive.namelist())]
        volume = read_volume(REAL)
        image = series_of(written(tmp_path, files))
        np.testing.assert_array_equal(volume.array[..., 0], SimpleITK.GetArrayFromImage(image))
        np.testing.assert_allclose(volume.affine[:3, 3] * [-1, -1, 1], image.GetOrigin())
        np.testing.assert_allclose(volume.spacing_mm[:0:-1], image.GetSpacing()[:2], rtol=1e-6)
        assert volume.shape == (20, 256, 256, 1)
        assert volume.directions == "SPL"

    def test_its_planes_are_7_mm_apart_and_5_mm_thick(self):
        volume = read_volume(REAL)
        # 131.8 mm up and 17.9 mm forward from the first plane to the last, along the normal (0, -0.134158, 0.99096).
        along = 131.8 * 0.990960 + 17.9 * 0.134158
        np.testing.assert_allclose(volume.spacing_mm, (along / 19, 0.859375, 0.859375), rtol=1e-6)
        assert volume.notes == ("oblique affine (7.7 degrees) kept, not resampled",)
        assert volume.source == ("DICOM MR 'FSE PD AXIAL OBL', int16 (20, 256, 256) z y x -> D H W = z y x, LPS")


class TestSeries:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_values_order_and_place_are_gdcms(self, orientation, tmp_path):
        files = shuffled(placed(numbers(), orientation))
        assert_same_world(read_volume(files), series_of(written(tmp_path, files)))

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_the_same_scan_as_nifti_reads_the_same(self, orientation):
        array = numbers()
        affine = by_hand(orientation, 2.5, (-10, 20, 30))
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=np.int16)
        one, other = read_volume(shuffled(placed(array, orientation))), read_volume(image.to_bytes())
        np.testing.assert_array_equal(one.array, other.array)
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
        np.testing.assert_allclose(one.spacing_mm, other.spacing_mm, rtol=1e-5)
        assert one.source.rsplit("->")[1] == other.source.rsplit("->")[1]

    def test_axial_by_hand(self):
        array = numbers()
        volume = read_volume(shuffled(placed(array)))
        np.testing.assert_array_equal(volume.array[..., 0], array)
        assert volume.spacing_mm == (2.5, ROW_SPACING, COLUMN_SPACING)
        # d rises up, h to the back, w to the left.
        expected = [[0, 0, -0.75, 10], [0, -1.5, 0, -20], [2.5, 0, 0, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.affine, expected)
        assert (volume.notes, volume.directions) == ((), "SPL")

    def test_numbers_and_names_mean_nothing(self):
        array = numbers()
        sets = placed(array)
        for ds, number in zip(sets, (4, 1, 6, 2, 5, 3), strict=True):
            ds.InstanceNumber = number
        np.testing.assert_array_equal(read_volume(shuffled(sets)).array[..., 0], array)

    def test_falling_positions(self):
        array = numbers()
        volume = read_volume(shuffled(placed(array, step=-2.5)))
        np.testing.assert_array_equal(volume.array[..., 0], array[::-1])
        assert volume.spacing_mm[0] == 2.5

    def test_one_file_in_gzip(self):
        data = packed(placed(numbers())[0])
        assert read_volume(gzip.compress(data)).digest == read_volume(data).digest

    def test_from_a_zip_and_a_folder(self, tmp_path):
        array = numbers()
        files = [
            (f"a/b/{name}", data) for name, data in shuffled(placed(array, SeriesDescription="Head", SeriesNumber=3))
        ]
        volume = read_volume(zipped(files))
        np.testing.assert_array_equal(volume.array[..., 0], array)
        assert volume.source.startswith("DICOM CT 'Head, series 3', int16 (6, 5, 4)")
        assert read_volume(written(tmp_path, shuffled(placed(array)))).digest == volume.digest

    @pytest.mark.parametrize("orientation", ["axial", "prone", "sagittal"])
    def test_a_part_is_a_crop(self, orientation):
        sets = placed(numbers((8, 6, 7)), orientation)
        for files in (shuffled(sets), zipped(shuffled(sets))):
            whole = read_volume(files)
            box = ((1, 4), (2, 3), (0, 4))
            part = read_volume(files, part=Part(box=box))
            np.testing.assert_array_equal(part.array, whole.array[1:5, 2:4, 0:5])
            np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [1, 2, 0, 1])
            half = read_volume(files, part=Part(reduce=2)).array[1, 1, 1, 0]
            np.testing.assert_allclose(half, whole.array[2:4, 2:4, 2:4].mean(), rtol=1e-6)

    def test_one_plane_alone_is_as_thick_as_it_says(self):
        volume = read_volume(packed(placed(numbers())[0]))
        assert (volume.shape, volume.spacing_mm) == ((1, 5, 4, 1), (99, 1.5, 0.75))
        assert volume.notes == ("a single plane",)
        ds = placed(numbers())[0]
        del ds.SliceThickness
        volume = read_volume(packed(ds))
        assert volume.spacing_mm == (1, 1.5, 0.75)
        assert volume.notes == ("its thickness is not given: 1 mm was taken", "a single plane")

    def test_missing_planes_are_counted(self):
        sets = placed(numbers((9, ROWS, COLUMNS)))
        volume = read_volume(shuffled([sets[index] for index in (0, 1, 2, 3, 6, 8)]))
        assert volume.spacing_mm[0] == 2.5
        assert volume.notes == (
            "3 planes are missing (2 between 37.5 and 45.0 mm, 1 between 45.0 and 50.0 mm): what lies behind a gap is "
            "closer here than in the world",
        )
        assert read_volume(shuffled(sets[:4] + sets[5:])).notes[0].startswith("1 plane is missing (1 between 37.5 and")

    def test_uneven_planes_are_said(self):
        volume = read_volume(shuffled(placed(numbers((4, ROWS, COLUMNS)), positions=(0, 2, 4.5, 6))))
        assert volume.spacing_mm[0] == 2
        assert volume.notes == (
            "planes are 1.5 to 2.5 mm apart: read as evenly spaced by 2 mm, which puts them up to 0.5 mm off",
        )
        assert read_volume(shuffled(placed(numbers((3, ROWS, COLUMNS)), positions=(0, 2, 4.01)))).notes == ()

    def test_a_tilted_gantry(self):
        sets = placed(numbers((4, ROWS, COLUMNS)))
        for index, ds in enumerate(sets):
            ds.ImagePositionPatient = [-10, 20 + index, 30 + 2 * index]
        volume = read_volume(shuffled(sets))
        assert volume.spacing_mm == (2, 1.5, 0.75)
        np.testing.assert_allclose(volume.affine[:3, 0], (0, -1, 2))
        assert volume.notes == (
            "planes are shifted against each other (by 26.6 degrees, as of a tilted gantry): kept",
            "oblique affine (26.6 degrees) kept, not resampled",
        )

    def test_planes_beside_each_other(self):
        sets = placed(numbers((4, ROWS, COLUMNS)))
        sets[1].ImagePositionPatient = [-5, 20, 32.5]
        assert read_volume(shuffled(sets)).notes == ("planes lie up to 5 mm aside of each other: not resampled",)

    def test_without_positions_the_number_decides(self):
        sets = placed(numbers())
        for ds, number in zip(sets, (4, 1, 6, 2, 5, 3), strict=True):
            ds.InstanceNumber = number
            del ds.ImagePositionPatient
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array[..., 0], numbers()[[1, 3, 5, 0, 4, 2]])
        assert volume.spacing_mm is None
        assert volume.notes == ("its planes have no positions: ordered by instance number",)

    @pytest.mark.parametrize(
        "elements",
        [
            {"ImagePositionPatient": [1e30, 0, 0]},
            {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
            {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        ],
        ids=["far away", "a line", "nothing"],
    )
    def test_a_place_that_is_none(self, elements):
        sets = placed(numbers())
        for ds in sets:
            for name, value in elements.items():
                setattr(ds, name, value)
        assert read_volume(shuffled(sets)).notes == ("its planes have no positions: ordered by instance number",)

    def test_without_pixel_spacing_nothing_is_turned(self):
        sets = placed(numbers(), "prone")
        for ds in sets:
            del ds.PixelSpacing
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array[..., 0], numbers())
        assert volume.affine is None
        assert volume.notes == ("the distance of its pixels is not given: axes are read as stored, without spacing",)

    def test_copies_are_left_out(self):
        files = shuffled(placed(numbers()))
        volume = read_volume([*files, ("again", files[0][1])])
        np.testing.assert_array_equal(volume.array[..., 0], numbers())
        assert volume.notes == ("left out: 1 copy of another file",)


class TestSeveral:
    def test_each_series_is_an_entry(self):
        one = placed(numbers(), SeriesDescription="T1 é", SpecificCharacterSet="ISO_IR 100", SeriesNumber=1)
        two = placed(numbers(seed=1), SeriesInstanceUID="1.9", SeriesNumber=2)
        three = placed(numbers(seed=2), SeriesInstanceUID="1.8", SeriesNumber=2)
        files = shuffled(one + two + three)
        entries = inspect_volume(files)
        assert sorted(entry.name for entry in entries) == ["CT series 2 (1)", "CT series 2 (2)", "T1 é, series 1"]
        np.testing.assert_array_equal(read_volume(files, member="T1 é, series 1").array[..., 0], numbers())
        with pytest.raises(VolumeError, match=r"member: 3 of its 3 arrays could be the volume; name one of '"):
            read_volume(files)

    def test_what_does_not_fit_together_is_not_mixed(self):
        sets = placed(numbers()) + placed(numbers(), "coronal") + placed(numbers((3, 7, 9)))
        sets += placed(numbers(dtype=np.uint16, seed=3), positions=range(100, 106))
        for index, ds in enumerate(sets):
            ds.SOPInstanceUID = f"1.2.{index}"
        entries = {entry.name: entry.shape for entry in inspect_volume(shuffled(sets))}
        assert entries == {
            "CT, 4 x 5, int16, axial": (6, 5, 4),
            "CT, 4 x 5, int16, coronal": (6, 5, 4),
            "CT, 9 x 7, int16, axial": (3, 7, 9),
            "CT, 4 x 5, uint16, axial": (6, 5, 4),
        }

    def test_files_without_an_image_are_left_out(self):
        report = Dataset()
        report.file_meta = FileMetaDataset()
        report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        report.SOPClassUID, report.SOPInstanceUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.11", "1.7", "SR"
        directory = (SHIPPED / "dicomdirtests" / "DICOMDIR").read_bytes()
        files = [*shuffled(placed(numbers())), ("report", packed(report)), ("zz", directory), ("zzz.txt", b"hello")]
        volume = read_volume(files)
        np.testing.assert_array_equal(volume.array[..., 0], numbers())
        assert volume.notes == (
            "left out: 'report' (SR, without an image), 'zz' (a DICOMDIR, a directory of other files)",
            "left out, not of a format that is read here: zzz.txt",
        )
        with pytest.raises(VolumeError, match=r"file: it holds no image: 'report' \(SR, without an image\); use the"):
            read_volume(packed(report), name="report")

    def test_a_file_with_a_damaged_header_is_left_out_and_said(self):
        files = shuffled(placed(numbers()))
        volume = read_volume([*files, ("zz", files[0][1][:400])])
        assert volume.notes == ("left out: 'zz' (it is cut off inside its DICOM header)",)

    def test_a_file_whose_pixels_are_cut_off_is_not(self):
        files = shuffled(placed(numbers()))
        files[2] = ("2.bin", files[2][1][:-2])
        with pytest.raises(VolumeError, match=r"file: '2.bin': it is cut off: its header declares .* bytes and .* are"):
            read_volume(files)
        assert inspect_volume(files)[0].refusal is not None


class TestFourDimensions:
    def channels(self, count, **keys):
        """Data sets of so many planes at each position, and the array (channel, plane, row, column)."""
        array = numbers((count, 3, ROWS, COLUMNS))
        sets = []
        for channel in range(count):
            for ds in placed(array[channel], **{name: value[channel] for name, value in keys.items()}):
                ds.SOPInstanceUID = f"1.2.{len(sets) + 1}"
                ds.InstanceNumber = 99 - len(sets)
                sets.append(ds)
        return sets, array

    @pytest.mark.parametrize(
        ("keys", "order", "axis", "note"),
        [
            ({"TemporalPositionIdentifier": (2, 3, 1)}, (2, 0, 1), "time", "C is time: 1, 2, 3"),
            ({"EchoTime": (10.5, 30, 20)}, (0, 2, 1), "echo time", "C is echo time: 10.5, 20, 30"),
            ({"AcquisitionNumber": (1, 3, 2)}, (0, 2, 1), "acquisition", "C is acquisition: 1, 2, 3"),
            ({"DiffusionBValue": (0.0, 1000.0, 500.0)}, (0, 2, 1), "b-value", "C is b-value: 0, 500, 1000"),
            (
                {"ImageType": (["O", "P", "M"], ["O", "P", "P"], ["O", "P", "A"])},
                (2, 0, 1),
                "image type",
                "C is image type: O P A, O P M, O P P",
            ),
            (
                {"EchoTime": (1, 2, 2), "ImageType": (["O", "P"], ["O", "P"], ["O", "M"])},
                (0, 2, 1),
                "echo time*image type",
                "C is echo time x image type: 1 O P, 2 O M, 2 O P",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_several_planes_at_each_position_are_channels(self, keys, order, axis, note):
        sets, array = self.channels(3, **keys)
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array, array[list(order)].transpose(1, 2, 3, 0))
        assert volume.notes == (note,)
        assert f"D H W C = z y x {axis}" in volume.source
        part = read_volume(shuffled(sets), part=Part(channel=1, box=((1, 2), (0, 4), (2, 3))))
        np.testing.assert_array_equal(part.array, volume.array[1:3, :, 2:4, 1:2])

    def test_times_that_differ_from_plane_to_plane_give_an_order(self):
        sets, array = self.channels(2)
        for index, ds in enumerate(sets):
            ds.TriggerTime = 500 - 10 * index
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array, array[::-1].transpose(1, 2, 3, 0))
        assert volume.notes == ("2 planes at each position are told apart only by their trigger time: C is its order",)

    def test_only_the_number_differs(self):
        sets, array = self.channels(2)
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array, array[::-1].transpose(1, 2, 3, 0))
        assert volume.notes == (
            "2 planes at each position are told apart only by their instance number: C is its order",
        )

    def test_different_counts_are_separate_volumes(self):
        sets, array = self.channels(2, AcquisitionNumber=(4, 5))
        files = shuffled(sets[:-1])
        assert {entry.name: entry.shape for entry in inspect_volume(files)} == {
            "CT, acquisition 4": (3, ROWS, COLUMNS),
            "CT, acquisition 5": (2, ROWS, COLUMNS),
        }
        np.testing.assert_array_equal(read_volume(files, member="CT, acquisition 5").array[..., 0], array[1, :2])

    def test_different_counts_that_nothing_tells_apart(self):
        sets, _ = self.channels(2)
        with pytest.raises(
            VolumeError, match=r"file: its positions have 1 to 2 planes each, and nothing in the headers"
        ):
            read_volume(shuffled(sets[:-1]))

    def test_each_channel_of_colour_and_time(self):
        array = numbers((2, 3, ROWS, COLUMNS, 3), np.uint8)
        sets = [
            ds
            for time in (0, 1)
            for ds in placed(array[time], TemporalPositionIdentifier=time + 1, SOPInstanceUID=f"1.{time + 1}")
        ]
        volume = read_volume(shuffled(sets))
        np.testing.assert_array_equal(volume.array, array.transpose(1, 2, 3, 0, 4).reshape(3, ROWS, COLUMNS, 6))
        assert "C runs over time x rgb: 6 channels" in volume.notes


class TestValues:
    def test_slope_and_intercept(self):
        volume = read_volume(shuffled(placed(numbers(), RescaleSlope=0.5, RescaleIntercept=-1024)))
        np.testing.assert_array_equal(volume.array[..., 0], numbers() * 0.5 - 1024)
        assert volume.dtype == "int16"
        assert volume.notes == ()

    def test_slopes_that_differ_from_plane_to_plane(self, tmp_path):
        sets = placed(numbers())
        for index, ds in enumerate(sets):
            ds.RescaleSlope, ds.RescaleIntercept = 0.25 * (index + 1), -index
        files = shuffled(sets)
        volume = read_volume(files)
        scale = np.arange(6)[:, None, None]
        np.testing.assert_array_equal(volume.array[..., 0], numbers() * 0.25 * (scale + 1) - scale)
        assert volume.notes == ("slope and intercept differ from plane to plane: each was applied to its own",)
        np.testing.assert_array_equal(
            read_volume(files, part=Part(box=((4, 4), (0, 4), (1, 2)))).array, volume.array[4:5, :, 1:3]
        )

    def test_white_is_zero(self):
        array = numbers(dtype=np.uint16) & 0xFFF
        elements = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
        volume = read_volume(shuffled(placed(array, **elements, RescaleSlope=2, RescaleIntercept=1)))
        np.testing.assert_array_equal(volume.array[..., 0], 2.0 * (4095 - array) + 1)
        assert volume.notes == ("in the file white is the smallest value (MONOCHROME1); inverted",)
        signed = read_volume(shuffled(placed(numbers(), PhotometricInterpretation="MONOCHROME1")))
        np.testing.assert_array_equal(signed.array[..., 0], -1.0 - numbers())

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_signs_of_12_bits_and_what_lies_beside_them(self, syntax):
        array = numbers((1, 4, 6)) % 4096 - 2048
        stored = ((array & 0xFFF) << 2 | 0x4001).astype(np.uint16)  # an overlay in the highest and lowest bits
        ds = placed(stored, BitsStored=12, HighBit=13, PixelRepresentation=1, syntax=syntax)[0]
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array[..., 0], array)

    @pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
    def test_floating_point(self, keyword):
        array = np.random.default_rng(0).random((5, 4)).astype(np.float32 if keyword[0] == "F" else np.float64)
        ds = picture(np.zeros((5, 4), np.uint16))
        for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del ds[name]
        ds.BitsAllocated = 8 * array.itemsize
        setattr(ds, keyword, array.tobytes())
        np.testing.assert_array_equal(read_volume(packed(ds)).array[0, ..., 0], array.astype(np.float32))

    @pytest.mark.parametrize("bits", [8, 16])
    def test_palette(self, bits):
        index = numbers((5, 4), np.uint8) % 9
        ds = picture(index, PhotometricInterpretation="PALETTE COLOR")
        tables = numbers((3, 10), np.uint8 if bits == 8 else np.uint16)
        for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [10, 2, bits])
            setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())
        volume = read_volume(packed(ds))
        expected = tables[:, np.clip(index.astype(int) - 2, 0, 9)].transpose(1, 2, 0)
        np.testing.assert_array_equal(volume.array[0], expected)
        assert "colours of a palette were looked up: C is red, green, blue" in volume.notes

    def test_a_table_in_place_of_a_slope(self):
        item = Dataset()
        item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [4, -1, 16], struct.pack("<4H", 5, 60, 700, 8000), "US"
        ds = picture(np.array([[-9, -1, 0], [1, 2, 99]], np.int16), ModalityLUTSequence=Sequence([item]))
        item["LUTDescriptor"].VR = "SS"
        volume = read_volume(packed(ds))
        assert volume.array.ravel().tolist() == [5, 5, 60, 700, 8000, 8000]

    @pytest.mark.parametrize("planar", [0, 1])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_colour(self, planar, dtype):
        array = numbers((2, 5, 4, 3), dtype)
        ds = picture(array, NumberOfFrames=2)
        if planar:
            ds.PlanarConfiguration, ds.PixelData = 1, np.moveaxis(array, -1, 1).tobytes()
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array, array)
        assert volume.source == f"DICOM CT, {np.dtype(dtype).name} (2, 5, 4, 3) z y x rgb -> D H W C = z y x rgb"

    def test_luminance_and_chrominance(self):
        # Grey, and a strong red, by the formula of ITU-T T.871: R = Y + 1.402 (Cr - 128).
        pixels = np.array([[[90, 128, 128], [90, 128, 228]]], np.uint8)
        volume = read_volume(packed(picture(pixels, PhotometricInterpretation="YBR_FULL")))
        assert volume.array[0, 0].tolist() == [[90, 90, 90], [230, 19, 90]]
        pairs = np.array([10, 20, 128, 128], np.uint8)
        ds = picture(pixels, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())
        assert read_volume(packed(ds)).array[0, 0].tolist() == [[10, 10, 10], [20, 20, 20]]

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_segments_of_one_bit(self, syntax):
        masks = np.random.default_rng(0).integers(0, 2, (5, 3, 5)).astype(np.uint8)
        bits = np.packbits(masks.ravel(), bitorder="little").tobytes()
        ds = picture(masks, syntax, NumberOfFrames=5, BitsAllocated=1, BitsStored=1, HighBit=0)
        ds.PixelData = bits + b"\0" * (len(bits) % 2)
        ds["PixelData"].VR = "OB"
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array[..., 0], masks)
        part = read_volume(packed(ds), part=Part(box=((3, 4), (1, 2), (2, 4))))
        np.testing.assert_array_equal(part.array, volume.array[3:5, 1:3, 2:5])

    def test_a_mosaic_is_said(self):
        ds = placed(numbers(), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])[0]
        assert "a mosaic: its planes lie side by side in one picture, and are left so" in read_volume(packed(ds)).notes


class TestFrames:
    def test_ultrasound_frames_are_depth(self):
        array = numbers((4, 5, 6), np.uint8)
        volume = read_volume(packed(picture(array, NumberOfFrames=4, SOPClassUID=US, Modality="US")))
        np.testing.assert_array_equal(volume.array[..., 0], array)
        assert volume.spacing_mm is None
        assert volume.notes == ("its frames have no positions: D is the frame, in the file's order",)

    def test_two_films_of_a_series_are_two_volumes(self):
        films = [
            (
                f"film{index}.dcm",
                packed(picture(numbers((2, 5, 6), np.uint8, index), NumberOfFrames=2, SOPInstanceUID=f"1.{index}")),
            )
            for index in (1, 2)
        ]
        assert [entry.name for entry in inspect_volume(films)] == ["CT, film1.dcm", "CT, film2.dcm"]

    def enhanced(self, array, positions, orientation="coronal", syntax=ExplicitVRLittleEndian, shared_scale=True):
        ds = picture(array, syntax, NumberOfFrames=len(array), SOPClassUID=ENHANCED, Modality="MR")
        cosines = np.array(ORIENTATIONS[orientation], float)
        normal = np.cross(cosines[:3], cosines[3:])
        shared, measures, turn = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [ROW_SPACING, COLUMN_SPACING], 99
        turn.ImageOrientationPatient = list(ORIENTATIONS[orientation])
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([turn])
        ds.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for index, along in enumerate(positions):
            frame, place, scale = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = list(np.array([1.0, 2, 3]) + along * normal)
            scale.RescaleSlope, scale.RescaleIntercept = (2 if shared_scale else index + 1), 1
            scale.RescaleType = "US"
            frame.PlanePositionSequence = Sequence([place])
            frame.PixelValueTransformationSequence = Sequence([scale])
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return ds

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
    @pytest.mark.parametrize("orientation", ["axial", "coronal", "doubly oblique"])
    def test_enhanced(self, syntax, orientation):
        array = numbers((4, ROWS, COLUMNS), np.uint16)
        data = packed(self.enhanced(array, (6, 0, 2, 4), orientation, syntax))
        image = nibabel.Nifti1Image(
            (2.0 * array[[1, 2, 3, 0]] + 1).astype(np.float32).transpose(2, 1, 0), by_hand(orientation, 2, (1, 2, 3))
        )
        volume, expected = read_volume(data), read_volume(image.to_bytes())
        np.testing.assert_array_equal(volume.array, expected.array)
        np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
        np.testing.assert_allclose(volume.spacing_mm, expected.spacing_mm, rtol=1e-5)

    def test_enhanced_with_a_slope_for_each_frame(self):
        array = numbers((3, ROWS, COLUMNS), np.uint16)
        volume = read_volume(packed(self.enhanced(array, (0, 2, 4), "axial", shared_scale=False)))
        np.testing.assert_array_equal(volume.array[..., 0], array * np.array([1, 2, 3])[:, None, None] + 1.0)

    def test_enhanced_with_times(self):
        array = numbers((6, ROWS, COLUMNS), np.uint16)
        ds = self.enhanced(array, (0, 0, 2, 2, 4, 4), "axial")
        for index, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            content = Dataset()
            content.TemporalPositionIndex = 2 - index % 2
            frame.FrameContentSequence = Sequence([content])
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array[..., 0], array[1::2] * 2.0 + 1)
        np.testing.assert_array_equal(volume.array[..., 1], array[0::2] * 2.0 + 1)
        assert volume.notes == ("C is time: 1, 2",)

    def test_segments_are_named(self):
        array = numbers((5, ROWS, COLUMNS), np.uint8)
        ds = self.enhanced(array, (0, 2, 4, 2, 4), "axial")
        for index, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            segment = Dataset()
            segment.ReferencedSegmentNumber = 1 if index < 3 else 2
            frame.SegmentIdentificationSequence = Sequence([segment])
        shapes = {entry.name: entry.shape for entry in inspect_volume(packed(ds))}
        assert shapes == {"MR, segment 1": (3, ROWS, COLUMNS), "MR, segment 2": (2, ROWS, COLUMNS)}

    def test_a_header_for_fewer_frames(self):
        ds = self.enhanced(numbers((4, ROWS, COLUMNS), np.uint16), (0, 2, 4), "axial")
        with pytest.raises(
            VolumeError, match="file: its header describes 3 frames and declares 4; save or copy it again"
        ):
            read_volume(packed(ds))

    @pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
    def test_dose_grids_lie_where_gdcm_puts_them(self, name):
        volume = read_volume(SHIPPED / name)
        image = SimpleITK.ReadImage(str(SHIPPED / "rtdose.dcm"))
        ds = pydicom.dcmread(SHIPPED / "rtdose.dcm")
        expected = ds.pixel_array * float(ds.DoseGridScaling)
        np.testing.assert_allclose(volume.array[..., 0], expected, rtol=1e-6)
        np.testing.assert_allclose(volume.spacing_mm[::-1], image.GetSpacing())
        np.testing.assert_allclose(volume.affine[:3, 3] * [-1, -1, 1], image.GetOrigin())

    @pytest.mark.parametrize("orientation", ["axial", "axial, feet up"])
    @pytest.mark.parametrize("absolute", [False, True])
    def test_dose_planes_by_offset_or_by_coordinate(self, orientation, absolute):
        array = numbers((3, ROWS, COLUMNS), np.uint16)
        sign = 1 if orientation == "axial" else -1
        offsets = [30 + sign * 4 * index for index in range(3)] if absolute else [0, 4, 8]
        ds = placed(array[:1], orientation, NumberOfFrames=3, PixelData=array.tobytes(), DoseGridScaling=2)[0]
        ds.GridFrameOffsetVector = offsets
        image = nibabel.Nifti1Image(2 * array.transpose(2, 1, 0), by_hand(orientation, 4, (-10, 20, 30)))
        volume, expected = read_volume(packed(ds)), read_volume(image.to_bytes())
        np.testing.assert_array_equal(volume.array, expected.array)
        np.testing.assert_allclose(volume.affine, expected.affine)

    def test_a_detectors_position(self):
        array = numbers((3, ROWS, COLUMNS), np.uint16)
        ds = placed(array[:1], SpacingBetweenSlices=4, NumberOfFrames=3, PixelData=array.tobytes())[0]
        detector = Dataset()
        detector.ImagePositionPatient, detector.ImageOrientationPatient = [1, 2, 3], list(ORIENTATIONS["prone"])
        ds.DetectorInformationSequence = Sequence([detector])
        del ds.ImagePositionPatient, ds.ImageOrientationPatient
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array[..., 0], array[:, ::-1, ::-1])
        np.testing.assert_allclose(np.linalg.inv(volume.affine) @ [-1, -2, 3, 1], [0, ROWS - 1, COLUMNS - 1, 1])

    def test_frames_that_are_so_far_apart(self):
        array = numbers((3, ROWS, COLUMNS))
        ds = placed(array[:1], SpacingBetweenSlices=4, NumberOfFrames=3, PixelData=array.tobytes())[0]
        volume = read_volume(packed(ds))
        np.testing.assert_array_equal(volume.array[..., 0], array)
        assert volume.spacing_mm == (4, 1.5, 0.75)
        assert "its frames have no positions of their own: taken as 4 mm apart along the normal" in volume.notes


def lossless(array, syntax, **elements):
    """Frames compressed without loss: by pydicom and pyjpegls, and by Pillow."""
    ds = picture(array, **elements)
    if syntax != JPEG2000Lossless:
        ds.compress(syntax, generate_instance_uid=False)
        return ds
    frames = []
    for frame in array if array.ndim > 2 and array.shape[-1] != 3 else [array]:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG2000", no_jp2=True)
        frames.append(file.getvalue())
    ds.PixelData = encapsulate(frames)
    ds.file_meta.TransferSyntaxUID = syntax
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


def encapsulated_apart(frames):
    """Each frame in two fragments, without the basic table, and the two extended ones."""
    data, starts = struct.pack("<HHL", 0xFFFE, 0xE000, 0), []
    for frame in frames:
        starts.append(len(data) - 8)
        half = len(frame) // 4 * 2
        for piece in (frame[:half], frame[half:]):
            data += struct.pack("<HHL", 0xFFFE, 0xE000, len(piece)) + piece
    data += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return data, struct.pack(f"<{len(frames)}Q", *starts), struct.pack(f"<{len(frames)}Q", *map(len, frames))


class TestSyntaxes:
    @pytest.mark.parametrize(
        "syntax",
        [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
        ids=lambda syntax: syntax.name,
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
    def test_plain(self, syntax, dtype):
        array = numbers((3, 5, 7), dtype)
        volume = read_volume(packed(picture(array, syntax, NumberOfFrames=3)))
        np.testing.assert_array_equal(volume.array[..., 0], array)

    def test_big_endian_words_of_bytes(self):
        array = numbers((3, 5, 7), np.uint8)
        ds = picture(array, ExplicitVRBigEndian, NumberOfFrames=3)
        data = np.frombuffer(ds.PixelData, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
        ds.PixelData = data
        ds["PixelData"].VR = "OW"
        np.testing.assert_array_equal(read_volume(packed(ds)).array[..., 0], array)

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_compressed(self, syntax, dtype):
        array = numbers((4, 20, 17), dtype)
        data = packed(lossless(array, syntax, NumberOfFrames=4))
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[..., 0], array)
        part = read_volume(data, part=Part(box=((2, 3), (1, 4), (2, 5))))
        np.testing.assert_array_equal(part.array, volume.array[2:4, 1:5, 2:6])

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda syntax: syntax.name)
    def test_compressed_and_signed(self, syntax):
        array = numbers((20, 17)) // 2
        ds = lossless(array, syntax, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(read_volume(packed(ds)).array[0, ..., 0], array)

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
    def test_compressed_colour(self, syntax):
        array = numbers((20, 17, 3), np.uint8)
        np.testing.assert_array_equal(read_volume(packed(lossless(array, syntax))).array[0], array)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
    def test_lossless_jpeg_that_gdcm_wrote(self, dtype, tmp_path):
        gdcm = pytest.importorskip("gdcm")
        array = numbers((3, 20, 17), dtype)
        (tmp_path / "plain").write_bytes(packed(picture(array, NumberOfFrames=3)))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(tmp_path / "plain"))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(tmp_path / "lossless"))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        assert b"1.2.840.10008.1.2.4.70" in (tmp_path / "lossless").read_bytes()
        np.testing.assert_array_equal(read_volume(tmp_path / "lossless").array[..., 0], array)

    def test_only_what_is_wanted_is_decoded(self, monkeypatch):
        decoded = []
        original = dicom_pixels.Pixels._decoded

        def counting(self, data):
            decoded.append(self.frames)
            return original(self, data)

        monkeypatch.setattr(dicom_pixels.Pixels, "_decoded", counting)
        data = packed(lossless(numbers((6, 9, 8), np.uint16), JPEGLSLossless, NumberOfFrames=6))
        inspect_volume(data)
        assert decoded == []
        read_volume(data, part=Part(box=((2, 3), (0, 8), (0, 7))))
        assert len(decoded) == 2

    @pytest.mark.parametrize("table", ["none", "basic"])
    def test_frames_in_several_fragments(self, table):
        array = numbers((3, 30, 20), np.uint16)
        ds = lossless(array, JPEGLSLossless, NumberOfFrames=3)
        frames = [bytes(frame) for frame in pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=3)]
        ds.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=table == "basic")
        np.testing.assert_array_equal(read_volume(packed(ds)).array[..., 0], array)

    @pytest.mark.parametrize("table", ["basic", "extended"])
    def test_a_table_decides_where_a_frame_begins(self, table):
        """Fragments of run lengths do not show whether a frame begins with them."""
        array = numbers((3, 30, 20), np.uint16)
        ds = lossless(array, RLELossless, NumberOfFrames=3)
        frames = [bytes(frame) for frame in pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=3)]
        if table == "basic":
            ds.PixelData = encapsulate(frames, fragments_per_frame=2)
        else:
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulated_apart(frames)
        np.testing.assert_array_equal(read_volume(packed(ds)).array[..., 0], array)

    SAME = (
        "693_J2KI", "CT_small", "ExplVR_BigEnd", "J2K_pixelrep_mismatch", "JPEG2000", "JPEGLSNearLossless_08",
        "JPEGLSNearLossless_16", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb",
        "MR_small_implicit", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded",
        "SC_jpeg_no_color_transform", "SC_jpeg_no_color_transform_2", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+n1",
        "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_gdcm_KY", "SC_rgb_jls_lossy_line",
        "SC_rgb_jls_lossy_sample", "SC_rgb_jpeg", "SC_rgb_jpeg_app14_dcmd", "SC_rgb_jpeg_dcmd", "SC_rgb_jpeg_dcmtk",
        "SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_lossy_gdcm", "SC_rgb_rle", "SC_rgb_rle_16bit_2frame", "SC_rgb_rle_2frame",
        "SC_rgb_rle_32bit", "SC_rgb_small_odd", "SC_rgb_small_odd_big_endian", "SC_rgb_small_odd_jpeg",
        "SC_ybr_full_422_uncompressed", "examples_jpeg2k", "examples_overlay", "examples_palette",
        "examples_rgb_color", "examples_ybr_color", "image_dfl", "rtdose_1frame", "rtdose_expb_1frame",
        "rtdose_rle_1frame",
    )  # fmt: skip

    @pytest.mark.parametrize("name", SAME)
    def test_files_of_other_makers_hold_pydicoms_values(self, name):
        if name == "SC_rgb_jpeg_gdcm":
            pytest.importorskip("gdcm")
        volume = read_volume(SHIPPED / f"{name}.dcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(SHIPPED / f"{name}.dcm")
            expected = ds.pixel_array
            if ds.PhotometricInterpretation == "PALETTE COLOR":
                expected = pydicom.pixels.apply_color_lut(expected, ds)
            elif ds.SamplesPerPixel == 1:
                expected = pydicom.pixels.apply_modality_lut(expected, ds) * float(ds.get("DoseGridScaling", 1))
        np.testing.assert_array_equal(volume.array, expected.astype(np.float32).reshape(volume.shape))

    @pytest.mark.parametrize("cut", [0, 128 + 4])
    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_without_preamble(self, cut, syntax):
        """A data set alone, and one behind its meta group alone."""
        array = numbers((1, 5, 4))
        data = packed(placed(array, syntax=syntax)[0])
        if cut:
            data = data[cut:]
        else:
            length = struct.unpack("<L", data[140:144])[0]
            data = data[144 + length :]
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[..., 0], array)
        assert volume.source.startswith("DICOM CT")

    def test_types_that_the_transfer_syntax_does_not_promise(self):
        data = packed(placed(numbers())[0])
        lying = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)
        assert lying != data
        assert read_volume(lying).digest == read_volume(data).digest

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\x08\0" * 8,
            bytes(1024),
            np.arange(512, dtype="<u2").tobytes(),
            np.arange(8, 520, dtype=">u2").tobytes(),
            b"\x08\0\x05\0\x0a\0\0\0" + b"\xff" * 64,
            b"\x02\0\x01\0UL\x04\0\x02\0\0\0\x03\0\x01\0",
            b"\x02\0\0\0UL\x05\0\x02\0\0\0\0" + b"\x02\0\x02\0UI\x04\0001.2\0",
            np.full(512, 8, "<u2").tobytes(),
            np.tile(np.array([8, 5, 0, 0], "<u2"), 128).tobytes(),
        ],
    )
    def test_what_only_looks_a_little_like_it(self, head):
        assert not FORMAT.recognises(Member("x", memoryview(head)))


class TestRefusals:
    @pytest.mark.parametrize(
        ("elements", "message"),
        [
            ({"SamplesPerPixel": 4}, r"file: pixels of 4 samples, 'MONOCHROME2', are not read here; save it as MONOCH"),
            ({"PhotometricInterpretation": "CMYK"}, r"file: pixels of 1 samples, 'CMYK', are not read here"),
            ({"BitsAllocated": 12}, r"file: pixels of 12 bits are not read here; use 1, 8, 16, 32 or 64 bits"),
            ({"BitsStored": 17}, r"file: 17 bits stored up to bit 15 of 16 are not possible; save or copy it again"),
            ({"HighBit": 30}, r"file: 16 bits stored up to bit 30 of 16 are not possible"),
            ({"Rows": 0}, r"file: the declared shape \(1, 0, 4, 1\) holds no voxel"),
            ({"Rows": 60000}, r"file: it is cut off: its header declares 480,000 bytes of pixels and has 40; save or"),
            ({"NumberOfFrames": 2}, r"file: it is cut off: its header declares 80 bytes of pixels and has 40"),
            ({"NumberOfFrames": 10**9}, r"file: 1,000,000,000 frames are more than the 100,000 that are read here"),
            ({"RescaleSlope": "abc"}, r"file: its rescale slope 'abc' is no number; save or copy it again"),
            (
                {"PhotometricInterpretation": "PALETTE COLOR"},
                r"file: one of its look-up tables is damaged; save or copy",
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
    )
    def test_what_cannot_be(self, elements, message):
        ds = picture(numbers((5, 4)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = packed(ds_with(ds, elements))
        with pytest.raises(VolumeError, match=message):
            read_volume(data)

    def test_a_video(self):
        data = packed(picture(numbers((5, 4)))).replace(
            b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0", b"\x02\0\x10\0UI\x18\x001.2.840.10008.1.2.4.100\0"
        )
        with pytest.raises(
            VolumeError, match=r"file: its transfer syntax \(MPEG2 .*\) is not read here; save it uncompr"
        ):
            read_volume(data)

    def test_jpeg_of_12_bits(self):
        with pytest.raises(
            VolumeError, match="file: JPEG extended of 12 bits is not read here; convert it, with dcmtk"
        ):
            read_volume(SHIPPED / "JPGExtended.dcm")

    def test_a_slide(self):
        ds = picture(numbers((2, 5, 4)), NumberOfFrames=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6")
        with pytest.raises(
            VolumeError, match="file: its frames are tiles of a whole slide, which is not read here; save"
        ):
            read_volume(packed(ds))

    def test_a_segmented_palette(self):
        ds = picture(numbers((5, 4), np.uint8), PhotometricInterpretation="PALETTE COLOR")
        ds.SegmentedRedPaletteColorLookupTableData = b"\0\0\1\0"
        with pytest.raises(VolumeError, match="file: its palette is segmented, which is not read here; save it as RGB"):
            read_volume(packed(ds))

    def test_lossless_jpeg_without_its_decoder(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "gdcm", None)
        data = (SHIPPED / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
        message = (
            "file: JPEG lossless DICOM is read by python-gdcm, which is not installed; "
            r"pip install -r requirements-formats.txt \(or only python-gdcm\)"
        )
        with pytest.raises(VolumeError, match=message):
            read_volume(data)
        assert len(inspect_volume(data)) == 1

    def test_cut_off_in_the_header(self):
        data = packed(picture(numbers((5, 4))))
        with pytest.raises(VolumeError, match="file: it is cut off inside its DICOM header; save or copy it again"):
            read_volume(data[: data.index(b"\x28\0\x10\0US") + 9])

    def test_compressed_pixels_that_are_not_in_fragments(self):
        data = packed(picture(numbers((5, 4)))).replace(
            b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x14\x001.2.840.10008.1.2.5\0"
        )
        with pytest.raises(
            VolumeError, match="file: its pixels are not in fragments, although its transfer syntax is a"
        ):
            read_volume(data)


def ds_with(ds, elements):
    for name, value in elements.items():
        if name == "RescaleSlope":
            ds.add_new("RescaleSlope", "LO", value)  # what DS would not let pass
            ds["RescaleSlope"].VR = "LO"
        else:
            setattr(ds, name, value)
    return ds


def lossless_jpeg(**changes):
    """A file with lossless JPEG whose bytes at some places are others."""
    data = bytearray((SHIPPED / "SC_rgb_jpeg_gdcm.dcm").read_bytes())
    start = data.index(b"\xff\xd8\xff")
    for at, value in changes.items():
        data[start + int(at[1:])] = value
    return bytes(data)


def element(group, number, vr, value, length=None):
    declared = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return struct.pack("<HH2sHL", group, number, vr, 0, declared) + value
    return struct.pack("<HH2sH", group, number, vr, declared) + value


MARK = bytes(128) + b"DICM" + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
UNDEFINED = 0xFFFFFFFF


def fragmented(frames, syntax, rows, columns, **elements):
    ds = picture(np.zeros((rows, columns), np.uint8), **elements)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return packed(ds)


def jpeg(height, width):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def progressive():
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "JPEG", progressive=True)
    return file.getvalue()


def j2k(**fields):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "JPEG2000", no_jp2=True)
    data = bytearray(file.getvalue())
    for at, value in fields.items():
        struct.pack_into(">L", data, int(at[1:]), value)
    return bytes(data)


HOSTILE = {
    "nested deeper than any": (
        MARK + element(8, 0x1140, b"SQ", b"", UNDEFINED)
        + 5000 * (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + element(8, 0x1140, b"SQ", b"", UNDEFINED)),
        "nested deeper than 12",
    ),
    "an element longer than the file": (MARK + element(9, 1, b"UN", b"", 2**31), "cut off inside its DICOM header"),
    "a wanted value of 4 GB": (MARK + element(0x28, 0x1201, b"OW", b"", 2**32 - 2), "declares 4,294,967,294 bytes"),
    "an item that reaches out of its sequence": (
        MARK + element(0x28, 0x3000, b"SQ", b"\xfe\xff\x00\xe0\x40\0\0\0" + element(0x28, 0x3006, b"OW", b"", 900)),
        "is longer than what holds it",
    ),
    "a sequence of something else": (MARK + element(0x28, 0x3000, b"SQ", b"\1" * 8, UNDEFINED), "is damaged"),
    "a JPEG that claims 64 million pixels": (
        fragmented([jpeg(8000, 8000)], JPEGBaseline8Bit, 8, 8), r"JPEG baseline data is of \(8000, 8000, 1\)",
    ),
    "a JPEG in any number of passes": (fragmented([progressive()], JPEGBaseline8Bit, 8, 8), "kind .marker FFC2"),
    "a JPEG 2000 that claims more": (
        fragmented([j2k(_8=60000, _12=60000, _24=60000, _28=60000)], JPEG2000Lossless, 8, 8), "60000, 60000, 1",
    ),
    "a JPEG 2000 of a million tiles": (
        fragmented([j2k(_8=8000, _12=8000, _24=8, _28=8)], JPEG2000Lossless, 8000, 8000), "1,000,000 tiles",
    ),
    "a JPEG 2000 of no tile": (fragmented([j2k(_24=0)], JPEG2000Lossless, 8, 8), "JPEG 2000 data is damaged"),
    "a compressed frame larger than any": (
        fragmented([jpeg(60000, 60000)], JPEGBaseline8Bit, 8, 8, Rows=60000, Columns=60000), "larger than is read here",
    ),
    "a JPEG that is cut off": (fragmented([jpeg(8, 8)[:-3]], JPEGBaseline8Bit, 8, 8), "JPEG baseline data is damaged"),
    "JPEG-LS that is cut off": (
        (SHIPPED / "JPEGLSNearLossless_16.dcm").read_bytes().replace(b"\xff\xd9", b"\0\0"), "JPEG-LS data is cut off",
    ),
    "lossless JPEG of 128 bits": (lossless_jpeg(_22=128), "JPEG lossless data is damaged"),
    "lossless JPEG of 16 bits in 8": (lossless_jpeg(_22=16), "JPEG lossless data is damaged"),
    "lossless JPEG in colours of its own": (lossless_jpeg(_17=127), "JPEG lossless data is damaged"),
    "lossless JPEG with something between": (lossless_jpeg(_37=127), "its JPEG data is damaged"),
    "lossless JPEG sampled otherwise": (lossless_jpeg(_29=0x22), "JPEG lossless data is damaged"),
    "lossless JPEG with a code for 200 bits": (lossless_jpeg(_61=200), "JPEG lossless data is damaged"),
    "lossless JPEG of no code": (lossless_jpeg(_42=255), "JPEG lossless data is damaged"),
    "lossless JPEG without a predictor": (lossless_jpeg(_73=0), "JPEG lossless data is damaged"),
    "lossless JPEG with a second frame": (lossless_jpeg(_200=0xFF, _201=0xC3), "cut off, or more than one scan"),
    "lossless JPEG that is cut off": (
        lossless_jpeg().replace(b"\xff\xd9", b"\0\0"), "JPEG lossless data is cut off, or more than one scan",
    ),
    "RLE of few bytes": (
        fragmented([struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 4], RLELossless, 800, 800), "data is cut off",
    ),
    "RLE with too many segments": (
        fragmented([struct.pack("<16L", 15, *[64] * 15)], RLELossless, 8, 8), "it needs 1 segments",
    ),
    "RLE whose segment is outside": (
        fragmented([struct.pack("<16L", 1, 2**31, *[0] * 14)], RLELossless, 8, 8), "segments are out of order",
    ),
    "more frames than fragments": (
        fragmented([jpeg(8, 8)] * 2, JPEGBaseline8Bit, 8, 8, NumberOfFrames=3), "cannot be shared out among 3",
    ),
    "more frames than bytes": (
        fragmented([jpeg(8, 8)], JPEGBaseline8Bit, 8, 8, NumberOfFrames=90000), "is cut off: its header declares 900,",
    ),
}  # fmt: skip


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile(self, name):
        data, message = HOSTILE[name]
        if name.startswith("lossless JPEG"):
            pytest.importorskip("gdcm")
        with pytest.raises(VolumeError, match=message):
            read_volume(data)

    def test_headers_of_very_many_elements(self, monkeypatch):
        sets = shuffled(placed(numbers()))
        read_volume(sets)
        monkeypatch.setattr(dicom_header.Allowance.__init__, "__defaults__", (100, 10**6))
        with pytest.raises(
            VolumeError, match="file: its DICOM headers have more elements than are read here; hand in few"
        ):
            read_volume(sets)

    def test_headers_that_need_much_memory(self, monkeypatch):
        """An item of a sequence is much larger in memory than its 8 bytes in the file."""
        monkeypatch.setattr(dicom_header.Allowance.__init__, "__defaults__", (10**6, 10**5))
        sequence = element(0x5200, 0x9230, b"SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 500)
        with pytest.raises(
            VolumeError, match="file: its DICOM headers are larger than is read here; hand in fewer files"
        ):
            read_volume(MARK + sequence)
        unwanted = element(
            0x5201, 0x9230, b"SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 500 + b"\xfe\xff\xdd\xe0\0\0\0\0", UNDEFINED
        )
        with pytest.raises(VolumeError, match="file: it holds no image"):
            read_volume(MARK + unwanted)

    def test_many_frames_in_many_files(self):
        films = [
            (
                f"{index}",
                packed(picture(np.zeros((60_000, 1, 1), np.uint8), NumberOfFrames=60_000, SOPInstanceUID=f"1.{index}")),
            )
            for index in (1, 2)
        ]
        with pytest.raises(
            VolumeError, match="file: 120,000 frames are more than the 100,000 that are read here; hand in"
        ):
            inspect_volume(films)

    def test_deflated_data_is_inflated_only_as_far_as_it_is_read(self, monkeypatch):
        """Zeros behind the pixels, a thousand times the size of the file."""
        monkeypatch.setattr(members, "MAX_INFLATED_BYTES", 2**20)
        ds = picture(numbers((200, 200)), DeflatedExplicitVRLittleEndian)
        ds.add_new(0x7FE10010, "OB", bytes(2**24))
        data = packed(ds)
        np.testing.assert_array_equal(read_volume(data).array[0, ..., 0], numbers((200, 200)))
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 1
        ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 100, 8, 8, 7
        with pytest.raises(VolumeError, match="file: it inflates to more than 1 MiB; use a file of at most 1 MiB"):
            read_volume(packed(ds))

    def test_a_deflated_part_that_is_cut_off(self):
        data = packed(picture(numbers((90, 90)), DeflatedExplicitVRLittleEndian))
        with pytest.raises(VolumeError, match=r"file: (its deflate data is cut off|it is cut off)"):
            read_volume(data[:-200])

    def test_no_warning_and_no_log(self, recwarn, caplog):
        with pytest.raises(VolumeError):
            read_volume(HOSTILE["a JPEG that is cut off"][0])
        assert len(recwarn) == 0


SMALL = [
    packed(placed(numbers((1, 5, 4)), SeriesDescription="T1")[0]),
    packed(placed(numbers((1, 5, 4)), syntax=ImplicitVRLittleEndian)[0]),
    packed(picture(numbers((2, 5, 4)), DeflatedExplicitVRLittleEndian, NumberOfFrames=2)),
    packed(TestFrames().enhanced(numbers((2, 5, 4), np.uint16), (0, 2))),
    packed(lossless(numbers((2, 8, 8), np.uint16), RLELossless, NumberOfFrames=2)),
    packed(lossless(numbers((8, 8), np.uint16), JPEGLSLossless)),
    packed(lossless(numbers((8, 8), np.uint8), JPEG2000Lossless)),
    fragmented([jpeg(8, 8)], JPEGBaseline8Bit, 8, 8),
]


@given(st.sampled_from(SMALL), st.data())
def test_damage_gives_a_volume_or_a_volume_error(data, draw):
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4))):
        at = draw.draw(st.integers(128, len(damaged) - 1))
        damaged[at] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.one_of(st.none(), st.integers(0, len(damaged))))
    try:
        volume = read_volume(bytes(damaged[:cut]))
    except VolumeError:
        return
    assert isinstance(volume, Volume)
