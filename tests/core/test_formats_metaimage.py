"""MetaImage against ITK, and files made to hurt."""

import gzip
import itertools
import re
import tracemalloc
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  (its own manual's name)

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.bundled import FOLDER
from conv3d_core.volumes.members import Inflated

KEYS = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "DimSize": "4 3 2", "ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL",
}  # fmt: skip


def header(**changed):
    """A header; a value of None leaves a field out. The data's file comes last, as the format wants it."""
    fields = {**KEYS, **changed}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    return "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None).encode()


def refused(data, message, **options):
    with pytest.raises(VolumeError, match=re.escape(message)) as caught:
        read_volume(data, **options)
    return caught.value


def itk_image(dtype=np.int16, direction=None, channels=1, size=(4, 5, 6)):
    shape = size if channels == 1 else (*size, channels)
    values = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    image = sitk.GetImageFromArray(values, isVector=channels > 1)
    if len(size) == 3:
        image.SetSpacing((0.5, 1.25, 3.0))
        image.SetOrigin((-12.5, 30.0, 7.0))
        image.SetDirection(np.eye(3).ravel().tolist() if direction is None else np.asarray(direction).ravel().tolist())
    return image


def directions():
    """A few ways to store a scan: axes swapped and turned round, and one oblique."""
    for order, signs in itertools.product(itertools.permutations(range(3)), [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)]):
        yield np.eye(3)[:, list(order)] * signs
    angle = 0.3
    yield [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]


