"""What is no volume, what is only its start, and what is two things at once."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator
from functools import partial

from tests.core.canaries import TOUCHED
from tests.core.hostile import small
from tests.core.hostile.case import Case, Reads
from tests.core.hostile.packed import gzipped, zipped

NO_FORMAT = "is not a volume format that is read here"
STRANGERS = {
    "nothing": (b"", "0 bytes"),
    "one byte": (b"\0", NO_FORMAT),
    "a megabyte of zeros": (bytes(2**20), NO_FORMAT),
    "text": (b"Dear Sir or Madam,\n" * 100, r"\(text\)"),
    "HTML": (b"<!DOCTYPE html><html><script>alert(1)</script>", "an HTML page"),
    "a program": (b"\x7fELF\2\1\1" + bytes(1000), NO_FORMAT),
    "PDF": (b"%PDF-1.7\n" + bytes(1000), "a PDF document"),
    "RAR": (b"Rar!\x1a\7\1\0" + bytes(1000), "a RAR archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(1000), "a 7z archive"),
    "xz": (b"\xfd7zXZ\0" + bytes(1000), "xz data"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', NO_FORMAT),
}
STARTS = {
    "npy": (b"\x93NUMPY", r"\.npy header is damaged"),
    "NIfTI": (struct.pack("<i", 348), NO_FORMAT),
    "TIFF": (b"II*\0", "cut off"),
    "BigTIFF": (b"MM\0+", "cut off"),
    "NRRD": (b"NRRD0005\n", "has no field 'dimension'"),
    "MetaImage": (b"NDims = 3\n", "has no field 'ElementDataFile'"),
    "MRC": (bytes(208) + b"MAP ", NO_FORMAT),
    "safetensors": (struct.pack("<Q", 2) + b"{}", "holds no tensor"),
    "gzip": (b"\x1f\x8b", "gzip data is cut off"),
    "bzip2": (b"BZh9", "bzip2 data is cut off"),
    "zip": (b"PK\3\4", "zip data is damaged"),
}


class Payload:
    """Pickled, this is code: it leaves a file behind where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({TOUCHED!r}, 'w').close()",)


def cases() -> Iterator[tuple[str, Case]]:
    for name, (content, expect) in STRANGERS.items():
        yield f"stranger: {name}", Case(partial(bytes, content), expect)
    yield "stranger: a pickle", Case(lambda: pickle.dumps(Payload()), "a pickle", name="model.pkl")
    yield "stranger: PyTorch's .pt", Case(_pt, "none of the 2 files .* is of a format", name="model.pt")
    for name, (content, expect) in STARTS.items():
        yield f"start: {name}", Case(partial(bytes, content), expect)
    yield from _polyglots()


def _pt() -> bytes:
    return zipped(("model/data.pkl", pickle.dumps(Payload())), ("model/version", b"3\n"), method=zipfile.ZIP_STORED)


def _polyglots() -> Iterator[tuple[str, Case]]:
    yield "polyglot: npy's start, TIFF's body", Case(lambda: b"\x93NUMPY\1\0" + small.tiff(), "header is damaged")
    yield "polyglot: TIFF's start, npy's body", Case(lambda: b"II*\0" + small.npy(), "cut off")
    yield "polyglot: NIfTI that is MRC too", Case(_nifti_mrc, Reads((3, 4, 5, 1)))
    yield (
        "polyglot: a zip behind a TIFF",
        Case(lambda: small.tiff() + zipped(("a.npy", small.npy())), Reads((3, 4, 5, 1))),
    )
    yield (
        "polyglot: a page in a NRRD",
        Case(
            lambda: small.nrrd(content="<script>alert(1)</script>", sizes="5 4 <script>"),
            "'<script>' in field 'sizes'",
        ),
    )
    yield "polyglot: gzip of HTML", Case(lambda: gzipped(b"<html>"), "an HTML page", name="scan.nii.gz")
    yield "polyglot: gzip of gzip", Case(lambda: gzipped(gzipped(small.npy())), "gzip data inside other gzip data")


def _nifti_mrc() -> bytes:
    content = bytearray(small.nifti())
    # Inside of the description of a NIfTI-1.
    content[208:212] = b"MAP "
    return bytes(content)
