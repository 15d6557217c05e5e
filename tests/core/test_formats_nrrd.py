"""NRRD against pynrrd and ITK, and files made to hurt."""

import bz2
import gzip
import io
import itertools
import re
import tracemalloc
import zipfile

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  (its own manual's name)

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.bundled import FOLDER
from conv3d_core.volumes.members import Inflated

AXES = "dimension: 3\nsizes: 4 3 2\n"
LPS = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"


def header(*lines, encoding="raw", kind="uint8", axes=AXES):
    return f"NRRD0004\ntype: {kind}\n{axes}encoding: {encoding}\n{''.join(line + chr(10) for line in lines)}\n".encode()


def pynrrd(array, path, encoding="raw", **fields):
    nrrd.write(str(path), array, {"encoding": encoding, **fields}, index_order="F")
    return path.read_bytes()


def refused(data, message, **options):
    with pytest.raises(VolumeError, match=re.escape(message)) as caught:
        read_volume(data, **options)
    return caught.value


def itk_image(seed=0, direction=None, channels=1):
    rng = np.random.default_rng(seed)
    shape = (4, 5, 6) if channels == 1 else (4, 5, 6, channels)
    image = sitk.GetImageFromArray(rng.integers(-999, 999, shape).astype(np.int16), isVector=channels > 1)
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
    @pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">u2", "<i4", ">u4", "<i8", ">u8", "<f4", ">f8"])
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
    def test_every_type_and_encoding_as_pynrrd_writes_it(self, dtype, encoding, tmp_path):
        array = (np.arange(24).reshape(4, 3, 2) * 5).astype(dtype)
        volume = read_volume(pynrrd(array, tmp_path / "a.nrrd", encoding))
        np.testing.assert_array_equal(volume.array[..., 0], array.transpose(2, 1, 0))
        assert volume.dtype == array.dtype.newbyteorder("=").name
        assert (volume.spacing_mm, volume.affine, volume.notes) == (None, None, ())
        assert volume.source == f"NRRD, {volume.dtype} (4, 3, 2) x y z -> D H W = z y x"

    def test_a_header_by_hand(self):
        data = header(
            "endian: big",
            "# a comment",
            "type:=double",
            "some key:=endian: none",
            "content: ü",
            LPS.rstrip(),
            kind="short",
        )
        volume = read_volume(data + np.arange(24, dtype=">i2").tobytes())
        np.testing.assert_array_equal(volume.array[..., 0], np.arange(24).reshape(2, 3, 4))
        np.testing.assert_array_equal(volume.affine, [[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        assert volume.source == "NRRD, int16 (4, 3, 2) x y z -> D H W = z y x, LPS"

    def test_hexadecimal(self):
        array = np.arange(24, dtype="<u2") * 1000
        data = header("endian: little", encoding="hex", kind="ushort") + array.tobytes().hex(" ", 5).encode()
        np.testing.assert_array_equal(read_volume(data).array.ravel(), array)

    def test_text_across_pieces(self, monkeypatch):
        """Numbers that a piece of the stream ends within are whole all the same."""
        monkeypatch.setattr("conv3d_core.volumes.entry.MIB", 7)
        monkeypatch.setattr("conv3d_core.volumes.entry.MAX_TEXT", 7 * 64)
        words = " ".join(str(1000 + n) for n in range(24))
        for end in ("", "\n", " 77"):
            data = header(encoding="text", kind="int") + (words + end).encode()
            assert read_volume(data).array.ravel().tolist() == list(range(1000, 1024))

    @pytest.mark.parametrize("after", [b"x", b" x", b" 1 2 3 ", b"\n\n"])
    def test_what_follows_the_last_number_is_not_looked_at(self, after):
        data = header(encoding="text") + b"1 2 3 " * 8 + after
        assert read_volume(data).array.ravel().tolist() == [1, 2, 3] * 8

    def test_text_of_floats(self):
        data = header(encoding="text", kind="float") + b"nan inf -1e3 0.1 " + b"1 " * 20
        assert read_volume(data).array.ravel()[1:4].tolist() == [np.inf, -1000, np.float32(0.1)]

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("direction", list(directions()))
    def test_itk_and_nifti_of_the_same_image_agree(self, direction, compress, tmp_path):
        image = itk_image(direction=direction)
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"), compress)
        sitk.WriteImage(image, str(tmp_path / "a.nii"))
        ours, theirs = read_volume(tmp_path / "a.nrrd"), read_volume(tmp_path / "a.nii")
        np.testing.assert_array_equal(ours.array, theirs.array)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
        np.testing.assert_allclose(ours.spacing_mm, theirs.spacing_mm, rtol=1e-5)
        assert ours.directions == "SPL"

    def test_places_are_those_of_itk(self, tmp_path):
        image = itk_image(direction=list(directions())[-1])
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
        volume = read_volume(tmp_path / "a.nrrd")
        for index in [(0, 0, 0), (5, 2, 1), (3, 4, 3)]:
            x, y, z = image.TransformIndexToPhysicalPoint(index)
            d, h, w = np.rint(np.linalg.inv(volume.affine) @ [-x, -y, z, 1])[:3].astype(int)
            assert volume.array[d, h, w, 0] == image[index]

    def test_a_real_scan_through_itk(self, tmp_path):
        path = FOLDER / "mri_mni152_t1_1mm.nii.gz"
        sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "a.nrrd"), True)
        ours, theirs = read_volume(tmp_path / "a.nrrd"), read_volume(path)
        assert ours.digest == theirs.digest
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)

    @pytest.mark.parametrize(
        ("space", "signs"),
        [
            ("LPS", (-1, -1)), ("left-posterior-superior", (-1, -1)), ("RAS", (1, 1)), ("las", (-1, 1)),
            ("right-anterior-superior", (1, 1)), ("left-anterior-superior", (-1, 1)),
        ],
    )  # fmt: skip
    def test_spaces(self, space, signs):
        """A voxel at x = 1, y = 2 of the file's own space, at the place in RAS that it has then."""
        directions_ = "space directions: (2,0,0) (0,3,0) (0,0,4)"
        data = header(f"space: {space}", directions_, "space origin: (10,20,30)")
        volume = read_volume(data + bytes(range(24)))
        world = [signs[0] * (10 + 2 * 1), signs[1] * (20 + 3 * 2), 30 + 4 * 1, 1]
        d, h, w = np.rint(np.linalg.inv(volume.affine) @ world)[:3].astype(int)
        assert volume.array[d, h, w, 0] == 1 + 4 * 2 + 12 * 1
        assert volume.spacing_mm == (4, 3, 2)

    def test_a_space_without_sides_gives_spacing_only(self):
        data = header("space: scanner-xyz", "space directions: (0,0,2) (3,0,0) (0,4,0)") + bytes(24)
        volume = read_volume(data)
        assert (volume.affine, volume.spacing_mm) == (None, (4, 3, 2))
        assert volume.notes == ("its space 'scanner-xyz' names no side of the body: axes are read as stored",)
        unnamed = read_volume(header("space dimension: 3", "space directions: (2,0,0) (0,2,0) (0,0,2)") + bytes(24))
        assert (unnamed.affine, unnamed.spacing_mm) == (None, (2, 2, 2))
        assert unnamed.notes == ("its header names no space: axes are read as stored",)

    def test_units(self):
        data = header('space units: "um" "um" "um"', LPS.rstrip(), "space origin: (5,0,0)") + bytes(24)
        volume = read_volume(data)
        np.testing.assert_allclose(volume.spacing_mm, (0.001, 0.001, 0.001))
        np.testing.assert_allclose(volume.affine[0], [0, 0, -0.001, -0.005])
        spaced = read_volume(header("spacings: 1 2 3", 'units: "m" "mm" ""') + bytes(24))
        assert spaced.spacing_mm == (3, 2, 1000)
        unknown = read_volume(header("spacings: 1 2 3", 'units: "pixel" "mm" "mm"') + bytes(24))
        assert unknown.spacing_mm is None
        assert unknown.notes == ('its units "pixel" "mm" "mm" are no lengths: read without spacing',)
        nowhere = read_volume(header('space units: "s" "mm" "mm"', LPS.rstrip()) + bytes(24))
        assert (nowhere.spacing_mm, nowhere.affine) == (None, None)

    @pytest.mark.parametrize("spacings", ["1 2 nan", "1 2 0", "1 2 -3", "1 2 1e999", "1 2"])
    def test_spacings_that_are_none(self, spacings):
        assert read_volume(header(f"spacings: {spacings}") + bytes(24)).spacing_mm is None

    @pytest.mark.parametrize("origin", ["(nan,0,0)", "(1,2)", "(1e999,0,0)"])
    def test_a_place_that_is_none(self, origin):
        volume = read_volume(header(LPS.rstrip(), f"space origin: {origin}") + bytes(24))
        assert (volume.spacing_mm, volume.affine) == (None, None)
        assert volume.notes == ("its affine cannot be used: axes are read as stored, without spacing",)

    @pytest.mark.parametrize("size", ["1e300", "1e-300", "1e160", "0.0000001"])
    def test_lengths_beyond_reason_give_a_volume_without_them_or_with(self, size):
        volume = read_volume(header("space: LPS", f"space directions: ({size},0,0) (0,1,0) (0,0,1)") + bytes(24))
        assert volume.shape == (2, 3, 4, 1)
        assert (volume.affine is None) == (size != "0.0000001")


