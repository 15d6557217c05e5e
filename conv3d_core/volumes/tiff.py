"""TIFF stacks: plain, ImageJ and OME. tifffile gets bytes, so that no file can name another one to be read."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.layout import to_float32
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES, broken, check_dtype, check_present, check_size, shown
from conv3d_core.volumes.volume import Volume

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DEFLATE = (8, 32946)
PACKBITS = 32773
FIRST_PRIVATE = 32768
MAX_PAGES = 100_000
# Bytes of a value, by the number of its TIFF type.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Deflate cannot expand further than this, so a short segment needs no second look.
MOST_DEFLATE = 1032
MOST_INFLATED = 2 * MAX_VOLUME_BYTES
# Axes of tifffile that a stack may run along, in the order in which one of them is taken as depth.
DEPTH_AXES = "ZQIRT"
MILLIMETRES = {
    "nm": 1e-6, "nanometer": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0, "meter": 1000.0,
    "inch": 25.4, "in": 25.4,
}  # fmt: skip


def read_tiff(data: bytes, name: str) -> Volume:
    """The first image series of a TIFF file, as (Z, Y, X, channels) = (D, H, W, C).

    The axes are those of its ImageJ or OME metadata; a plain stack of pages runs along D.

    Raises:
        VolumeError: a damaged, cut-off or too large file, one that leans on other files, a compression that is
            not read here, or values that are not real numbers.
    """
    import tifffile

    _check_chain(data)
    # tifffile trusts what it reads, and a damaged file makes it raise nearly anything; its own error is a ValueError.
    damaged = (
        ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
        MemoryError, EOFError, OSError, struct.error, zlib.error, ElementTree.ParseError,
    )  # fmt: skip
    try:
        # Both look for index files beside the TIFF.
        with tifffile.TiffFile(io.BytesIO(data), is_mmstack=False, is_ndtiff=False) as file:
            if not file.series:
                raise broken("it holds no image")
            series = file.series[0]
            notes = () if len(file.series) == 1 else (f"the first of {len(file.series)} image series was read",)
            shape, axes = tuple(int(size) for size in series.shape), series.axes
            if series.dtype is None:
                raise broken("its pages do not share a type of numbers")
            check_dtype(series.dtype)
            check_size(shape)
            _check_pages(series, data)
            spacing = _spacing(file)
            values = np.asarray(series.asarray()).reshape(shape)
            kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
    except VolumeError:  # is a ValueError too
        raise
    except damaged as error:
        raise broken(f"its TIFF structure is damaged ({shown(str(error)) or type(error).__name__})") from error
    array, order, layout_notes = _dhwc(values, axes)
    result, losses = to_float32(array)
    stored = values.dtype.newbyteorder("=").name
    source = f"{kind}, {stored} {shape} {' '.join(axes)} -> {order}"
    return Volume(result, name, spacing, None, stored, source, notes + layout_notes + losses)


def _check_chain(data: bytes) -> None:
    """Follow the directories from page to page: tifffile would silently leave out what lies behind the end.

    Of the tags, the public ones are looked at; private ones are known to point anywhere.
    """
    order = "<" if data[:2] == b"II" else ">"
    count, tag, pointer, entry = ("Q", "HHQQ", "Q", 20) if 43 in data[2:4] else ("H", "HHLL", "L", 12)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + pointer, data, 8 if entry == 20 else 4)
        while at:
            if at in seen or len(seen) == MAX_PAGES:
                raise broken(f"its pages run in a circle, or are more than {MAX_PAGES:,}")
            seen.add(at)
            (tags,) = struct.unpack_from(order + count, data, at)
            at += struct.calcsize(order + count)
            check_present(at + tags * entry + struct.calcsize(order + pointer), len(data))
            for code, kind, values, place in struct.iter_unpack(order + tag, data[at : at + tags * entry]):
                length = values * TYPE_BYTES.get(kind, 0)
                if code < FIRST_PRIVATE and length > struct.calcsize(order + pointer):
                    check_present(place + length, len(data))
            (at,) = struct.unpack_from(order + pointer, data, at + tags * entry)
    except struct.error as error:
        raise broken("it is cut off: its next page lies behind its end", value=len(data)) from error


def _check_pages(series: TiffPageSeries, data: bytes) -> None:
    """Every byte that the pages point at is there, and none of them inflates to more than it may."""
    for page in series.pages:
        if page is None:
            raise broken("some of its planes lie in other files or are missing", "save the whole stack as one TIFF")
        compression = int(page.compression)
        if compression not in (1, PACKBITS, *DEFLATE):
            raise broken(
                f"its compression {getattr(page.compression, 'name', compression)} is not read here",
                "save it uncompressed or with deflate",
                value=compression,
            )
        for offset, length in _segments(page, series, data):
            check_present(offset + length, len(data))
            if compression in DEFLATE and length * MOST_DEFLATE > MAX_VOLUME_BYTES:
                _check_inflated(data[offset : offset + length])


def _segments(page: Any, series: TiffPageSeries, data: bytes) -> Iterable[tuple[int, int]]:
    """(offset, length) of each strip or tile; of the whole series where ImageJ keeps it in one run behind page 0."""
    if series.dataoffset is not None:
        return ((int(series.dataoffset), int(series.nbytes)),)
    return [(int(at), int(length)) for at, length in zip(page.dataoffsets, page.databytecounts, strict=True)]


def _check_inflated(segment: bytes) -> None:
    stream = zlib.decompressobj()
    size = 0
    while segment and not stream.eof:
        size += len(stream.decompress(segment, 2**24))
        segment = stream.unconsumed_tail
        if size > MOST_INFLATED:
            raise broken(f"one of its strips inflates to more than {MOST_INFLATED // 2**20} MiB")


def _dhwc(values: NDArray[Any], axes: str) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """The axes of tifffile as (D, H, W, C), which became which, and notes. What is left beside Z, Y, X is channels."""
    if values.ndim != len(axes) or "Y" not in axes or "X" not in axes:
        raise VolumeError("file", f"a TIFF with axes {axes} is not a volume", "save a stack Z Y X", value=axes)
    notes: tuple[str, ...] = ()
    rest = [letter for letter in axes if letter not in "YX"]
    depth = next((letter for letter in DEPTH_AXES if letter in rest), None)
    if depth is None:
        notes = ("a single plane, read as D = 1",)
    else:
        rest.remove(depth)
    wanted = ([depth] if depth else []) + ["Y", "X", *rest]
    array = values.transpose([axes.index(letter) for letter in wanted])
    if depth is None:
        array = array[None]
    array = array.reshape(*array.shape[:3], -1)
    if len(rest) > 1:
        notes += (f"C runs over {' x '.join(rest)}: {array.shape[3]} channels",)
    left = "D H W" if depth else "H W"
    order = f"{left} = {' '.join(wanted[: len(wanted) - len(rest)])}" + (f", C = {' x '.join(rest)}" if rest else "")
    return array, order, notes


def _spacing(file: TiffFile) -> tuple[float, float, float] | None:
    """(D, H, W) in mm, or None unless the file gives all three with a unit: a guess would look like a measurement."""
    found = _ome_spacing(file.ome_metadata) if file.is_ome else _imagej_spacing(file) if file.is_imagej else None
    return found if found is not None and all(0 < length < np.inf for length in found) else None


def _ome_spacing(text: str | None) -> tuple[float, float, float] | None:
    pixels = next((item for item in ElementTree.fromstring(text or "").iter() if item.tag.endswith("Pixels")), None)
    if pixels is None:
        return None
    lengths = []
    for letter in "ZYX":
        size = pixels.get(f"PhysicalSize{letter}")
        factor = MILLIMETRES.get(pixels.get(f"PhysicalSize{letter}Unit", "µm"))
        if size is None or factor is None:
            return None
        lengths.append(float(size) * factor)
    d, h, w = lengths
    return d, h, w


def _imagej_spacing(file: TiffFile) -> tuple[float, float, float] | None:
    metadata = file.imagej_metadata or {}
    # ImageJ writes the micro sign as the six letters \u00B5.
    unit = re.sub(r"\\u00b5", "µ", str(metadata.get("unit", "")), flags=re.IGNORECASE)
    factor = MILLIMETRES.get(unit)
    tags = file.pages.first.tags
    resolutions = [tags.get(name) for name in ("YResolution", "XResolution")]
    if factor is None or "spacing" not in metadata or None in resolutions:
        return None
    (h_voxels, h_units), (w_voxels, w_units) = (tag.value for tag in resolutions if tag is not None)
    if not h_voxels or not w_voxels:
        return None
    return float(metadata["spacing"]) * factor, h_units / h_voxels * factor, w_units / w_voxels * factor
