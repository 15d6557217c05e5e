"""DICOM: sequences without an end, pixels that are not there, series that do not belong together."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

from tests.core.hostile.case import Case, Files, Reads
from tests.core.hostile.packed import zeros_deflated, zipped
from tests.core.hostile.small import nifti
from tests.core.hostile.tiff_files import jpeg, jpeg_2000, page, written

ONE = Reads((1, 4, 5, 1))
EXPLICIT, DEFLATED, BIG = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"
RLE, JPEG, J2K, MPEG = (b"1.2.840.10008.1.2." + end for end in (b"5", b"4.50", b"4.90", b"4.102"))
JPEG_LS, LOSSLESS = (b"1.2.840.10008.1.2.4." + end for end in (b"80", b"70"))
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL")
UNDEFINED = 0xFFFFFFFF
Elements = dict[int, tuple[bytes, bytes]]


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """In explicit little endian; its length may lie."""
    value += (b"\0" if vr == b"UI" or vr in LONG else b" ") * (len(value) % 2)
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HL", 0, size) if vr in LONG else struct.pack("<H", size)) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length is None else length) + content


def file(body: bytes, syntax: bytes = EXPLICIT, preamble: bytes = bytes(128)) -> bytes:
    """A file with that data set."""
    meta = element(0x00020010, b"UI", syntax)
    return preamble + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta + body


def short(*numbers: int) -> tuple[bytes, bytes]:
    return b"US", struct.pack(f"<{len(numbers)}H", *numbers)


def data_set(pixels: bytes = bytes(range(40)), extra: bytes = b"", **changed: tuple[bytes, bytes] | None) -> bytes:
    """Of a picture of 4 x 5 in 16 bits; ``_TAG=(vr, value)`` changes an element, ``_TAG=None`` leaves it out.

    Args:
        pixels: of the picture; without any, not even the element's head.
        extra: elements in front of the pixels.
        changed: elements by their tags in hexadecimal.
    """
    elements: dict[int, tuple[bytes, bytes] | None] = {
        0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.2"), 0x00080018: (b"UI", b"1.2.3"), 0x00080060: (b"CS", b"CT"),
        0x0020000D: (b"UI", b"1.2.4"), 0x0020000E: (b"UI", b"1.2.5"), 0x00280002: short(1),
        0x00280004: (b"CS", b"MONOCHROME2"), 0x00280010: short(4), 0x00280011: short(5), 0x00280100: short(16),
        0x00280101: short(16), 0x00280102: short(15), 0x00280103: short(0),
    }  # fmt: skip
    elements |= {int(name.lstrip("_"), 16): value for name, value in changed.items()}
    body = b"".join(element(tag, *value) for tag, value in sorted(elements.items()) if value is not None)
    return body + extra + (element(0x7FE00010, b"OW", pixels) if pixels else b"")


def plane(number: int, position: str = "", series: bytes = b"1.2.5", **changed: tuple[bytes, bytes] | None) -> bytes:
    """One of a series, 2 mm apart."""
    usual: dict[str, tuple[bytes, bytes] | None] = {
        "_00080018": (b"UI", b"1.2.3.%d" % (number + 1)),
        "_0020000E": (b"UI", series),
        "_00200013": (b"IS", b"%d" % (number + 1)),
        "_00200032": (b"DS", (position or f"0\\0\\{2 * number}").encode()),
        "_00200037": (b"DS", b"1\\0\\0\\0\\1\\0"),
        "_00280030": (b"DS", b"1\\1"),
    }
    return file(data_set(**{**usual, **changed}))


def fragments(*pieces: bytes, end: bool = True) -> bytes:
    """Pixels of undefined length."""
    body = b"".join(item(piece + b"\0" * (len(piece) % 2)) for piece in (b"", *pieces))
    return element(0x7FE00010, b"OB", b"", UNDEFINED) + body + (struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if end else b"")


def cases() -> Iterator[tuple[str, Case]]:
    yield from _headers()
    yield from _pixels()
    yield from _series()


def _headers() -> Iterator[tuple[str, Case]]:
    yield "DICOM: a sound one", Case(lambda: file(data_set()), ONE)
    for at in (131, 132, 140, 160, 200, 300, 360):
        yield f"DICOM: cut off at byte {at}", Case(partial(_cut, at), "cut off|holds no image|is not a volume format")
    yield "DICOM: pixels cut off", Case(lambda: file(data_set())[:-1], "cut off")
    yield "DICOM: no pixels", Case(lambda: file(data_set(b"")), "without its pixels")
    yield "DICOM: sequences 10,000 deep", Case(partial(_nested, 10_000), "deep|damaged")
    yield "DICOM: sequences 10,000 deep that we want", Case(partial(_nested, 10_000, 0x00283000), "deep|damaged")
    yield (
        "DICOM: sequence that never ends",
        Case(lambda: file(element(0x00081140, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED) * 1000), "cut off|deep"),
    )
    yield (
        "DICOM: item that never ends",
        Case(
            lambda: file(
                element(0x00081140, b"SQ", b"", UNDEFINED) + item(element(0x00080060, b"CS", b"CT"), UNDEFINED)
            ),
            "cut off",
        ),
    )
    yield (
        "DICOM: item longer than its sequence",
        Case(lambda: file(data_set(extra=element(0x00283000, b"SQ", item(b"", 10**6)))), "longer than|damaged|cut off"),
    )
    yield (
        "DICOM: element of 4 GB",
        Case(lambda: file(data_set(extra=element(0x00290010, b"UN", b"x", UNDEFINED - 1))), "cut off"),
    )
    yield (
        "DICOM: element of undefined length and no sequence",
        Case(lambda: file(data_set(extra=element(0x00290010, b"UN", b"", UNDEFINED))), "cut off|damaged|fragments"),
    )
    yield "DICOM: 100,000 elements", Case(lambda: file(element(0x00090010, b"LO", b"") * 100_000 + data_set()), ONE)
    yield (
        "DICOM: 100,000 items",
        Case(lambda: file(data_set(extra=element(0x52009230, b"SQ", item(b"") * 100_000))), "describes 100000 frames"),
    )
    yield (
        "DICOM: nonsense for a type",
        Case(
            lambda: file(data_set(extra=element(0x00290010, b"\xff\xfe", b"x" * 50))),
            "cut off|damaged|holds no image|longer",
        ),
    )
    yield "DICOM: syntax unknown", Case(lambda: file(data_set(), b"1.2.3.4"), "transfer syntax")
    yield "DICOM: syntax of a video", Case(lambda: file(data_set(), MPEG), "transfer syntax")
    yield (
        "DICOM: syntax of another byte order",
        Case(lambda: file(data_set(), BIG), "cut off|holds no|damaged|declared shape|not possible"),
    )
    yield (
        "DICOM: deflated bomb of 4 GB",
        Case(lambda: file(zeros_deflated(4096), DEFLATED), "more than 1,000,000 elements"),
    )
    yield (
        "DICOM: deflated bomb behind the header",
        Case(
            lambda: file(
                zeros_deflated(4096, data_set(b"") + element(0x7FE00010, b"OW", b"", UNDEFINED - 1)), DEFLATED
            ),
            ONE,
        ),
    )
    yield (
        "DICOM: deflated bomb in an element",
        Case(
            lambda: file(zeros_deflated(4096, element(0x00290010, b"UN", b"", UNDEFINED - 1)), DEFLATED),
            "header is longer than",
        ),
    )
    yield (
        "DICOM: deflated nonsense",
        Case(lambda: file(b"\xff" * 500, DEFLATED), "deflated data is damaged|data is damaged"),
    )
    yield (
        "DICOM: a TIFF in its preamble",
        Case(lambda: file(data_set(), preamble=written(page(), data=bytes(20))[:128]), ONE),
    )
    yield (
        "DICOM: a zip in its preamble",
        Case(lambda: file(data_set(), preamble=b"PK\3\4" + bytes(124)), "zip data is damaged"),
    )
    yield "DICOM: a NIfTI in its preamble", Case(lambda: file(data_set(), preamble=nifti()[:128]), ONE)
    yield (
        "DICOM: a directory",
        Case(lambda: file(element(0x00080016, b"UI", b"1.2.840.10008.1.3.10")), "a DICOMDIR|holds no image"),
    )
    yield (
        "DICOM: referenced file is the system's",
        Case(
            lambda: file(
                data_set(b"", element(0x00041500, b"CS", b"ETC\\PASSWD"), _00080016=(b"UI", b"1.2.840.10008.1.3.10"))
            ),
            "holds no image",
        ),
    )


def _pixels() -> Iterator[tuple[str, Case]]:
    given: dict[str, tuple[dict[str, tuple[bytes, bytes] | None], str | Reads]] = {
        "rows 0": ({"_00280010": short(0)}, "holds no voxel"),
        "rows 65,535": ({"_00280010": short(65535), "_00280011": short(65535)}, "cut off"),
        "no rows": ({"_00280010": None}, "holds no voxel"),
        "frames 2**31": ({"_00280008": (b"IS", b"2147483647")}, "frames|cut off|larger"),
        "frames 1e12": ({"_00280008": (b"IS", b"999999999999")}, "frames|cut off|larger"),
        "frames -5": ({"_00280008": (b"IS", b"-5")}, ONE),
        "frames NaN": ({"_00280008": (b"IS", b"nan")}, ONE),
        "frames a word": ({"_00280008": (b"IS", b"many")}, ONE),
        "samples 65,535": ({"_00280002": short(65535)}, "pixels of 65535 samples"),
        "samples 0": ({"_00280002": short(0)}, "holds no voxel"),
        "bits 0": ({"_00280100": short(0)}, "pixels of 0 bits"),
        "bits 65,535": ({"_00280100": short(65535)}, "pixels of 65535 bits"),
        "bits stored 0": ({"_00280101": short(0)}, "are not possible"),
        "bits stored beyond": ({"_00280101": short(200)}, "are not possible"),
        "high bit beyond": ({"_00280102": short(60000)}, "are not possible"),
        "photometric nonsense": ({"_00280004": (b"CS", b"<script>")}, "'<SCRIPT>', are not read here"),
        "palette that is not there": ({"_00280004": (b"CS", b"PALETTE COLOR")}, "look-up table"),
        "slope NaN": ({"_00281053": (b"DS", b"nan")}, "slope 'nan' is no number"),
        "slope 1e999": ({"_00281053": (b"DS", b"1e999")}, "slope '1e999' is no number"),
        "slope a word": ({"_00281053": (b"DS", b"steep")}, "slope 'steep' is no number"),
        "intercept infinite": ({"_00281052": (b"DS", b"-inf")}, "intercept '-inf' is no number"),
        "planes that are YBR": (
            {"_00280004": (b"CS", b"YBR_FULL_422"), "_00280002": short(3)},
            "in YBR_FULL_422 are not read here",
        ),
    }
    for name, (changed, expect) in given.items():
        yield f"DICOM: {name}", Case(lambda changed=changed: file(data_set(**changed)), expect)
    eight = {"_00280100": short(8), "_00280101": short(8), "_00280102": short(7)}

    def packed(syntax: bytes, *pieces: bytes, end: bool = True, **changed: tuple[bytes, bytes]) -> bytes:
        return file(data_set(b"", fragments(*pieces, end=end), **{**eight, **changed}), syntax)

    large = {"_00280010": short(65_500), "_00280011": short(65_500)}
    yield (
        "DICOM: JPEG of 65,500 x 65,500 for 4 x 5",
        Case(lambda: packed(JPEG, jpeg(65_500, 65_500)), "its JPEG baseline data is of"),
    )
    yield (
        "DICOM: JPEG of 65,500 x 65,500",
        Case(lambda: packed(JPEG, jpeg(65_500, 65_500), **large), "larger than is read here"),
    )
    yield "DICOM: JPEG of next to nothing", Case(lambda: packed(JPEG, jpeg(5, 4)[:40]), "JPEG data is damaged")
    yield "DICOM: JPEG 2000 of 2**31", Case(lambda: packed(J2K, jpeg_2000(2**31 - 1, 1)), "is cut into")
    yield "DICOM: JPEG 2000 cut off", Case(lambda: packed(J2K, jpeg_2000(4, 4)[:30]), "JPEG 2000 data is cut off")
    yield (
        "DICOM: JPEG-LS of nonsense",
        Case(lambda: packed(JPEG_LS, b"\xff\xd8" + b"\xff" * 100), "JPEG data is damaged"),
    )
    yield (
        "DICOM: JPEG lossless of nonsense",
        Case(lambda: packed(LOSSLESS, b"\xff\xd8" + b"\xff" * 100), "JPEG data is damaged"),
    )
    yield "DICOM: RLE of no segments", Case(lambda: packed(RLE, bytes(64)), "needs 1 segments")
    yield (
        "DICOM: RLE whose segments lie behind the end",
        Case(lambda: packed(RLE, struct.pack("<16L", 1, 2**31, *[0] * 14)), "out of order"),
    )
    yield (
        "DICOM: RLE that is cut off",
        Case(lambda: packed(RLE, struct.pack("<16L", 1, 64, *[0] * 14) + b"\xff\0"), "RLE data is cut off"),
    )
    yield "DICOM: RLE bomb", Case(lambda: packed(RLE, struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 500_000), ONE)
    yield "DICOM: no fragment", Case(lambda: packed(RLE), "cut off|no pixels")
    yield "DICOM: fragments without an end", Case(lambda: packed(RLE, bytes(64), end=False), "needs 1 segments")
    yield (
        "DICOM: 100,000 fragments of nothing",
        Case(lambda: packed(RLE, *[b""] * 100_000, _00280008=(b"IS", b"7")), "cannot be shared out among 7 frames"),
    )
    yield "DICOM: fragments in plain pixels", Case(lambda: packed(EXPLICIT, bytes(40)), "in fragments")
    yield (
        "DICOM: 100,000 frames in 40 bytes",
        Case(lambda: packed(RLE, bytes(40), _00280008=(b"IS", b"100000")), "cut off"),
    )


def _series() -> Iterator[tuple[str, Case]]:
    three = Reads((3, 4, 5, 1))
    yield "DICOM: series", Case(partial(_planes, 0, 1, 2), three)
    yield "DICOM: series without planes 2 and 3", Case(partial(_planes, 0, 1, 4, 5), Reads((4, 4, 5, 1), "missing"))
    yield (
        "DICOM: two series mixed",
        Case(
            lambda: [*_planes(0, 1), ("x", plane(2, series=b"1.9")), ("y", plane(3, series=b"1.9"))],
            "2 of its 2 arrays could be",
        ),
    )
    yield (
        "DICOM: a plane of another size",
        Case(lambda: [*_planes(0, 1, 2), ("x", plane(3, _00280010=short(2)))], Reads((3, 4, 5, 1), "also in it")),
    )
    yield "DICOM: positions NaN", Case(lambda: [(str(n), plane(n, "nan\\nan\\nan")) for n in range(3)], three)
    yield "DICOM: positions 1e300", Case(lambda: [(str(n), plane(n, f"0\\0\\1e30{n}")) for n in range(3)], three)
    yield (
        "DICOM: positions all the same",
        Case(
            lambda: [(str(n), plane(n, "0\\0\\0")) for n in range(3)],
            Reads((1, 4, 5, 3), "told apart only by their instance number"),
        ),
    )
    yield (
        "DICOM: orientation of nothing",
        Case(lambda: [(str(n), plane(n, _00200037=(b"DS", b"0\\0\\0\\0\\0\\0"))) for n in range(3)], three),
    )
    yield "DICOM: spacing zero", Case(lambda: [(str(n), plane(n, _00280030=(b"DS", b"0\\0"))) for n in range(3)], three)
    yield (
        "DICOM: the same file thrice",
        Case(lambda: [(str(n), plane(0)) for n in range(3)], Reads((1, 4, 5, 1), "copies")),
    )
    yield "DICOM: 2,000 files", Case(partial(_planes, *range(2000)), Reads((2000, 4, 5, 1)))
    yield (
        "DICOM: a series in a zip, a plane cut off",
        Case(lambda: zipped(*_planes(0, 1), ("2", plane(2)[:-10])), "'2': it is cut off"),
    )


def _cut(at: int) -> bytes:
    return file(data_set())[:at]


def _nested(depth: int, tag: int = 0x00081140) -> bytes:
    inner = b"".join(element(tag, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED) for _ in range(depth))
    return file(data_set(b"", inner))


def _planes(*numbers: int) -> Files:
    return [(f"{number}.dcm", plane(number)) for number in numbers]