class TestChannels:
    @pytest.mark.parametrize("at", [0, 1, 2, 3])
    @pytest.mark.parametrize("by", ["directions", "kinds"])
    def test_an_axis_that_is_no_place_becomes_channels_wherever_it_is(self, at, by, tmp_path):
        shape, vectors, kinds = [4, 3, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], ["domain"] * 3
        shape.insert(at, 5)
        vectors.insert(at, [np.nan] * 3)  # written as none
        kinds.insert(at, "vector")
        array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        fields = {"kinds": kinds}
        if by == "directions":
            fields = {"space": "left-posterior-superior", "space directions": vectors}
        volume = read_volume(pynrrd(array, tmp_path / "a.nrrd", **fields))
        np.testing.assert_array_equal(volume.array, np.moveaxis(array, at, -1).transpose(2, 1, 0, 3))
        assert volume.notes == ()

    @pytest.mark.parametrize("kind", ["RGB-color", "list", "vector", "3-vector", "time"])
    def test_kinds_that_are_channels(self, kind):
        data = header(f"kinds: {kind} domain domain domain", axes="dimension: 4\nsizes: 3 4 3 2\n") + bytes(72)
        assert read_volume(data).shape == (2, 3, 4, 3)
        assert f"{kind.lower()} x y z -> D H W C = z y x {kind.lower()}" in read_volume(data).source

    def test_without_a_word_the_last_axis_is_channels(self):
        data = header(axes="dimension: 4\nsizes: 4 3 2 5\n") + bytes(range(120))
        expected = np.arange(120).reshape(5, 2, 3, 4).transpose(1, 2, 3, 0)
        np.testing.assert_array_equal(read_volume(data).array, expected)

    def test_time_in_the_space(self):
        lines = "space: left-posterior-superior-time", "space directions: (1,0,0,0) (0,1,0,0) (0,0,2,0) (0,0,0,9)"
        volume = read_volume(header(*lines, axes="dimension: 4\nsizes: 4 3 2 5\n") + bytes(120))
        assert (volume.shape, volume.spacing_mm) == ((2, 3, 4, 5), (2, 1, 1))

    def test_itk_colours(self, tmp_path):
        image = itk_image(channels=3)
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
        volume = read_volume(tmp_path / "a.nrrd")
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))

    def test_a_picture_is_one_plane(self):
        plane = read_volume(header(axes="dimension: 2\nsizes: 4 3\n") + bytes(range(12)))
        np.testing.assert_array_equal(plane.array[0, ..., 0], np.arange(12).reshape(3, 4))
        colours = header("kinds: RGB-color domain domain", axes="dimension: 3\nsizes: 3 4 2\n") + bytes(range(24))
        np.testing.assert_array_equal(read_volume(colours).array[0], np.arange(24).reshape(2, 4, 3))
        assert read_volume(colours).notes == ("a single plane, read as D = 1",)
        part = read_volume(colours, part=Part(box=((0, 0), (1, 1), (2, 3))))
        assert part.array[0, 0, 0].tolist() == [18, 19, 20]


