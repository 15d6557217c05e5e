"""NIfTI, NRRD, MetaImage and MRC: sizes, places, scales and affines that are none, and data in other files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from tests.core.canaries import CANARY
from tests.core.hostile.case import Case, Reads
from tests.core.hostile.packed import gzipped, zeros_gzip, zeros_zlib
from tests.core.hostile.small import mha, mrc, nifti, nrrd

ONE = Reads((3, 4, 5, 1))
NO_VOXEL = "holds no voxel"
LARGER = "larger than any volume"
# Where a header could point.
ELSEWHERE = {
    "beside it": CANARY,
    "above it": f"../{CANARY}",
    "absolute": str(Path(__file__).resolve()),
    "the system's": "/etc/passwd",
    "a device": "/dev/zero",
    "a URL": "http://127.0.0.1:9/a.raw",
    "a file URL": "file:///etc/passwd",
    "Windows's": "C:\\Windows\\win.ini",
}
SPREAD = {
    "LIST": "LIST",
    "list of three": "LIST 2",
    "pattern": "%03d.raw 1 3 1",
    "pattern of stars": "%s%s%n.raw 1 3 1",
}


def cases() -> Iterator[tuple[str, Case]]:
    yield from _nifti()
    yield from _nrrd()
    yield from _metaimage()
    yield from _mrc()


def _dims(*dims: int) -> np.ndarray:
    return np.array([*dims, *[1] * (8 - len(dims))])


def _nifti() -> Iterator[tuple[str, Case]]:
    dims = {
        "zero": (_dims(3, 5, 0, 3), NO_VOXEL),
        "negative": (_dims(3, 5, -4, -3), NO_VOXEL),
        "all of 32767": (_dims(7, *[32767] * 7), LARGER),
        "32767 thrice": (_dims(3, 32767, 32767, 32767), "cut off"),
        "of no axis": (_dims(0, 5, 4, 3), "is not one volume|holds no voxel"),
        "of -1 axes": (_dims(-1, 5, 4, 3), "is not one volume|damaged|holds no voxel"),
        "of 32767 axes": (_dims(32767, 5, 4, 3), "is not one volume|damaged|cut off"),
        "of five": (_dims(5, 5, 2, 2, 3, 2), "is not one volume"),
        "of six": (_dims(6, 5, 1, 2, 2, 1, 3), "is not one volume"),
        "larger than the file": (_dims(3, 50, 40, 30), "cut off"),
    }
    for name, (dim, expect) in dims.items():
        yield f"NIfTI: sizes {name}", Case(partial(nifti, dim=dim), expect)
    for offset in (-1.0, 0.0, 100.0, 1e6, 1e9, 3e38, float("inf"), float("nan")):
        yield f"NIfTI: data at {offset:g}", Case(partial(nifti, vox_offset=offset), "puts the data|damaged|cut off")
    for code in (0, 1, 32, 128, 1536, 1792, 2304, 9999, -1):
        expect = "values are complex|are not plain numbers|damaged|cut off"
        yield f"NIfTI: type {code}", Case(partial(nifti, datatype=code), expect)
    # A slope that is none means that there is no scale.
    for slope in (0.0, np.nan, np.inf):
        yield f"NIfTI: slope {slope}", Case(partial(nifti, scl_slope=slope, scl_inter=7.0), ONE)
    yield "NIfTI: intercept NaN", Case(partial(nifti, scl_slope=2.0, scl_inter=np.nan), "header is damaged")
    for name, values in {"NaN": np.nan, "zero": 0.0, "infinite": np.inf, "negative": -1.0, "tiny": 1e-45}.items():
        yield f"NIfTI: affine {name}", Case(partial(_affine, values), ONE)
        yield f"NIfTI: spacing {name}", Case(partial(_pixdim, values), ONE)
    for at in (4, 100, 347, 348, 351, 352, 471):
        yield f"NIfTI: cut off at byte {at}", Case(partial(_cut, nifti, at), "cut off|is not a volume format")
    yield "NIfTI: complex", Case(partial(_typed, np.complex64), "complex64 values are complex")
    yield "NIfTI: header without an image", Case(partial(nifti, magic=b"ni1\0"), "whose data is in another file")
    yield (
        "NIfTI: image cut off",
        Case(lambda: [("a.hdr", nifti(magic=b"ni1\0", vox_offset=0)[:348]), ("a.img", bytes(119))], "cut off"),
    )
    yield (
        "NIfTI: two images of one name",
        Case(
            lambda: [("a.hdr", nifti(magic=b"ni1\0", vox_offset=0)[:348]), ("a.img", bytes(120)), ("a.img.gz", b"?")],
            "whose data is in another file",
        ),
    )
    yield "NIfTI: extensions that never end", Case(_extensions, ONE)
    yield "NIfTI-2: sizes 2**62", Case(partial(nifti, nibabel.Nifti2Image, dim=_dims(3, 2**62, 2**62, 2**62)), LARGER)
    yield "NIfTI-2: header cut off", Case(lambda: nifti(nibabel.Nifti2Image)[:539], "cut off")
    yield "NIfTI-2: sizes negative", Case(partial(nifti, nibabel.Nifti2Image, dim=_dims(3, -(2**63), 4, 3)), NO_VOXEL)
    yield (
        "NIfTI-2: data at 2**63",
        Case(partial(nifti, nibabel.Nifti2Image, vox_offset=2**63 - 1), "puts the data at byte"),
    )


def _affine(value: float) -> bytes:
    rows = {f"srow_{letter}": np.full(4, value, np.float32) for letter in "xyz"}
    return nifti(sform_code=1, **rows)


def _pixdim(value: float) -> bytes:
    return nifti(sform_code=0, qform_code=1, pixdim=np.full(8, value, np.float32))


def _typed(dtype: type) -> bytes:
    return nibabel.Nifti1Image(np.zeros((5, 4, 3), dtype), np.eye(4)).to_bytes()


def _cut(build: object, at: int) -> bytes:
    return build()[:at]


def _extensions() -> bytes:
    content = nifti(vox_offset=1376.0)
    return content[:348] + b"\1\0\0\0" + struct.pack("<2i", 0, 6) * 128 + content[352:]


def _nrrd() -> Iterator[tuple[str, Case]]:
    for name, path in ELSEWHERE.items():
        yield f"NRRD: data {name}", Case(partial(nrrd, data_file=path), "whose data is in another file")
    for name, path in SPREAD.items():
        yield f"NRRD: data in {name}", Case(partial(nrrd, data_file=path), "spread over several files")
    fields: dict[str, tuple[dict[str, str | None], str]] = {
        "skips 1e9 lines": ({"line_skip": "1000000000"}, "skips 1,000,000,000 lines"),
        "skips -1 lines": ({"line_skip": "-1"}, "skips -1 lines"),
        "skips lines that are not there": ({"line_skip": "99999"}, "no such lines"),
        "skips 2**62 bytes": ({"byte_skip": str(2**62)}, "no whole number|skips"),
        "skips behind the end": ({"byte_skip": "1000"}, "cut off"),
        "skips -2 bytes": ({"byte_skip": "-2"}, "skips 0 lines and -2 bytes"),
        "size zero": ({"sizes": "5 0 3"}, NO_VOXEL),
        "sizes negative": ({"sizes": "5 -4 -3"}, NO_VOXEL),
        "sizes 2**32": ({"sizes": f"{2**32} {2**32} {2**32}"}, LARGER),
        "sizes of 5,000 digits": ({"sizes": f"{'9' * 5000} 4 3"}, "no whole number"),
        "size a fraction": ({"sizes": "5 4 3.5"}, "no whole number"),
        "size in other digits": ({"sizes": "5 4 \u0663"}, "no whole number"),
        "sizes too few": ({"sizes": "5 4"}, "3 axes and 2 sizes"),
        "sizes too many": ({"sizes": "5 4 3 " * 1000}, "is no whole number"),
        "no axes": ({"dimension": "0"}, "declares 0 axes"),
        "1e9 axes": ({"dimension": "1000000000"}, "declares 1000000000 axes"),
        "blocks": ({"type": "block", "block_size": "1000000000"}, "not a plain number"),
        "type is code": ({"type": "__import__('os')"}, "not a plain number"),
        "no endian": ({"endian": None}, "has no field 'endian'"),
        "endian middle": ({"endian": "middle"}, "has the endian 'middle'"),
        "encoding zrl": ({"encoding": "zrl"}, "is not read here"),
        "text instead of numbers": ({"encoding": "text"}, "text|no int16|damaged|cut off"),
        "hex instead of numbers": ({"encoding": "hex"}, "hexadecimal|cut off"),
        "gzip that is none": ({"encoding": "gzip"}, "gzip data is"),
        "bzip2 that is none": ({"encoding": "bzip2"}, "bzip2 data is"),
        "directions too few": ({"space_directions": "(1,0,0) (0,1,0)"}, "3 axes and 2 space directions"),
        "directions no numbers": ({"space_directions": "(1,0,0) (0,a,0) (0,0,1)"}, "is no vector"),
        "directions open": ({"space_directions": "(" * 10_000}, "0 space directions"),
        "kinds not spatial": ({"kinds": "list list list"}, "0 axes through space"),
    }
    for name, (given, expect) in fields.items():
        yield f"NRRD: {name}", Case(partial(nrrd, **given), expect)
    for value in ("nan", "inf", "1e999", "-1", "1e-320"):
        directions = f"({value},0,0) (0,{value},0) (0,0,{value})"
        yield f"NRRD: directions {value}", Case(partial(nrrd, space="lps", space_directions=directions), ONE)
        yield f"NRRD: spacings {value}", Case(partial(nrrd, spacings=f"{value} {value} {value}"), ONE)
    yield (
        "NRRD: directions all the same",
        Case(
            partial(nrrd, space="lps", space_directions="(1,1,1) (1,1,1) (1,1,1)"),
            Reads((3, 4, 5, 1), "cannot be used"),
        ),
    )
    for at in (8, 30, 60, 80, 150):
        yield f"NRRD: cut off at byte {at}", Case(partial(_cut, nrrd, at), "cut off|no field|is not a volume|sizes")
    yield "NRRD: 4 MB header without an end", Case(lambda: nrrd()[:20] + b"a" * 4_500_000, "longer than 4 MiB")
    yield "NRRD: 500,000 lines", Case(lambda: b"NRRD0004\n" + b"a:=b\n" * 500_000, "lines")
    yield "NRRD: a field twice", Case(lambda: nrrd(end="sizes: 1 1 1\n"), "two fields 'sizes'")
    yield "NRRD: zero bytes", Case(lambda: b"NRRD0004\n" + bytes(1000), "has no field")
    yield (
        "NRRD: gzip bomb",
        Case(lambda: nrrd(zeros_gzip(4096), encoding="gzip", sizes="1625 1625 1625", type="uchar"), "MiB as float32"),
    )
    yield "NRRD: gzip bomb behind the data", Case(lambda: nrrd(zeros_gzip(4096), encoding="gzip"), ONE)
    yield (
        "NRRD: gzip data cut off",
        Case(lambda: nrrd(gzipped(bytes(120))[:-9], encoding="gzip"), "gzip data is cut off"),
    )
    yield "NRRD: gzip data too short", Case(lambda: nrrd(gzipped(bytes(60)), encoding="gzip"), "gzip data is cut off")
    yield (
        "NRRD: text of large numbers",
        Case(lambda: nrrd(b"1e999 " * 60, encoding="text", type="float"), Reads((3, 4, 5, 1), "60 infinite values")),
    )
    yield "NRRD: a number of a megabyte", Case(lambda: nrrd(b"9" * 2**20, encoding="text"), "not made of numbers")
    yield (
        "NRRD: text of too much",
        Case(lambda: nrrd(b"0 " * 100, encoding="text", sizes="1000 1000 1000"), "written as text"),
    )


def _metaimage() -> Iterator[tuple[str, Case]]:
    for name, path in ELSEWHERE.items():
        yield f"MetaImage: data {name}", Case(partial(mha, ElementDataFile=path), "whose data is in another file")
    for name, path in SPREAD.items():
        yield f"MetaImage: data in {name}", Case(partial(mha, ElementDataFile=path), "spread over several files")
    fields: dict[str, tuple[dict[str, str | None], str]] = {
        "size zero": ({"DimSize": "5 0 3"}, NO_VOXEL),
        "sizes negative": ({"DimSize": "5 -4 -3"}, NO_VOXEL),
        "sizes 2**32": ({"DimSize": f"{2**32} {2**32} {2**32}"}, LARGER),
        "sizes too few": ({"DimSize": "5 4"}, "3 axes and 2 sizes"),
        "sizes of 5,000 digits": ({"DimSize": f"{'9' * 5000} 4 3"}, "no whole number"),
        "1e9 axes": ({"NDims": "1000000000"}, "declares 1000000000 axes"),
        "a negative number of axes": ({"NDims": "-3"}, "declares -3 axes"),
        "2**31 channels": ({"ElementNumberOfChannels": str(2**31)}, "declares 2,147,483,648 channels"),
        "no channels": ({"ElementNumberOfChannels": "0"}, "declares 0 channels"),
        "type of text": ({"ElementType": "MET_STRING"}, "not a plain number"),
        "a mesh": ({"ObjectType": "Mesh"}, "it is a MetaIO Mesh"),
        "header of 2**60": ({"HeaderSize": str(2**59)}, "skips"),
        "header of -2": ({"HeaderSize": "-2"}, "skips -2 bytes"),
        "header behind the end": ({"HeaderSize": "1000"}, "cut off"),
        "matrix too short": ({"TransformMatrix": "1 0 0"}, "has 3 numbers, and 9 are needed"),
        "matrix of words": ({"TransformMatrix": "a b c d e f g h i"}, "are no numbers"),
        "compressed and none": ({"CompressedData": "True"}, "zlib data is"),
        "compressed size lies": ({"CompressedData": "True", "CompressedDataSize": "100000"}, "cut off"),
        "text and none": ({"BinaryData": "False"}, "text|no int16|cut off"),
        "no sizes": ({"DimSize": None}, "has no field 'DimSize'"),
        "no data": ({"ElementDataFile": None}, "longer than|has no field 'ElementDataFile'"),
    }
    for name, (given, expect) in fields.items():
        yield f"MetaImage: {name}", Case(partial(mha, **given), expect)
    for value in ("nan", "inf", "0", "1e999", "-1"):
        yield f"MetaImage: spacing {value}", Case(partial(mha, ElementSpacing=f"{value} {value} {value}"), ONE)
    yield (
        "MetaImage: matrix of zeros",
        Case(partial(mha, TransformMatrix="0 " * 9), Reads((3, 4, 5, 1), "cannot be used")),
    )
    yield "MetaImage: line of 2 MB", Case(lambda: b"NDims = 3\nComment = " + b"a" * 2_000_000, "longer than 1 MiB")
    yield "MetaImage: 400,000 lines", Case(lambda: b"NDims = 3\n" + b"\n" * 400_000, "lines")
    yield "MetaImage: a field twice", Case(lambda: b"NDims = 2\n" + mha(), "two fields 'NDims'")
    bomb = partial(mha, CompressedData="True", ElementType="MET_UCHAR")
    yield "MetaImage: zlib bomb", Case(lambda: bomb(zeros_zlib(4096), DimSize="1625 1625 1625"), "MiB as float32")
    yield "MetaImage: zlib bomb behind the data", Case(lambda: bomb(zeros_zlib(4096)), ONE)
    for at in (12, 60, 90, 150, 200):
        yield f"MetaImage: cut off at byte {at}", Case(partial(_cut, mha, at), "cut off|no field|is not a volume|sizes")


def _mrc() -> Iterator[tuple[str, Case]]:
    for name, sizes, expect in (
        ("zero", (5, 0, 3), NO_VOXEL),
        ("negative", (5, -4, -3), NO_VOXEL),
        ("2**31", (2**31 - 1, 2**31 - 1, 2**31 - 1), LARGER),
        ("larger than the file", (500, 400, 300), "cut off"),
    ):
        yield f"MRC: sizes {name}", Case(partial(mrc, sizes=sizes), expect)
    for mode in (3, 4, 5, 7, 16, 101, -1, 2**31 - 1):
        yield f"MRC: mode {mode}", Case(partial(mrc, mode=mode), "is not read here|complex|colours|packed")
    for extended in (-1, 100, 2**31 - 1):
        yield (
            f"MRC: extended header of {extended}",
            Case(partial(mrc, at_92=("<i", extended)), "cut off|bytes of extended header"),
        )
    for name, value in (("NaN", float("nan")), ("infinite", float("inf")), ("negative", -50.0)):
        yield f"MRC: cell {name}", Case(partial(mrc, at_40=("<f", value)), ONE)
    yield "MRC: sampling zero", Case(partial(mrc, at_28=("<i", 0)), ONE)
    yield "MRC: axes all the same", Case(partial(mrc, at_68=("<i", 1)), Reads((3, 4, 5, 1), "no order of 1, 2, 3"))
    yield "MRC: stamp of nonsense", Case(partial(mrc, at_212=("<I", 0x99999999)), Reads((3, 4, 5, 1), "machine stamp"))
    yield "MRC: a stack of -1 volumes", Case(partial(mrc, at_88=("<i", 401), at_36=("<i", -1)), ONE)
    for at in (1023, 1024, 1143):
        yield f"MRC: cut off at byte {at}", Case(partial(_cut, mrc, at), "cut off|is not a volume format")
