"""Small files that are sound, to be damaged."""

from __future__ import annotations

import io
import struct
from typing import Any

import nibabel
import numpy as np
import tifffile

SHAPE = (3, 4, 5)


def values(dtype: str = "<i2", shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    """Numbers from 0 on."""
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


def npy(array: np.ndarray[Any, Any] | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values() if array is None else array, **options)
    return file.getvalue()


def npy_header(shape: str = "(3, 4, 5)", descr: str = "'<i2'", fortran: str = "False", data: int = 120) -> bytes:
    """A .npy whose header is that text, and so many zeros."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(data)


def nifti(kind: Any = nibabel.Nifti1Image, shape: tuple[int, ...] = (5, 4, 3), **fields: Any) -> bytes:
    """NIfTI of 16 bits, header fields as given, whether they make sense or not."""
    image = kind(values(shape=shape), np.eye(4))
    data = bytearray(image.to_bytes())
    size = image.header.sizeof_hdr
    header = type(image.header)(bytes(data[:size]), check=False)
    for name, value in fields.items():
        with np.errstate(invalid="ignore"):
            header[name] = value
    data[:size] = header.binaryblock
    return bytes(data)


def tiff(array: np.ndarray[Any, Any] | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    given = values("<u2") if array is None else array
    tifffile.imwrite(file, given, **{"photometric": "minisblack", **options})
    return file.getvalue()


def nrrd(data: bytes = bytes(120), magic: str = "NRRD0004", end: str = "\n", **fields: str | None) -> bytes:
    """A NRRD header of lines; a field of None is left out, "_" stands for a blank."""
    usual: dict[str, str | None] = {
        "type": "short", "dimension": "3", "sizes": "5 4 3", "endian": "little", "encoding": "raw",
    }  # fmt: skip
    lines = [f"{name.replace('_', ' ')}: {text}" for name, text in {**usual, **fields}.items() if text is not None]
    return "\n".join([magic, *lines, end]).encode() + data


def mha(data: bytes = bytes(120), **fields: str | None) -> bytes:
    """A MetaImage header of lines, and its data."""
    usual: dict[str, str | None] = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "DimSize": "5 4 3", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
    }  # fmt: skip
    given = {**usual, **fields}
    last = given.pop("ElementDataFile")
    lines = [f"{name} = {text}" for name, text in given.items() if text is not None]
    return "\n".join([*lines, *([f"ElementDataFile = {last}"] if last is not None else []), ""]).encode() + data


def mrc(data: bytes = bytes(120), mode: int = 1, sizes: tuple[int, ...] = (5, 4, 3), **at: tuple[str, int]) -> bytes:
    """MRC of 16 bits; ``at`` puts numbers: any name = (format, value), its digits being the place."""
    head = bytearray(1024)
    struct.pack_into("<10i6f3i", head, 0, *sizes, mode, 0, 0, 0, *sizes, 50.0, 40.0, 30.0, 90.0, 90.0, 90.0, 1, 2, 3)
    struct.pack_into("<i", head, 88, 1)
    head[208:216] = b"MAP DD\0\0"
    for name, (form, value) in at.items():
        struct.pack_into(form, head, int(name.lstrip("at_")), value)
    return bytes(head) + data


def safetensors(header: str, data: bytes = bytes(120), length: int | None = None) -> bytes:
    """Any text as a header."""
    text = header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: str = "[3, 4, 5]", dtype: str = '"I16"', offsets: str = "[0, 120]", name: str = "a") -> str:
    """A header of one tensor."""
    return f'{{"{name}": {{"dtype": {dtype}, "shape": {shape}, "data_offsets": {offsets}}}}}'