class TestWhere:
    array = np.random.default_rng(0).integers(0, 255, (4, 3, 2)).astype(np.uint8)

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
    def test_data_that_is_handed_in_with_its_header(self, encoding, tmp_path):
        nrrd.write(str(tmp_path / "a.nhdr"), self.array, {"encoding": encoding}, detached_header=True)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert len(names) == 2
        files = [(name, (tmp_path / name).read_bytes()) for name in names]
        volume = read_volume(files)
        np.testing.assert_array_equal(volume.array[..., 0], self.array.transpose(2, 1, 0))
        assert volume.notes == ()
        np.testing.assert_array_equal(read_volume(tmp_path).array, volume.array)

    def test_of_a_path_only_the_last_part_counts(self):
        files = [("b.nhdr", header("data file: /etc/../x/v.raw")), ("sub/v.raw", self.array.tobytes(order="F"))]
        np.testing.assert_array_equal(read_volume(files).array[..., 0], self.array.transpose(2, 1, 0))

    def test_of_two_of_the_same_name_the_one_beside_the_header(self):
        files = [("a/v.raw", bytes(24)), ("b/v.raw", bytes(range(24))), ("b/h.nhdr", header("data file: v.raw"))]
        assert read_volume(files).array.max() == 23
        refused([("a/v.raw", bytes(24)), ("c/v.raw", bytes(24)), files[2]], "whose data is in another file, 'v.raw'")

    @pytest.mark.parametrize(
        ("named", "message"),
        [
            ("/etc/passwd", "is a NRRD header whose data is in another file, 'passwd'; hand in header and data"),
            ("v%03d.raw 1 9 1", "whose data is spread over several files; save it as one .nrrd with its data inside"),
            ("LIST", "whose data is spread over several files"),
            ("", "whose data is spread over several files"),
        ],
    )
    def test_other_files_are_refused(self, named, message):
        refused(header(f"data file: {named}"), message)
        refused(header(f"datafile: {named}"), message)

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "hex", "text"])
    def test_lines_and_bytes_are_skipped(self, encoding):
        """Lines come off before anything is inflated, bytes after it."""
        packed = {
            "raw": b"ab" + bytes(range(24)),
            "gzip": gzip.compress(b"ab" + bytes(range(24)), mtime=0),
            "hex": b"__" + bytes(range(24)).hex().encode(),
            "text": b"__" + " ".join(map(str, range(24))).encode(),
        }
        data = header("line skip: 2", "byte skip: 2", encoding=encoding) + b"first\nsecond\n" + packed[encoding]
        assert read_volume(data).array.ravel().tolist() == list(range(24))
        files = [("h.nhdr", header("line skip: 2", "byteskip: 2", "data file: v", encoding=encoding))]
        files.append(("v", b"first\nsecond\n" + packed[encoding]))
        assert read_volume(files).array.ravel().tolist() == list(range(24))

    def test_the_last_bytes_of_a_file(self):
        assert read_volume(header("byte skip: -1") + b"anything" + bytes(range(24))).array.ravel()[5] == 5
        refused(header("byte skip: -1", encoding="gzip") + b"x", "the byte skip -1 with compressed data")
        refused(gzip.compress(header("byte skip: -1") + bytes(24), mtime=0), "the byte skip -1 with compressed data")

    @pytest.mark.parametrize("wrap", [gzip.compress, bz2.compress])
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
    def test_a_file_that_is_compressed_as_a_whole(self, wrap, encoding, tmp_path):
        data = wrap(pynrrd(self.array, tmp_path / "a.nrrd", encoding))
        np.testing.assert_array_equal(read_volume(data).array[..., 0], self.array.transpose(2, 1, 0))


