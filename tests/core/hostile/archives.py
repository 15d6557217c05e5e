"""Archives and wrappings: bombs, lies, names that point elsewhere."""

from __future__ import annotations

import bz2
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np

from tests.core.canaries import CANARY
from tests.core.hostile import small
from tests.core.hostile.case import Case, Files, Reads
from tests.core.hostile.packed import (
    gzipped,
    zeros_bzip2,
    zeros_deflated,
    zeros_gzip,
    zip_of,
    zipped,
)

ONE = Reads((3, 4, 5, 1))
POINTS_OUT = "points out of its archive"
NAMES = {
    "parent": "../../etc/passwd",
    "parent, Windows": "..\\..\\a.npy",
    "absolute": "/etc/passwd",
    "absolute, Windows": "\\\\server\\share\\a.npy",
    "drive": "C:/Windows/a.npy",
    "URL": "http://example.com/a.npy",
    "parent inside": "a/../../a.npy",
}
METHODS = {"bzip2": 12, "LZMA": 14, "deflate64": 9, "Zstandard": 93, "WinZip's AES": 99, "no such": 65535}


def cases() -> Iterator[tuple[str, Case]]:
    yield from _bombs()
    yield from _names()
    yield from _damaged()
    yield from _wrapped()


def _bombs() -> Iterator[tuple[str, Case]]:
    yield "zip: flat bomb of 3 GB", Case(partial(_npy_bomb, 3000), "declares 3,000 MiB")
    yield "zip: bomb behind a small array", Case(_npy_with_bomb, ONE)
    yield "zip: 20,000 members share their bytes", Case(partial(_overlapping, 20_000), "zip data is damaged")
    yield (
        "zip: inside of a zip",
        Case(lambda: zipped(("a.zip", zipped(("a.npy", small.npy())))), "a zip archive inside"),
    )
    yield "zip: bzip2 of 10 GB", Case(_npz_bzip2, "compressed with method 12")
    yield "zip: gzip of 4 GB in it", Case(_zip_of_gzip, "need 8,000 MiB as float32")
    yield "zip: 100,000 members", Case(_hundred_thousand, "64-bit form")
    yield "zip: 50,000 members", Case(partial(_many, 50_000), "declares 50,000 files")
    yield "zip: says that it has few of many", Case(_says_few, "more than 20,000 files")
    yield "zip: in the 64-bit form, and lies", Case(_zip64, "64-bit form")
    yield "zip: member of 2**63 bytes", Case(_zip64_member, "damaged|declares")


def _names() -> Iterator[tuple[str, Case]]:
    for name, path in NAMES.items():
        yield f"zip: name is {name}", Case(partial(_named, path), POINTS_OUT)
    yield (
        "zip: a link",
        Case(
            lambda: zip_of((b"a.npy", deflated(b"/etc/passwd"), 11), attributes=(stat.S_IFLNK | 0o777) << 16),
            "is a link",
        ),
    )
    yield "zip: encrypted", Case(lambda: zip_of((b"a.npy", deflated(small.npy()), 248), flags=1), "is encrypted")
    for name, method in METHODS.items():
        yield f"zip: {name}", Case(partial(_method, method), f"compressed with method {method}")
    yield (
        "zip: name of control characters",
        Case(
            lambda: zipped(("\x1b[31ma\u202et\xa0x\u2028t\x07.npy", small.npy()), ("b.npy", small.npy())),
            r"name one of '\[31matxt' int16",
        ),
    )
    yield (
        "zip: name is a page",
        Case(
            lambda: zipped(("<img src=x onerror=alert(1)>.npy", small.npy()), ("b.npy", small.npy())),
            "could be the volume",
        ),
    )
    yield "zip: name of 60,000 letters", Case(lambda: zipped(("a" * 60_000, b"?"), ("b", b"?")), r"'a{77}\.\.\.'")
    yield "zip: the same name twice", Case(_twice, "2 of its 2 arrays could be")
    yield "zip: no name", Case(partial(_raw_name, b""), "has no name")
    yield "zip: zero byte in a name", Case(partial(_raw_name, b"a.npy\0.exe"), "checksum|damaged")
    yield "zip: name is no text", Case(partial(_raw_name, b"\xff\xfe\xfa.npy"), "checksum|damaged")