class TestReads:
    @pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("ending", ["mha", "mhd"])
    def test_every_type_as_itk_writes_it(self, dtype, compress, ending, tmp_path):
        image = itk_image(dtype)
        sitk.WriteImage(image, str(tmp_path / f"a.{ending}"), compress)
        files = [(path.name, path.read_bytes()) for path in tmp_path.iterdir()]
        assert len(files) == (1 if ending == "mha" else 2)
        volume = read_volume(files)
        np.testing.assert_array_equal(volume.array[..., 0], sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(volume.spacing_mm, (3, 1.25, 0.5))
        assert volume.dtype == np.dtype(dtype).name
        assert volume.notes == ()

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("direction", list(directions()))
    def test_itk_and_nifti_of_the_same_image_agree(self, direction, compress, tmp_path):
        image = itk_image(direction=direction)
        sitk.WriteImage(image, str(tmp_path / "a.mha"), compress)
        sitk.WriteImage(image, str(tmp_path / "a.nii"))
        ours, theirs = read_volume(tmp_path / "a.mha"), read_volume(tmp_path / "a.nii")
        np.testing.assert_array_equal(ours.array, theirs.array)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
        np.testing.assert_allclose(ours.spacing_mm, theirs.spacing_mm, rtol=1e-5)

    def test_places_are_those_of_itk(self, tmp_path):
        image = itk_image(direction=list(directions())[-1])
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        volume = read_volume(tmp_path / "a.mha")
        for index in [(0, 0, 0), (5, 2, 1), (3, 4, 3)]:
            x, y, z = image.TransformIndexToPhysicalPoint(index)
            d, h, w = np.rint(np.linalg.inv(volume.affine) @ [-x, -y, z, 1])[:3].astype(int)
            assert volume.array[d, h, w, 0] == image[index]

    def test_a_real_scan_through_itk(self, tmp_path):
        path = FOLDER / "mri_mni152_t1_1mm.nii.gz"
        sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "a.mha"), True)
        ours, theirs = read_volume(tmp_path / "a.mha"), read_volume(path)
        assert ours.digest == theirs.digest
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)

    @pytest.mark.parametrize("compress", [False, True])
    def test_channels_vary_fastest(self, compress, tmp_path):
        image = itk_image(channels=3)
        sitk.WriteImage(image, str(tmp_path / "a.mha"), compress)
        volume = read_volume(tmp_path / "a.mha")
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        assert volume.source == "MetaImage, int16 (3, 6, 5, 4) c x y z -> D H W C = z y x c, LPS"

    def test_a_fourth_axis_is_channels(self, tmp_path):
        image = itk_image(size=(7, 4, 5, 6))
        image.SetSpacing((1, 2, 3, 99))
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        volume = read_volume(tmp_path / "a.mha")
        np.testing.assert_array_equal(volume.array, np.moveaxis(sitk.GetArrayFromImage(image), 0, -1))
        assert volume.spacing_mm == (3, 2, 1)
        both = header(NDims="4", DimSize="4 3 2 5", ElementNumberOfChannels="2") + bytes(range(240))
        expected = np.arange(240).reshape(5, 2, 3, 4, 2).transpose(1, 2, 3, 0, 4).reshape(2, 3, 4, 10)
        np.testing.assert_array_equal(read_volume(both).array, expected)
        assert read_volume(both).notes == ("C runs over t x c: 10 channels",)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_picture_is_one_plane(self, channels, tmp_path):
        image = itk_image(size=(5, 6), channels=channels)
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        volume = read_volume(tmp_path / "a.mha")
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).reshape(1, 5, 6, channels))
        assert volume.notes == ("a single plane, read as D = 1",)

    @pytest.mark.parametrize("name", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
    def test_big_endian(self, name, tmp_path):
        fields = {"BinaryDataByteOrderMSB": None, name: "True"}
        data = header(ElementType="MET_SHORT", **fields) + np.arange(24, dtype=">i2").tobytes()
        (tmp_path / "a.mha").write_bytes(data)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha")))
        np.testing.assert_array_equal(read_volume(data).array[..., 0], theirs)
        assert read_volume(data).array.max() == 23

    @pytest.mark.parametrize(("name", "size"), [("MET_LONG", 4), ("MET_ULONG", 4), ("MET_LONG_LONG", 8)])
    def test_a_long_is_of_four_bytes(self, name, size, tmp_path):
        data = header(ElementType=name) + np.arange(24, dtype=f"<i{size}").tobytes()
        (tmp_path / "a.mha").write_bytes(data)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha")))
        np.testing.assert_array_equal(read_volume(data).array[..., 0], theirs)

    def test_numbers_as_text(self, tmp_path):
        data = header(BinaryData="False", ElementType="MET_SHORT") + " ".join(map(str, range(-5, 19))).encode() + b"\n"
        (tmp_path / "a.mha").write_bytes(data)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha")))
        np.testing.assert_array_equal(read_volume(data).array[..., 0], theirs)

    @pytest.mark.parametrize("matrix", ["TransformMatrix", "Rotation", "Orientation"])
    @pytest.mark.parametrize("origin", ["Offset", "Origin", "Position"])
    @pytest.mark.parametrize("spacing", ["ElementSpacing", "ElementSize"])
    def test_all_names_of_where_it_lies(self, matrix, origin, spacing):
        """Axis x of the file runs down, y to the front and z to the left; row i is the direction of axis i."""
        fields = {matrix: "0 0 -1 0 -1 0 1 0 0", origin: "10 20 30", spacing: "2 3 4"}
        volume = read_volume(header(**fields) + bytes(range(24)))
        assert volume.source.endswith("-> D H W = -x -y z, LPS")
        assert volume.spacing_mm == (2, 3, 4)
        # The first voxel of the file is the highest and the hindmost, at (10, 20, 30) in LPS.
        assert volume.array[3, 2, 0, 0] == 0
        np.testing.assert_allclose(volume.affine @ [3, 2, 0, 1], [-10, -20, 30, 1])

    def test_without_a_word_there_is_no_place(self):
        volume = read_volume(header() + bytes(24))
        assert (volume.affine, volume.spacing_mm, volume.notes) == (None, None, ())

    @pytest.mark.parametrize("lengths", ["0 1 1", "nan 1 1", "1e999 1 1", "1e300 1e300 1", "1e-300 1 1"])
    def test_lengths_that_are_none(self, lengths):
        volume = read_volume(header(ElementSpacing=lengths) + bytes(24))
        assert (volume.affine, volume.spacing_mm) == (None, None)
        assert volume.notes == ("its affine cannot be used: axes are read as stored, without spacing",)

    def test_units(self):
        data = header(ElementSpacing="1 2 3", Offset="5 0 0", DistanceUnits="um") + bytes(24)
        np.testing.assert_allclose(read_volume(data).spacing_mm, (0.003, 0.002, 0.001))
        np.testing.assert_allclose(read_volume(data).affine[0, 3], -0.005)


class TestWhere:
    @pytest.mark.parametrize("named", ["v.raw", "/etc/../v.raw", r"C:\scans\v.raw"])
    def test_data_that_is_handed_in_with_its_header(self, named):
        files = [("a.mhd", header(ElementDataFile=named)), ("v.raw", bytes(range(24)))]
        assert read_volume(files).array.ravel().tolist() == list(range(24))
        assert read_volume(files).notes == ()

    @pytest.mark.parametrize(
        ("named", "message"),
        [
            ("/etc/passwd", "is a MetaImage header whose data is in another file, 'passwd'; hand in header and data"),
            ("LIST", "whose data is spread over several files; save it as one .mha"),
            ("LIST 2", "whose data is spread over several files; save it as one .mha"),
            ("v%03d.raw 1 9 1", "whose data is spread over several files; save it as one .mha"),
            ("", "whose data is spread over several files; save it as one .mha"),
        ],
    )
    def test_other_files_are_refused(self, named, message):
        refused([("a.mhd", header(ElementDataFile=named)), ("b.txt", b"x")], message)

    def test_bytes_are_skipped(self):
        data = b"abc" + bytes(range(24))
        assert read_volume(header(HeaderSize="3") + data).array.ravel()[5] == 5
        assert read_volume(header(HeaderSize="-1") + data).array.ravel()[5] == 5
        files = [("a.mhd", header(HeaderSize="-1", ElementDataFile="v.raw")), ("v.raw", data)]
        assert read_volume(files).array.ravel()[5] == 5
        refused(gzip.compress(header(HeaderSize="-1") + data, mtime=0), "the HeaderSize -1 and its data is compressed")

    def test_gzip_where_zlib_is_declared(self):
        """ITK takes either by its head."""
        packed = gzip.compress(bytes(range(24)), mtime=0)
        assert read_volume(header(CompressedData="True") + packed).array.ravel()[5] == 5
        files = [("a.mhd", header(CompressedData="True", ElementDataFile="v.zraw")), ("v.zraw", packed)]
        assert read_volume(files).array.ravel()[5] == 5

    def test_a_file_that_is_compressed_as_a_whole(self):
        for fields, data in (({}, bytes(range(24))), ({"CompressedData": "True"}, zlib.compress(bytes(range(24))))):
            assert read_volume(gzip.compress(header(**fields) + data, mtime=0)).array.ravel()[5] == 5


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "compressed"])
def large(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("part") / "a.mha"
    image = itk_image("u2", [[0, 0, 1], [-1, 0, 0], [0, 1, 0]], channels=3, size=(20, 30, 40))
    sitk.WriteImage(image, str(path), request.param)
    return path.read_bytes()


class TestPart:
    def test_equals_a_cut_of_the_whole(self, large, monkeypatch):
        # Several blocks, so that some of them are left out.
        monkeypatch.setattr("conv3d_core.volumes.entry.BLOCK_BYTES", 4096)
        whole = read_volume(large)
        part = read_volume(large, part=Part(box=((2, 9), (5, 20), (3, 11)), reduce=2, channel=1))
        cut = whole.array[2:10, 5:21, 3:11, 1:2].reshape(4, 2, 8, 2, 4, 2, 1).mean(axis=(1, 3, 5))
        np.testing.assert_array_equal(part.array, cut.astype(np.float32))
        np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [2.5, 5.5, 3.5, 1])

    def test_a_look_decodes_nothing(self, large, monkeypatch):
        def nothing(*_):
            raise AssertionError("a value was decoded")

        monkeypatch.setattr("conv3d_core.volumes.entry._inflated", nothing)
        monkeypatch.setattr(Inflated, "view", nothing)
        (entry,) = inspect_volume(large)
        assert entry.stored == "uint16 (3, 40, 30, 20)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(header(ObjectType="Mesh"), "it is a MetaIO Mesh, not an image; use a MetaImage", id="mesh"),
        pytest.param(header(NDims=None), "its MetaImage header has no field 'NDims'", id="no axes"),
        pytest.param(header(NDims="5"), "declares 5 axes; use one with 2 to 4", id="many axes"),
        pytest.param(header(NDims="9" * 30), "in field 'NDims' of its MetaImage header is no whole", id="no number"),
        pytest.param(header(DimSize="4 3"), "declares 3 axes and 2 sizes", id="few sizes"),
        pytest.param(header(DimSize="4 0 2"), "the declared shape (4, 0, 2) holds no voxel", id="no voxel"),
        pytest.param(header(DimSize="99999999 99999999 9"), "larger than any volume", id="huge"),
        pytest.param(header(DimSize="9999 9999 999") + bytes(24), "it is cut off: its header declares", id="large"),
        pytest.param(header() + bytes(23), "it is cut off: its header declares", id="cut off"),
        pytest.param(header(ElementType="MET_STRING"), "type 'MET_STRING' is not a plain number", id="text"),
        pytest.param(header(ElementNumberOfChannels="0"), "declares 0 channels", id="no channel"),
        pytest.param(header(ElementNumberOfChannels="99999999"), "declares 99,999,999 channels", id="channels"),
        pytest.param(header(ElementSpacing="1 2"), "'ElementSpacing' of its MetaImage header has 2 numbers", id="few"),
        pytest.param(header(ElementSpacing="1 2 x"), "'1 2 x' in field 'ElementSpacing' of its", id="no numbers"),
        pytest.param(header(TransformMatrix="1 0 0"), "has 3 numbers, and 9 are needed", id="matrix"),
        pytest.param(header(HeaderSize="-2"), "its MetaImage header skips -2 bytes", id="before"),
        pytest.param(header(HeaderSize="999999999999"), "skips 999,999,999,999 bytes; save it as .mha", id="far"),
        pytest.param(header(ElementDataFile=None), "its MetaImage header has no field 'ElementDataFile'", id="no end"),
        pytest.param(
            b"NDims = 3\n" + header(ObjectType=None), "its MetaImage header has two fields 'NDims'", id="twice"
        ),
        pytest.param(
            header(Name="x" * 2_000_000), "is longer than 1 MiB or 10,000 lines", id="a long line"
        ),
        pytest.param(header(Name="\n" * 20_000), "is longer than 1 MiB or 10,000 lines", id="many lines"),
        pytest.param(header(ElementType="\0\x1b"), "its MetaImage type '' is not a plain number", id="control"),
        pytest.param(header(BinaryData="False") + b"1 " * 23 + b"x", "its text holds what is no uint8", id="word"),
        pytest.param(header(CompressedData="True") + bytes(24), "its zlib data is damaged", id="no zlib"),
        pytest.param(
            header(CompressedData="True") + zlib.compress(bytes(24))[:-1], "its zlib data is cut off", id="cut zlib"
        ),
        pytest.param(
            header(CompressedData="True") + zlib.compress(bytes(23)), "its zlib data is cut off", id="short zlib"
        ),
        pytest.param(
            header(CompressedData="True") + zlib.compress(bytes(24))[:-1] + b"x", "zlib data is damaged", id="sum"
        ),
        pytest.param(
            header(CompressedData="True", CompressedDataSize="999") + zlib.compress(bytes(24)), "cut off", id="packed"
        ),
    ],
)  # fmt: skip
def test_refusals(data, message):
    refused(data, message)


def test_a_bomb_is_inflated_no_further_than_declared():
    bomb = header(CompressedData="True") + zlib.compress(bytes(80 * 2**20))
    tracemalloc.start()
    assert read_volume(bomb).shape == (2, 3, 4, 1)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()