@pytest.fixture(scope="module", params=["raw", "gzip", "bzip2", "ascii"])
def data(request, tmp_path_factory):
    array = np.random.default_rng(1).integers(0, 9999, (3, 20, 30, 40)).astype(">u2")
    vectors = [[np.nan] * 3, [0, 0, -2.0], [1.0, 0, 0], [0, 3.0, 0]]
    fields = {"space": "RAS", "space directions": vectors, "space origin": [1.0, 2, 3]}
    return pynrrd(array, tmp_path_factory.mktemp("part") / "a.nrrd", request.param, **fields)


class TestPart:
    def test_equals_a_cut_of_the_whole(self, data, monkeypatch):
        # Several blocks, so that some of them are left out.
        monkeypatch.setattr("conv3d_core.volumes.entry.BLOCK_BYTES", 4096)
        whole = read_volume(data)
        part = read_volume(data, part=Part(box=((2, 9), (5, 20), (3, 11)), reduce=2, channel=1))
        cut = whole.array[2:10, 5:21, 3:11, 1:2].reshape(4, 2, 8, 2, 4, 2, 1).mean(axis=(1, 3, 5))
        np.testing.assert_array_equal(part.array, cut.astype(np.float32))
        assert part.spacing_mm == tuple(2 * step for step in whole.spacing_mm)
        np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [2.5, 5.5, 3.5, 1])

    def test_a_look_decodes_nothing(self, data, monkeypatch):
        def nothing(*_):
            raise AssertionError("a value was decoded")

        monkeypatch.setattr("conv3d_core.volumes.entry._inflated", nothing)
        monkeypatch.setattr("conv3d_core.volumes.entry._from_decimals", nothing)
        monkeypatch.setattr(Inflated, "view", nothing)
        (entry,) = inspect_volume(data)
        assert (entry.sizes, entry.stored) == ((20, 40, 30, 3), "uint16 (3, 20, 30, 40)")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"NRRD0004\n", "its NRRD header has no field 'dimension'", id="nothing"),
        pytest.param(header(axes="dimension: 3\n"), "has no field 'sizes'", id="no sizes"),
        pytest.param(header(kind="block"), "its NRRD type 'block' is not a plain number; save integers", id="block"),
        pytest.param(header(kind="short"), "its NRRD header has no field 'endian'", id="no endian"),
        pytest.param(header("endian: pdp", kind="short"), "has the endian 'pdp'; use little or big", id="endian"),
        pytest.param(header(encoding="zrl"), "its NRRD encoding 'zrl' is not read here; save it with", id="encoding"),
        pytest.param(header("type: int8"), "its NRRD header has two fields 'type'", id="twice"),
        pytest.param(header(axes="dimension: 3\nsizes: 4 3\n"), "declares 3 axes and 2 sizes", id="few sizes"),
        pytest.param(header(axes="dimension: 3\nsizes: 4 3 x\n"), "'x' in field 'sizes' of its NRRD", id="no number"),
        pytest.param(header(axes="dimension: 3\nsizes: 4 3 ٣\n"), "in field 'sizes' of its NRRD", id="other digits"),
        pytest.param(header(axes="dimension: 3\nsizes: 4 -3 2\n"), "(4, -3, 2) holds no voxel", id="negative"),
        pytest.param(header(axes="dimension: 1\nsizes: 24\n"), "a NRRD array (24,) with 1 axes through", id="a line"),
        pytest.param(header(axes="dimension: 99\nsizes: 1\n"), "its NRRD header declares 99 axes", id="many axes"),
        pytest.param(
            header(axes="dimension: 3\nsizes: 99999999 99999999 9\n"), "larger than any volume", id="huge"
        ),
        pytest.param(
            header(axes="dimension: 3\nsizes: 9999 9999 999\n") + bytes(24), "it is cut off: its header", id="large"
        ),
        pytest.param(header() + bytes(23), "its header declares", id="cut off"),
        pytest.param(header("line skip: 1e9") + bytes(24), "'1e9' in field 'line skip' of its NRRD", id="line skip"),
        pytest.param(header("line skip: 1000000000"), "skips 1,000,000,000 lines and 0 bytes", id="many lines"),
        pytest.param(header("line skip: 3") + b"a\n" + bytes(24), "its data has no such lines", id="few lines"),
        pytest.param(header("byte skip: -2") + bytes(24), "skips 0 lines and -2 bytes", id="byte skip"),
        pytest.param(header("byte skip: 99999999999999") + bytes(24), "skips 0 lines and 99,999", id="far"),
        pytest.param(header("space directions: (1,0,0) (0,1,0)"), "3 axes and 2 space directions", id="directions"),
        pytest.param(
            header("space: LPS", "space directions: (a,0,0) (0,1,0) (0,0,1)"), "'(a,0,0)' in its", id="no vector"
        ),
        pytest.param(
            header("space: LPS", "space directions: none none (0,0,1)"), "1 axes through space", id="no space"
        ),
        pytest.param(header(encoding="text") + b"1 2 3 " * 7 + b"x 1 2 3 4 5", "its text holds what is no", id="word"),
        pytest.param(header(encoding="text") + b"1 " * 23 + b"300", "its text holds what is no uint8", id="beyond"),
        pytest.param(header(encoding="text") + b"1 " * 23 + b" " * 9, "declares 24 numbers and 23 are", id="few"),
        pytest.param(header(encoding="text") + b"1" * 200, "its text is not made of numbers", id="one long word"),
        pytest.param(header(encoding="hex") + b"0" * 47 + b" ", "declares 48 digits and 47 are there", id="few hex"),
        pytest.param(header(encoding="hex") + b"0" * 47 + b"x", "not made of hexadecimal digits", id="hex"),
        pytest.param(header(encoding="hex") + b"0" * 47 + b"\xff", "not made of hexadecimal digits", id="no hex"),
        pytest.param(
            header(encoding="text", axes="dimension: 3\nsizes: 4000 4000 4\n"), "written as text; save", id="long text"
        ),
        pytest.param(header(encoding="gzip") + bytes(24), "its gzip data is damaged", id="no gzip"),
        pytest.param(header(encoding="bzip2") + bytes(24), "its bzip2 data is damaged", id="no bzip2"),
        pytest.param(header(encoding="gzip"), "it is cut off", id="empty gzip"),
        pytest.param(
            header(encoding="gzip") + gzip.compress(bytes(range(24)), mtime=0)[:-9], "is cut off", id="cut gzip"
        ),
        pytest.param(
            header(encoding="gzip") + gzip.compress(bytes(23), mtime=0), "its gzip data is cut off", id="short gzip"
        ),
        pytest.param(
            header(encoding="gzip") + gzip.compress(bytes(24), mtime=0)[:-8] + bytes(8), "CRC check failed", id="crc"
        ),
        pytest.param(
            header(encoding="bzip2") + bz2.compress(bytes(24))[:-9], "its bzip2 data is cut off", id="cut bzip2"
        ),
        pytest.param(
            header("a:=" + "b" * 5_000_000), "is longer than 4 MiB or 100,000 lines", id="a long line"
        ),
        pytest.param(header("#\n" * 200_000), "is longer than 4 MiB or 100,000 lines", id="many lines of header"),
        pytest.param(header("\0: \0", "\x1b[31m: a", kind="\0"), "its NRRD type '' is not", id="control characters"),
        pytest.param(b"NRRD0004\n" + b"\xff" * 500, "its NRRD header has no field", id="no text"),
        pytest.param(header("space directions: " + "(" * 100_000), "and 0 space directions", id="brackets"),
    ],
)  # fmt: skip
def test_refusals(data, message):
    refused(data, message)


