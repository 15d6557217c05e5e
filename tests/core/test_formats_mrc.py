"""MRC and CCP4 maps against mrcfile, and files made to hurt."""

import bz2
import gzip
import itertools
import re
import struct

import mrcfile
import numpy as np
import pytest

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume

ANGSTROM = 1e-7


def mrc(path, array, voxel_size=None, stack=False, **fields):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        if stack:
            file.set_image_stack()
        if voxel_size:
            file.voxel_size = voxel_size
        for name, value in fields.items():
            file.header[name] = value
    return path.read_bytes()


def made(array=None, order="<", mode=1, extended=b"", stamp=None, sizes=None, data=None, **words):
    """A map by hand. Words are set by their numbers in the format's own table, from 1, as ``w17=2``."""
    array = np.arange(24).reshape(2, 3, 4) if array is None else array
    nz, ny, nx = array.shape
    header = bytearray(1024)
    struct.pack_into(order + "4i", header, 0, *(sizes or (nx, ny, nz)), mode)
    struct.pack_into(order + "3i3f3f3i", header, 28, nx, ny, nz, nx, 2 * ny, 3 * nz, 90, 90, 90, 1, 2, 3)
    struct.pack_into(order + "2i", header, 88, 1, len(extended))
    for word, value in words.items():
        kind = "f" if isinstance(value, float) else "i"
        struct.pack_into(order + kind, header, 4 * (int(word[1:]) - 1), value)
    header[208:212] = b"MAP "
    header[212:216] = {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order] if stamp is None else stamp
    types = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
    return bytes(header) + extended + (array.astype(order + types.get(mode, "i2")).tobytes() if data is None else data)


def refused(data, message):
    with pytest.raises(VolumeError, match=re.escape(message)):
        read_volume(data)


class TestReads:
    @pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
    @pytest.mark.parametrize("wrap", [bytes, gzip.compress, bz2.compress])
    def test_every_mode_as_mrcfile_writes_it(self, dtype, wrap, tmp_path):
        array = np.arange(-60, 60).reshape(4, 5, 6).astype(dtype)
        volume = read_volume(wrap(mrc(tmp_path / "a.mrc", array, (2.0, 3.0, 4.0))))
        np.testing.assert_array_equal(volume.array[..., 0], array.astype(np.float32))
        np.testing.assert_allclose(volume.spacing_mm, (4 * ANGSTROM, 3 * ANGSTROM, 2 * ANGSTROM), rtol=1e-6)
        assert volume.dtype == np.dtype(dtype).name
        assert (volume.affine, volume.notes) == (None, ())
        assert volume.source == f"MRC, {volume.dtype} (6, 5, 4) x y z -> D H W = z y x"

    @pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_both_byte_orders_as_mrcfile_reads_them(self, mode, order, tmp_path):
        (tmp_path / "a.map").write_bytes(made(order=order, mode=mode))
        with mrcfile.open(tmp_path / "a.map") as file:
            theirs = np.array(file.data)
        volume = read_volume(tmp_path / "a.map")
        np.testing.assert_array_equal(volume.array[..., 0], theirs)
        assert volume.array.max() == 23
        np.testing.assert_allclose(volume.spacing_mm, (3 * ANGSTROM, 2 * ANGSTROM, ANGSTROM), rtol=1e-6)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_without_a_stamp_the_order_is_guessed_and_said(self, order):
        volume = read_volume(made(order=order, stamp=bytes(4)))
        assert volume.array.max() == 23
        word = "little" if order == "<" else "big"
        assert volume.notes == (f"its machine stamp is unknown; read as {word}-endian",)

    @pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
    def test_axes_are_those_of_the_header(self, axes):
        """A voxel at x = 1, y = 2, z = 3 of the world, wherever it is stored, is at D 3, H 2, W 1."""
        sizes = {1: 4, 2: 5, 3: 6}  # x, y, z
        array = np.zeros([sizes[axis] for axis in axes[::-1]], np.int16)
        array[tuple({1: 1, 2: 2, 3: 3}[axis] for axis in axes[::-1])] = 7
        cell = {"w8": 4, "w9": 5, "w10": 6, "w11": 4.0, "w12": 10.0, "w13": 18.0}
        volume = read_volume(made(array, w17=axes[0], w18=axes[1], w19=axes[2], **cell))
        assert volume.shape == (6, 5, 4, 1)
        assert volume.array[3, 2, 1, 0] == volume.array.sum() == 7
        np.testing.assert_allclose(volume.spacing_mm, (3 * ANGSTROM, 2 * ANGSTROM, ANGSTROM), rtol=1e-6)

    def test_axes_that_are_none(self):
        assert read_volume(made(w17=0, w18=0, w19=0)).notes == ()
        volume = read_volume(made(w17=1, w18=1, w19=3))
        assert volume.notes == ("its axes (1, 1, 3) are no order of 1, 2, 3: read as stored",)
        assert volume.array.ravel().tolist() == list(range(24))

    def test_an_extended_header(self, tmp_path):
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        with mrcfile.new(tmp_path / "a.mrc") as file:
            file.set_data(array)
            file.set_extended_header(np.array([b"some words of eighty letters"], "S80"))
        np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc").array[..., 0], array)

    def test_a_stack_of_pictures(self, tmp_path):
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        volume = read_volume(mrc(tmp_path / "a.mrc", array, 2.0, stack=True))
        note = "the header declares a stack of pictures (ISPG 0): its planes need not be neighbours in space"
        assert (volume.notes, volume.spacing_mm, volume.shape) == ((note,), None, (2, 3, 4, 1))
        # A tomogram, as IMOD writes it: with as many intervals as planes.
        assert read_volume(made(w23=0)).spacing_mm is not None
        assert read_volume(made(w23=0)).notes == (note,)

    def test_a_picture_is_no_stack(self, tmp_path):
        volume = read_volume(mrc(tmp_path / "a.mrc", np.ones((3, 4), np.float32)))
        assert (volume.shape, volume.notes) == ((1, 3, 4, 1), ())

    def test_a_stack_of_volumes_has_them_as_channels(self, tmp_path):
        array = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
        volume = read_volume(mrc(tmp_path / "a.mrc", array, 2.0))
        np.testing.assert_array_equal(volume.array, np.moveaxis(array, 0, -1))
        np.testing.assert_allclose(volume.spacing_mm, [2 * ANGSTROM] * 3, rtol=1e-6)

    @pytest.mark.parametrize(("flags", "expected"), [(0, 200), (1, -56)])
    def test_bytes_of_imod_have_a_sign_if_it_says_so(self, flags, expected):
        data = made(mode=0, data=bytes([200]) * 24, w39=1146047817, w40=flags)
        assert read_volume(data).array[0, 0, 0, 0] == expected

    def test_a_skew_cell_is_said(self):
        note = "its cell has angles of 90, 90, 120 degrees: the spacing is along its edges"
        assert read_volume(made(w16=120.0)).notes == (note,)

    @pytest.mark.parametrize(
        "words", [{"w10": 0}, {"w8": -4, "w11": -4.0}, {"w11": 0.0}, {"w12": float("nan")}, {"w13": -1.0}]
    )
    def test_a_cell_that_is_none(self, words):
        assert read_volume(made(**words)).spacing_mm is None