def _damaged() -> Iterator[tuple[str, Case]]:
    whole = partial(zipped, ("a.npy", small.npy()), ("b.npy", small.npy()))
    for share in (10, 50, 90, 99):
        yield f"zip: cut off at {share} %", Case(partial(_cut, whole, share), "zip data is damaged")
    yield "zip: empty", Case(partial(zipped), "holds no file")
    yield (
        "zip: folders and litter only",
        Case(lambda: zipped(("a/", b""), ("__MACOSX/._a.npy", b"x"), (".DS_Store", b"x")), "holds no file"),
    )
    yield "zip: no checksum fits", Case(lambda: zip_of((b"a.npy", deflated(small.npy()), 248)), "zip data is damaged")
    yield (
        "zip: holds less than it says",
        Case(lambda: zip_of((b"a.npy", deflated(small.npy()[:200]), 248)), "cut off|damaged"),
    )
    yield (
        "zip: says less than it holds",
        Case(lambda: zip_of((b"a.npy", deflated(small.npy()), 200)), "cut off|damaged"),
    )
    yield "zip: deflated nonsense", Case(lambda: zip_of((b"a.npy", b"\xff" * 100, 248)), "zip data is damaged")
    yield "zip: directory points behind the end", Case(_points_behind, "zip data is damaged")
    yield (
        "zip: member points into the directory",
        Case(lambda: zip_of((b"a.npy", b"", 0), at=40), "damaged|no file|0 bytes"),
    )
    yield "files: 20,001 of them", Case(lambda: [(f"{n}.txt", b"x") for n in range(20_001)], "more than 20,000 files")
    yield "files: names that are paths", Case(_with_paths, "could be the volume")


def _wrapped() -> Iterator[tuple[str, Case]]:
    sound = gzipped(small.nifti())
    yield "gzip: of nothing", Case(lambda: gzipped(b""), "0 bytes")
    yield "gzip: wrong checksum", Case(lambda: sound[:-8] + b"\0\0\0\0" + sound[-4:], "CRC check failed")
    yield "gzip: wrong length", Case(lambda: sound[:-4] + b"\0\0\0\1", "Incorrect length")
    for share in (1, 50, 95):
        yield (
            f"gzip: cut off at {share} %",
            Case(partial(_cut, partial(bytes, sound), share), "gzip data is cut off|no.* format"),
        )
    yield "gzip: nonsense behind its head", Case(lambda: sound[:10] + b"\xff" * 500, "gzip data is damaged")
    yield "gzip: unknown method", Case(lambda: b"\x1f\x8b\x09" + sound[3:], "gzip data is damaged")
    yield "gzip: nonsense behind its end", Case(lambda: sound + b"hello, world", "Not a gzipped")
    yield "gzip: too little for a head behind its end", Case(lambda: sound + b"hello", "gzip data is cut off")
    yield (
        "gzip: name of 4 MB without an end",
        Case(lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 4_000_000, "gzip data is damaged"),
    )
    yield "gzip: 100,000 members", Case(_gzip_members, "0 bytes")
    yield (
        "gzip: 4 GB of NIfTI in 4 MB",
        Case(partial(_nifti_bomb, zeros_gzip, 4096), "need 8,000 MiB as float32", name="a.nii.gz"),
    )
    yield "gzip: 4 GB behind a small NIfTI", Case(lambda: zeros_gzip(4096, small.nifti()), ONE, name="a.nii.gz")
    yield "gzip: 4 GB of TIFF", Case(
        lambda: zeros_gzip(4096, small.tiff()), "inflates to more than 2,048 MiB|more memory than its size explains",
        name="a.tif.gz", only_isolated="a TIFF is inflated as a whole, up to 2 GiB",
    )  # fmt: skip
    yield "bzip2: 10 GB of NIfTI in 10 KB", Case(partial(_nifti_bomb, zeros_bzip2, 10), "need 8,000 MiB as float32")
    yield "bzip2: 10 GB behind a small NIfTI", Case(lambda: zeros_bzip2(10, small.nifti()), ONE)
    yield "bzip2: cut off", Case(lambda: bz2.compress(small.nifti())[:-20], "bzip2 data is cut off")
    yield "bzip2: damaged", Case(_bzip2_damaged, "bzip2 data is damaged")
    yield "gzip: canary's name in its head", Case(_gzip_named, ONE)


