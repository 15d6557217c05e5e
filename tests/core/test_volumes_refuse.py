"""What is not read: each message, and files made to hurt, which must cost neither memory nor time."""

import bz2
import gzip
import io
import pickle
import re
import struct
import tracemalloc
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
import tifffile

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.members import Window, Wrapped

REMEDY = "is not a volume format that is read here; use NumPy, NIfTI, "


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def nifti(shape=(2, 3, 4), dtype=np.int16, **fields):
    data = bytearray(nibabel.Nifti1Image(np.zeros(shape, dtype), np.eye(4), dtype=dtype).to_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]))
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    return bytes(data)


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def refused(data, message, **options):
    """The message, and that refusing took less than 64 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises(VolumeError, match=re.escape(message)) as caught:
            read_volume(data, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20
    return caught.value


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "0 bytes"),
        (b"hello, world\n" * 50, "text"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"%PDF-1.7\n" + bytes(600), "a PDF document"),
        (b"\xfd7zXZ\0" + bytes(600), "xz data"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (pickle.dumps([1, 2]), "a pickle"),
        (bytes(range(256)) * 3, "768 bytes of another kind"),
        (gzip.compress(b"hello", mtime=0), "text"),
        (gzip.compress(bytes(range(256)), mtime=0), "bytes of another kind"),
        (gzip.compress(gzip.compress(b"hello", mtime=0), mtime=0), "gzip data inside other gzip data"),
        (gzip.compress(bz2.compress(b"hello"), mtime=0), "bzip2 data inside other compressed data"),
        (gzip.compress(zipped(a=b""), mtime=0), "a zip archive inside another one"),
    ],
)
def test_other_formats(data, kind):
    error = refused(data, f"file: 'x.dat' ({kind}) {REMEDY}", name="/tmp/x.dat")
    assert error.field == "format"


def test_a_header_without_its_image():
    problem = "file: 'x.hdr' is a NIfTI header whose data is in another file; hand in header and image together"
    refused(nifti(magic=b"ni1"), problem, name="x.hdr")


def test_without_a_name():
    refused(b"", f"file: this (0 bytes) {REMEDY}")


def test_paths(tmp_path):
    refused(tmp_path / "none.npy", "file: there is no file 'none.npy'; check the path.")
    refused(tmp_path, f"file: '{tmp_path.name}' holds no file; put the volume into it.")
    refused("/dev/zero", "there is no file 'zero'")
    (tmp_path / "link.npy").symlink_to("/dev/zero")
    refused(tmp_path, "holds no file")
    refused("a\0b", "'ab'")


@pytest.mark.parametrize("shape", [(512, 1024, 257), (512, 1024, 1, 257)])
def test_what_is_too_large_is_known_and_not_loaded(tmp_path, shape):
    path = tmp_path / "sparse.npy"
    with path.open("wb") as file:
        file.write(npy_header(shape, "'|u1'"))
        file.truncate(file.tell() + 512 * 1024 * 257)
    assert inspect_volume(path)[0].shape == shape
    message = "need 514 MiB as float32; read a box, one channel, or a reduction to at most 512 MiB."
    assert refused(path, message).field == "size"
    assert read_volume(path, part=Part(box=((0, 1), (0, 1), (0, 0)))).shape[:3] == (2, 2, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.ones(5)), "file: an array (5,) is not a volume; save (D, H, W), (D, H, W, C) or (1, D, H, W, C)."),
        (npy(np.ones((2, 2, 2, 2, 2))), "an array (2, 2, 2, 2, 2) is not a volume"),
        (npy(np.ones((2, 0, 2))), "the declared shape (2, 0, 2) holds no voxel"),
        (npy_header((2, -3, 4)), "the declared shape (2, -3, 4) holds no voxel"),
        (npy(np.ones((2, 2, 2), complex)), "file: complex128 values are complex; save the magnitude or the real part"),
        (npy(np.zeros((2, 2, 2), "f4,i4")), "values are not plain numbers; save integers or floats of 8 to 64 bits"),
        (npy(np.zeros((2, 2, 2), "U3")), "values are not plain numbers"),
        (npy(np.zeros((2, 2, 2), "M8[s]")), "values are not plain numbers"),
        (npy(np.zeros((2, 2, 2), np.longdouble)), "values are not plain numbers"),
        (npy(np.ones((4, 4, 4)))[:-1], "it is cut off: its header declares 640 bytes and 639 are there"),
        (npy_header((8192, 8192, 8192)), "it is cut off: its header declares 2,199,023,255,634 bytes and 82 are there"),
        (npy_header((2**62, 2**62, 2**62)), "4611686018427387904) is larger than any volume; save or"),
        (npy_header((2, 2), "'<q9'"), "its .npy header is damaged"),
        (npy_header("(" * 3000), "its .npy header is damaged"),
        (b"\x93NUMPY", "its .npy header is damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(50), "version 9.0 of .npy is not read here; save it with numpy.save"),
        (b"\x93NUMPY\x03\x00" + bytes(50), "version 3.0 of .npy is not read here; save it with numpy.save"),
    ],
)  # fmt: skip
def test_npy(data, message):
    refused(data, message)


class Bomb:
    ran = False

    def __reduce__(self):
        return (setattr, (Bomb, "ran", True))


def test_nothing_is_unpickled():
    data = npy(np.array([[[Bomb()]]], dtype=object), allow_pickle=True)
    refused(data, "it holds Python objects, and reading those would run code from the file; save numbers only")
    refused(zipped(a=data), "it holds Python objects")
    assert not Bomb.ran


class TestNpz:
    def test_several_volumes_are_listed(self):
        data = zipped(a=npy(np.ones((2, 3, 4))), b=npy(np.ones((2, 2, 2), np.uint8)))
        message = (
            "member: 2 of its 2 arrays could be the volume; name one of 'a' float64 (2, 3, 4); 'b' uint8 (2, 2, 2)."
        )
        assert refused(data, message).field == "member"

    def test_no_volume_among_several(self):
        refused(
            zipped(a=npy(np.ones(2)), b=npy(np.ones(3))), "member: none of its arrays is the volume; name one of 'a'"
        )

    def test_long_lists_are_cut(self):
        refused(zipped(**{f"m{n}": npy(np.ones((1, 1, 1))) for n in range(11)}), "'m7' float64 (1, 1, 1); and 3 more.")

    def test_a_member_that_is_not_there(self):
        refused(zipped(a=npy(np.ones((2, 3, 4)))), "member: there is no 'q'; choose one of 'a' float64", member="q")

    def test_a_member_of_a_file_that_has_none(self):
        message = "member: there is no 'q'; leave it out."
        refused(npy(np.ones((2, 3, 4))), message, member="q")

    def test_no_array(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("word/document.xml", "<x/>")
        refused(file.getvalue(), f"file: this (text) {REMEDY}")
        refused(zipped(a=b"x", b=b"y"), "none of the 2 files of this is of a format that is read here: 'a.npy' (text)")

    def test_a_bomb_is_not_inflated(self):
        bomb = zipped(a=npy_header((8, 8, 8)) + bytes(80 * 2**20))
        assert len(bomb) < 2**20
        tracemalloc.start()
        assert read_volume(bomb).shape == (8, 8, 8, 1)  # what the header declares, and nothing after it
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        tracemalloc.stop()
        declared = zipped(a=npy_header((4096, 4096, 64)) + bytes(80 * 2**20))
        refused(declared, "it is cut off: its header declares 4,294,967,376 bytes and 83,886,160 are there")

    def test_a_cut_off_member(self):
        refused(zipped(a=npy_header((8, 8, 8)) + bytes(2000)), "it is cut off")

    def test_other_compressions_are_not_run(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("a.npy", npy(np.ones((2, 2, 2))))
        refused(file.getvalue(), "member 'a.npy' is compressed with method 12; use an ordinary zip (deflate).")

    def test_encrypted(self):
        data = bytearray(zipped(a=npy(np.ones((2, 2, 2)))))
        data[data.rfind(b"PK\x01\x02") + 8] |= 1
        refused(bytes(data), "member 'a.npy' is encrypted")

    def test_damaged(self):
        data = zipped(a=npy(np.random.default_rng(0).random((9, 9, 9))))
        refused(data[: len(data) // 2], "its zip data is damaged (File is not a zip file)")
        changed = bytearray(data)
        changed[len(data) // 2] ^= 0xFF
        with pytest.raises(VolumeError, match="its zip data is damaged"):
            read_volume(bytes(changed))

    def test_a_directory_of_a_million_entries_is_not_read(self):
        end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 65535, 65535, 50_000_000, 0, 0)
        refused(b"PK\x03\x04" + bytes(100) + end, "its zip archive declares 65,535 files in a directory of")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (nifti()[:-5], "it is cut off: its header declares 400 bytes and 395 are there"),
        (nifti()[:350], "it is cut off"),
        (
            nifti(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]),
            "it is cut off: its header declares 54,000,000,000,352 bytes and 400 are there",
        ),
        (nifti(dim=[3, 2, -3, 4, 1, 1, 1, 1]), "the declared shape (2, -3, 4) holds no voxel"),
        (nifti(dim=[1, 24, 1, 1, 1, 1, 1, 1]), "a NIfTI array (24,) is not one volume"),
        (nifti((2, 2, 2, 2, 2)), "a NIfTI array (2, 2, 2, 2, 2) is not one volume; save (x, y, z), (x, y, z, t) or"),
        (nifti(dtype=np.complex64), "complex64 values are complex"),
        (nifti(datatype=128, bitpix=24), "values are not plain numbers"),
        (nifti(datatype=9999), "its NIfTI-1 header is damaged"),
        (nifti(vox_offset=1e9), "its NIfTI-1 header puts the data at byte 1,000,000,000"),
        (nifti(vox_offset=np.nan), "its NIfTI-1 header is damaged"),
        (nifti(scl_slope=1, scl_inter=np.inf), "its NIfTI-1 header is damaged"),
        (gzip.compress(nifti(), mtime=0)[:-9], "its gzip data is cut off"),
        (gzip.compress(nifti(), mtime=0)[:-8] + bytes(8), "its gzip data is damaged"),
        (gzip.compress(nifti()[:-5], mtime=0), "its gzip data is cut off"),
        (gzip.compress(nifti(), mtime=0)[:10] + b"\xff" * 40, "its gzip data is damaged"),
    ],
)
def test_nifti(data, message):
    refused(data, message)


def test_a_gzip_bomb_is_not_inflated():
    small = nifti(dim=[3, 2, 3, 4, 1, 1, 1, 1])
    bomb = gzip.compress(small + bytes(80 * 2**20), mtime=0)
    tracemalloc.start()
    assert read_volume(bomb).shape == (4, 3, 2, 1)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()
    declared = nifti(dim=[3, 4096, 4096, 64, 1, 1, 1, 1])
    refused(gzip.compress(declared + bytes(80 * 2**20), mtime=0), "it is cut off: its header declares 2,147,484,000")
    refused(gzip.compress(bytes(80 * 2**20), mtime=0), "is not a volume format that is read here")


class TestWrapped:
    """What gzip and bzip2 wrap is inflated as it is read."""

    @pytest.mark.parametrize("compress", [lambda text: gzip.compress(text, mtime=0), bz2.compress])
    def test_no_more_is_inflated_than_is_read(self, compress):
        member = Wrapped("a", memoryview(compress(b"abcdef" + bytes(80 * 2**20))))
        tracemalloc.start()
        with member.open() as stream:
            assert stream.read(6) == b"abcdef"
        assert member.head == b"abcdef" + bytes(1018)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        tracemalloc.stop()

    @pytest.mark.parametrize("count", [1, 100, 20_000])
    def test_many_gzip_members_are_one_text(self, count):
        member = Wrapped("a", memoryview(gzip.compress(b"ab", mtime=0) * count))
        assert bytes(member.view()) == b"ab" * count

    def test_many_gzip_members_cost_no_more_than_their_bytes(self, monkeypatch):
        moved = 0
        real = Window.readinto

        def counted(self, buffer):
            nonlocal moved
            got = real(self, buffer)
            moved += got
            return got

        monkeypatch.setattr(Window, "readinto", counted)
        data = gzip.compress(b"ab", mtime=0) * 20_000
        assert len(Wrapped("a", memoryview(data)).view()) == 40_000
        assert len(data) <= moved < 4 * len(data)

    def test_a_view_ends_at_the_limit(self, monkeypatch):
        monkeypatch.setattr("conv3d_core.volumes.members.MAX_INFLATED_BYTES", 4 * 2**20)
        text = bytes(4 * 2**20)
        assert bytes(Wrapped("a", memoryview(gzip.compress(text, mtime=0))).view()) == text
        for data in (gzip.compress(text + b"a", mtime=0), bz2.compress(text + b"a")):
            with pytest.raises(VolumeError, match="it inflates to more than 4 MiB; use a file of at most 4 MiB"):
                Wrapped("a", memoryview(data)).view()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (gzip.compress(b"abc" * 99, mtime=0)[:-9], "its gzip data is cut off"),
            (gzip.compress(b"abc" * 99, mtime=0)[:-8] + bytes(8), "its gzip data is damaged"),
            (bz2.compress(b"abc" * 99)[:-9], "its bzip2 data is cut off"),
            (bz2.compress(b"abc" * 99)[:12] + bytes(40), "its bzip2 data is damaged"),
        ],
    )
    def test_damage_is_said(self, data, message):
        with pytest.raises(VolumeError, match=message):
            Wrapped("a", memoryview(data)).view()

    def test_what_cannot_be_there_is_refused_unread(self):
        member = Wrapped("a", memoryview(gzip.compress(bytes(10_000), mtime=0)))
        member.check_holds(10_000)
        with pytest.raises(VolumeError, match="it is cut off: its header declares 1,000,000,000 bytes"):
            member.check_holds(10**9)


class TestTiff:
    stack = np.random.default_rng(0).integers(0, 999, (4, 20, 30)).astype(np.uint16)

    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}], ids=str)
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
    def test_cut_off(self, options, part):
        data = tiff(self.stack, **options)
        with pytest.raises(VolumeError, match=r"^file: .*(cut off|damaged|missing|no image)"):
            read_volume(data[: int(len(data) * part)])

    def test_pages_in_a_circle(self):
        data = bytearray(tiff(self.stack))
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
            first = file.pages.first.offset
        (tags,) = struct.unpack_from("<H", data, first)
        struct.pack_into("<L", data, first + 2 + 12 * tags, first)
        refused(bytes(data), "its pages run in a circle, or are more than 100,000")

    def test_a_huge_header(self):
        data = bytearray(tiff(np.zeros((64, 64), np.uint8)))
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
            tags = file.pages.first.tags
            places = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
        for place in places:
            data[place : place + 2] = b"\xff\xff"
        refused(bytes(data), "it is cut off: its header declares 4,294,836,481 bytes and 4,352 are there")

    def test_a_strip_that_inflates_too_far(self, monkeypatch):
        monkeypatch.setattr("conv3d_core.volumes.formats.tiff.MAX_VOLUME_BYTES", 2**20)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # as if imagecodecs were not there
        data = tiff(np.zeros((64, 64), np.uint8), compression="zlib")
        bomb = zlib.compress(bytes(2**24))
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = file.pages.first.tags
            offset, count = tags["StripOffsets"], tags["StripByteCounts"]
        changed = bytearray(data + bomb)
        changed[offset.valueoffset : offset.valueoffset + 4] = struct.pack("<I", len(data))
        changed[count.valueoffset : count.valueoffset + 2] = struct.pack("<H", len(bomb))
        refused(bytes(changed), "one of its strips inflates to more than 2 MiB")

    def test_compressions_that_are_not_read(self):
        data = bytearray(tiff(np.zeros((64, 64), np.uint8), compression="zlib"))
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
            place = file.pages.first.tags["Compression"].valueoffset
        data[place : place + 2] = struct.pack("<H", 50002)
        message = "file: its compression JPEGXL is not read here; save it uncompressed or with deflate, LZW, Zstandard,"
        refused(bytes(data), message)
        assert str(inspect_volume(bytes(data))[0].refusal).startswith(message)

    def test_planes_in_other_files(self, tmp_path):
        (tmp_path / "b.ome.tif").write_bytes(tiff(np.ones((20, 30), np.uint8)))
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image><Pixels '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">'
            '<TiffData FirstZ="0" IFD="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
            f'<TiffData FirstZ="1" IFD="0"><UUID FileName="{tmp_path}/b.ome.tif">urn:uuid:2</UUID></TiffData>'
            "</Pixels></Image></OME>"
        )
        path = tmp_path / "a.ome.tif"
        path.write_bytes(tiff(np.zeros((20, 30), np.uint8), description=xml, metadata=None))
        assert tifffile.imread(path).any()  # the obvious call reads the other file
        refused(path, "some of its planes lie in other files or are missing; save the whole stack as one TIFF.")

    def test_complex(self):
        refused(tiff(np.ones((2, 20, 30), np.complex64)), "complex64 values are complex")