def test_a_part_equals_a_cut_of_the_whole(tmp_path):
    array = np.random.default_rng(0).integers(0, 999, (12, 20, 30)).astype(np.int16)
    data = mrc(tmp_path / "a.mrc", array, 2.0, mapc=3, mapr=1, maps=2)
    for wrap in (bytes, gzip.compress):
        whole = read_volume(wrap(data))
        part = read_volume(wrap(data), part=Part(box=((3, 10), (2, 9), (5, 16)), reduce=2))
        cut = whole.array[3:11, 2:10, 5:17].reshape(4, 2, 4, 2, 6, 2, 1).mean(axis=(1, 3, 5))
        np.testing.assert_array_equal(part.array, cut.astype(np.float32))


def test_a_look_decodes_nothing(monkeypatch):
    def nothing(*_):
        raise AssertionError("a value was decoded")

    monkeypatch.setattr("conv3d_core.volumes.entry._inflated", nothing)
    (entry,) = inspect_volume(gzip.compress(made()))
    assert entry.stored == "int16 (4, 3, 2)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(made(mode=3), "its values are complex (mode 3); save the magnitude or the real", id="complex"),
        pytest.param(made(mode=4), "its values are complex (mode 4); save the magnitude or the real", id="complex 4"),
        pytest.param(made(mode=16), "its values are colours (mode 16); save one channel", id="colours"),
        pytest.param(made(mode=101), "packed into 4 bits each (mode 101); save them in mode 0 or 6", id="4 bits"),
        pytest.param(made(mode=9), "mode 9 of MRC is not read here; save it in mode 2", id="mode"),
        pytest.param(made(mode=-1), "mode -1 of MRC is not read here", id="negative mode"),
        pytest.param(made(sizes=(4, 0, 2)), "the declared shape (4, 0, 2) holds no voxel", id="no voxel"),
        pytest.param(made(sizes=(4, -3, 2)), "the declared shape (4, -3, 2) holds no voxel", id="negative"),
        pytest.param(made(sizes=(2**31 - 1,) * 3), "is larger than any volume", id="huge"),
        pytest.param(made(sizes=(30000, 30000, 30)), "it is cut off: its header declares", id="large"),
        pytest.param(made()[:-1], "it is cut off: its header declares 1,072 bytes and 1,071 are there", id="cut off"),
        pytest.param(made(w24=-4), "declares -4 bytes of extended header", id="negative extended"),
        pytest.param(made(w24=2**31 - 1), "declares 2,147,483,647 bytes of extended header", id="long extended"),
        pytest.param(made(w24=4096), "it is cut off", id="extended cut off"),
        pytest.param(gzip.compress(made())[:-9], "its gzip data is cut off", id="gzip cut off"),
        pytest.param(gzip.compress(made())[:-8] + bytes(8), "its gzip data is damaged", id="checksum"),
        pytest.param(made()[:1000], "is not a volume format that is read here", id="header cut off"),
    ],
)
def test_refusals(data, message):
    refused(data, message)