def deflated(content: bytes) -> bytes:
    press = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return press.compress(content) + press.flush()


def _cut(build: partial[bytes], share: int) -> bytes:
    content = build()
    return content[: len(content) * share // 100]


def _npy_bomb(mebibytes: int) -> bytes:
    side = mebibytes * 2**20
    start = small.npy_header(f"({mebibytes}, 1024, 1024)", "'u1'", data=0)
    return zip_of((b"a.npy", zeros_deflated(mebibytes, start), len(start) + side))


def _npy_with_bomb() -> bytes:
    start = small.npy()
    return zip_of((b"a.npy", zeros_deflated(1000, start), len(start) + 1000 * 2**20))


def _overlapping(count: int) -> bytes:
    start = small.npy_header("(4, 1024, 1024)", "'u1'", data=0)
    data = zeros_deflated(4, start)
    return zip_of(*((b"%05d.npy" % n, data, len(start) + 4 * 2**20) for n in range(count)), at=0)


def _npz_bzip2() -> bytes:
    return zip_of(
        (b"a.npy", zeros_bzip2(10, small.npy_header("(10000, 1000, 1000)", "'u1'", data=0)), 2**32 - 1), method=12
    )


def _zip_of_gzip() -> bytes:
    return zipped(("a.nii.gz", _nifti_bomb(zeros_gzip, 4096)), method=zipfile.ZIP_STORED)


def _many(count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    return file.getvalue()


def _hundred_thousand() -> bytes:
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, *[0] * 14)
    directory = entry * 100_000
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 100_000, 100_000, len(directory), 30)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 30 + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    return b"PK\3\4" + bytes(26) + directory + record + locator + end


def _says_few() -> bytes:
    content = bytearray(_many(30_000))
    struct.pack_into("<2H", content, len(content) - 14, 3, 3)
    return bytes(content)


def _zip64() -> bytes:
    content = zipped(("a.npy", small.npy()))
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**40, 2**40)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
    return content[:-22] + record + locator + content[-22:]


def _zip64_member() -> bytes:
    data = deflated(small.npy())
    extra = struct.pack("<2H2Q", 1, 16, 2**63, 2**62)
    wide = 2**32 - 1
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 8, 0, 0, 0, len(data), wide, 5, 0) + b"a.npy" + data
    directory = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 8, 0, 0, 0, wide, wide, 5, len(extra), 0, 0, 0, 0, 0
    ) + b"a.npy" + extra  # fmt: skip
    return local + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(local), 0)


def _named(path: str) -> bytes:
    return zip_of((path.encode(), deflated(small.npy()), len(small.npy())))


def _raw_name(name: bytes) -> bytes:
    return zip_of((name, deflated(small.npy()), len(small.npy())))


def _method(method: int) -> bytes:
    return zip_of((b"a.npy", deflated(small.npy()), len(small.npy())), method=method)


def _twice() -> bytes:
    # As zipfile warns of it, the second name is made the first one's behind its back.
    return zipped(("a.npy", small.npy()), ("b.npy", small.npy())).replace(b"b.npy", b"a.npy")


def _points_behind() -> bytes:
    content = bytearray(zipped(("a.npy", small.npy())))
    struct.pack_into("<L", content, len(content) - 6, 2**31)
    return bytes(content)


def _with_paths() -> Files:
    return [("../../etc/passwd", small.npy()), (f"/{CANARY}", small.npy()), ("C:\\a.npy", b"x")]


def _gzip_members() -> bytes:
    return gzipped(b"") * 100_000


def _nifti_bomb(press: object, size: int) -> bytes:
    start = small.nifti(dim=np.array([3, 1280, 1280, 1280, 1, 1, 1, 1]))[:352]
    return press(size, start)


def _bzip2_damaged() -> bytes:
    content = bytearray(bz2.compress(small.nifti()))
    content[60] ^= 255
    return bytes(content)


def _gzip_named() -> bytes:
    sound = gzipped(small.nifti())
    return sound[:3] + b"\x08" + sound[4:10] + f"../{CANARY}\0".encode() + sound[10:]
