"""Numbers of a declared layout."""

import bz2
import gzip
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, RawLayout, inspect_volume, read_volume
from conv3d_core.volumes.formats.raw import suggest


@pytest.mark.parametrize("dtype", ["?", "i1", "|u1", "<i2", ">u2", "uint16", "<i4", ">i8", "f2", ">f4", "float64"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 2, 2)])
def test_numbers_are_those_of_numpy(dtype, shape):
    array = (np.arange(24) % 2).reshape(shape).astype(dtype)
    volume = read_volume(b"abc" + array.tobytes(), "a.raw", raw=RawLayout(shape, dtype, 3))
    np.testing.assert_array_equal(volume.array, array.astype(np.float32).reshape(*shape[:3], -1))
    assert (volume.name, volume.dtype, volume.notes) == ("a.raw", np.dtype(dtype).name, ())
    assert volume.source.startswith(f"raw, {volume.dtype} {shape} D H W")


def test_what_it_looks_like_does_not_matter():
    for start in (b"PK\x03\x04", b"\x1f\x8b", b"\x93NUMPY", b"NRRD0004\n", b""):
        data = start.ljust(24, b"\0")
        assert read_volume(data, raw=RawLayout((2, 3, 4), "u1")).array.ravel().tolist() == list(data)


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_a_file_that_is_called_compressed_and_is_it(pack, ending, tmp_path):
    (tmp_path / f"a.raw{ending}").write_bytes(pack(bytes(range(24))))
    layout = RawLayout((2, 3, 4), "u1")
    assert read_volume(tmp_path / f"a.raw{ending}", raw=layout).array.ravel().tolist() == list(range(24))
    with pytest.raises(VolumeError, match="data is cut off"):
        read_volume(tmp_path / f"a.raw{ending}", raw=RawLayout((5, 3, 4), "u1"))
    (tmp_path / f"b.raw{ending}").write_bytes(bytes(range(24)))
    assert read_volume(tmp_path / f"b.raw{ending}", raw=layout).array.ravel().tolist() == list(range(24))


def test_a_look_and_a_part():
    array = np.arange(4 * 6 * 8, dtype=">u2").reshape(4, 6, 8)
    layout = RawLayout((4, 6, 8), ">u2")
    (entry,) = inspect_volume(array.tobytes(), raw=layout)
    assert (entry.sizes, entry.stored) == ((4, 6, 8, 1), "uint16 (4, 6, 8)")
    part = read_volume(array.tobytes(), raw=layout, part=Part(box=((1, 2), (2, 5), (0, 3)), reduce=2))
    expected = array[1:3, 2:6, 0:4].reshape(1, 2, 2, 2, 2, 2).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(part.array[..., 0], expected.astype(np.float32))


def test_bytes_that_are_left_over_are_said():
    assert read_volume(bytes(30), raw=RawLayout((2, 3, 4), "u1", 1)).notes == (
        "5 bytes behind the declared values were left out",
    )


def test_too_few_bytes():
    with pytest.raises(VolumeError) as caught:
        read_volume(bytes(2 * 64**3), raw=RawLayout((100, 100, 100), "<u2", 7))
    assert str(caught.value) == (
        "raw: (100, 100, 100) of uint16 behind byte 7 needs 2,000,007 bytes and 524,288 are there; "
        "use a smaller shape, or a dtype of fewer bytes."
    )
    with pytest.raises(VolumeError, match=r"and 524,288 are there; use a shape such as \(64, 64, 64\)\.") as caught:
        read_volume(bytes(2 * 64**3), raw=RawLayout((100, 100, 100)))
    assert (caught.value.field, caught.value.value) == ("raw", 524288)
    with pytest.raises(VolumeError, match="and 0 are there"):
        read_volume(b"", raw=RawLayout((1, 1, 1)))


def test_one_file_only():
    with pytest.raises(VolumeError, match="raw: 2 files were given; give one, or leave its layout out"):
        read_volume([("a", b"1"), ("b", b"2")], raw=RawLayout((1, 1, 1)))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"shape": (2, 3)}, "the shape (2, 3) is not a volume's; use (D, H, W) or (D, H, W, C), each an integer >= 1"),
        ({"shape": (2, 3, 4, 5, 6)}, "is not a volume's"),
        ({"shape": (2, 0, 3)}, "is not a volume's"),
        ({"shape": (2, True, 3)}, "is not a volume's"),
        ({"shape": (2, 1.5, 3)}, "is not a volume's"),
        ({"shape": "234"}, "the shape '234' is not a volume's"),
        ({"shape": 5}, "the shape 5 is not a volume's"),
        ({"shape": (10**5000, 1, 1)}, "is not a volume's"),
        ({"shape": (2**30, 2**30, 2**30)}, "is larger than any volume; use smaller sizes"),
        ({"dtype": "complex64"}, "the dtype 'complex64' is not one of real numbers; use one such as '<u2'"),
        ({"dtype": "O"}, "the dtype 'O' is not one"),
        ({"dtype": "(1000000,)f8"}, "is not one of real numbers"),
        ({"dtype": "f4,i4"}, "is not one of real numbers"),
        ({"dtype": "f16"}, "is not one of real numbers"),
        ({"dtype": ""}, "is not one of real numbers"),
        ({"dtype": np.uint8}, "is not one of real numbers"),
        ({"offset": -1}, "the offset -1 is no place in a file; use an integer >= 0"),
        ({"offset": 1.0}, "the offset 1.0 is no place in a file"),
        ({"offset": 2**60}, "is no place in a file"),
    ],
)
def test_layouts_that_are_none(given_, message):
    with pytest.raises(VolumeError, match=re.escape(message)) as caught:
        RawLayout(**{"shape": (2, 3, 4), **given_})
    assert caught.value.field == "raw"


@pytest.mark.parametrize(
    ("nbytes", "dtype", "expected"),
    [
        (2 * 64**3, "<u2", (64, 64, 64)),
        (181 * 217 * 181, "u1", (181, 217, 181)),
        (4 * 40 * 512 * 512, "<f4", (40, 512, 512)),
        (2 * 33 * 480 * 640, ">i2", (33, 480, 640)),
    ],
)
def test_the_shape_that_a_person_would_try_is_suggested(nbytes, dtype, expected):
    assert expected in suggest(nbytes, dtype)


@given(st.integers(-5, 2**62), st.sampled_from(["u1", "<u2", "<f8"]))
def test_suggestions_use_up_the_file(nbytes, dtype):
    shapes = suggest(nbytes, dtype)
    assert len(shapes) <= 6
    assert all(math.prod(shape) * np.dtype(dtype).itemsize == nbytes for shape in shapes)


def test_what_has_no_plausible_shape():
    assert suggest(0) == suggest(-2) == suggest(2 * 65_537) == suggest(2 * 64**3 + 1) == []
    assert (2, 512, 512) not in suggest(4 * 512 * 512)
    with pytest.raises(VolumeError, match="raw: the dtype 'x'"):
        suggest(8, "x")