def test_what_is_handed_in_with_it_and_not_needed_is_said():
    files = [("a.nrrd", header() + bytes(24)), ("readme.txt", b"words")]
    assert read_volume(files).notes == ("left out, not of a format that is read here: readme.txt",)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_header_and_data_in_a_zip(encoding, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (4, 3, 2)).astype(np.uint8)
    nrrd.write(str(tmp_path / "a.nhdr"), array, {"encoding": encoding}, detached_header=True)
    pynrrd(array[::-1], tmp_path / "b.nrrd", encoding)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in tmp_path.iterdir():
            archive.write(path, f"scan/{path.name}")
    first, second = inspect_volume(file.getvalue())
    assert (first.name, second.name) == ("scan/a.nhdr", "scan/b.nrrd")
    np.testing.assert_array_equal(
        read_volume(file.getvalue(), member="scan/a.nhdr").array[..., 0], array.transpose(2, 1, 0)
    )
    np.testing.assert_array_equal(
        read_volume(file.getvalue(), member="scan/b.nrrd").array[..., 0], array[::-1].transpose(2, 1, 0)
    )


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_bomb_is_inflated_no_further_than_declared(pack):
    bomb = header(encoding="gz" if pack is gzip.compress else "bz2") + pack(bytes(80 * 2**20))
    tracemalloc.start()
    assert read_volume(bomb).shape == (2, 3, 4, 1)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_a_later_damage_does_not_hurt_an_earlier_part():
    array = np.random.default_rng(0).integers(0, 255, 8 * 2**20, dtype=np.uint8)
    packed = bytearray(gzip.compress(array.tobytes(), 1, mtime=0))
    packed[-1] ^= 1
    data = header(encoding="gzip", axes="dimension: 3\nsizes: 1024 1024 8\n") + bytes(packed)
    part = read_volume(data, part=Part(box=((0, 0), (0, 1023), (0, 1023))))
    np.testing.assert_array_equal(part.array.ravel(), array[: 2**20])
    refused(data, "its gzip data is damaged")


def test_nibabel_is_what_turns_it():
    """The signs of a 48th of all ways to store a scan, by nibabel's own function."""
    affine = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, 6], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    array = np.random.default_rng(0).integers(0, 255, (4, 3, 2)).astype(np.uint8)
    image = nibabel.Nifti1Image(array, affine)
    vectors = " ".join("({},{},{})".format(*affine[:3, axis]) for axis in range(3))
    data = header("space: RAS", f"space directions: {vectors}", "space origin: (5,6,7)") + array.tobytes(order="F")
    ours, theirs = read_volume(data), read_volume(image.to_bytes())
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.affine, theirs.affine)
