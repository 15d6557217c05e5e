"""NIfTI-1 and NIfTI-2, in one file or as header and image: turned to the closest LPS axes, never resampled."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Entry, plain
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import broken, check_present, check_sizes, clean
from conv3d_core.volumes.members import Member
from conv3d_core.volumes.volume import Float64
from conv3d_core.volumes.world import turned

MAX_EXTENSIONS = 16 * 2**20
# xyzt_units; "unknown" is read as millimetres, as every viewer does.
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
SIZES = {struct.pack(order + "i", size): size for order in "<>" for size in (348, 540)}


def _version(head: bytes) -> tuple[int, bool]:
    """Bytes of the header, 0 where it is none; whether the data is in the same file."""
    size = SIZES.get(head[:4], 0)
    magic = head[344:348] if size == 348 else head[4:8]
    if (size == 348 and magic in (b"n+1\0", b"ni1\0")) or (size == 540 and magic in (b"n+2\0", b"ni2\0")):
        return size, magic[1:2] == b"+"
    return 0, False


def _entries(members: Sequence[Member], others: Sequence[Member]) -> list[Entry]:
    return [_entry(member, others) for member in members]


def _entry(member: Member, others: Sequence[Member]) -> Entry:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    size, alone = _version(member.head)
    first = size == 348
    kind: Any = Nifti1Header if first else Nifti2Header  # nibabel is typed in part only
    version = "NIfTI-1" if first else "NIfTI-2"
    check_present(size, len(member.head))
    try:
        header: Any = kind(member.head[:size])
        dims = [int(length) for length in header["dim"][1 : 1 + int(header["dim"][0])]]
        dtype: np.dtype[Any] = header.get_data_dtype()
        # nibabel gives 0 to the offset of a pair's image, whatever the header says.
        offset = int(header.get_data_offset()) if alone else int(header["vox_offset"])
        slope, intercept = header.get_slope_inter()
        unit: str = header.get_xyzt_units()[0]
    except (HeaderDataError, struct.error, ValueError, TypeError, KeyError, OverflowError) as error:
        raise broken(f"its {version} header is damaged ({clean(str(error))})") from error
    check_sizes(dims)
    if not (size if alone else 0) <= offset <= MAX_EXTENSIONS:
        raise broken(f"its {version} header puts the data at byte {offset:,}")
    shape, axes, order, notes = _layout(dims)
    affine, placed = _world(header, unit)
    place = turned(affine, shape, order)
    image = member if alone else _image(member, others)
    return Entry(
        kind=version,
        shape=shape,
        dtype=dtype,
        axes=axes,
        order=place.order,
        decode=plain(image, offset, dtype, shape),
        name=clean(member.name),
        flipped=place.flipped,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if slope is None else float(intercept),
        spacing_mm=place.spacing_mm,
        affine=place.affine,
        direction=place.direction,
        fastest_first=True,
        notes=notes + placed + place.notes,
        companions=() if alone else (image.name,),
    )


def _image(header: Member, others: Sequence[Member]) -> Member:
    """The file that belongs to a header: the same name but for its ending."""
    stem = _stem(header.name)
    found = [other for other in others if _stem(other.name) == stem]
    if len(found) != 1:
        raise broken(
            f"'{clean(header.name)}' is a NIfTI header whose data is in another file",
            "hand in header and image together (.hdr and .img), or save it as .nii",
        )
    return found[0]


def _stem(name: str) -> str:
    return name.lower().removesuffix(".gz").rsplit(".", 1)[0]


def _layout(dims: Sequence[int]) -> tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """The file's array, what varies slowest first; its axes' names; which of them are z, y, x and what is left; notes.

    Raises:
        VolumeError: not one volume.
    """
    given = tuple(dims)
    while len(given) > 3 and given[-1] == 1:
        given = given[:-1]
    if len(given) == 5 and given[3] == 1:
        return (given[4], *given[2::-1]), ("v", "z", "y", "x"), (1, 2, 3, 0), ()
    if len(given) == 4:
        return given[::-1], ("t", "z", "y", "x"), (1, 2, 3, 0), ()
    if len(given) == 3:
        return given[::-1], ("z", "y", "x"), (0, 1, 2), ()
    if len(given) == 2:
        return (1, *given[::-1]), ("z", "y", "x"), (0, 1, 2), (ONE_PLANE,)
    raise VolumeError(
        "file",
        f"a NIfTI array {tuple(dims)} is not one volume",
        "save (x, y, z), (x, y, z, t) or (x, y, z, 1, v)",
        value=tuple(dims),
    )


def _world(header: Any, unit: str) -> tuple[Float64 | None, tuple[str, ...]]:
    """The file's own affine in mm, (x, y, z, 1) -> RAS+, or None where it has none that can be used."""
    from nibabel.spatialimages import HeaderDataError

    try:
        with np.errstate(invalid="ignore"):  # NaN in the header; looked at by `turned`
            affine = np.array(header.get_best_affine(), dtype=np.float64)
            affine[:3] *= MILLIMETRES[unit]
    except (HeaderDataError, ValueError):
        affine = np.full((4, 4), np.nan)
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return affine, ("the header names no orientation (sform and qform code 0); left and right may be swapped",)
    return affine, ()


FORMAT = Format("NIfTI", (".nii", ".nii.gz", ".hdr with .img"), lambda member: _version(member.head)[0] > 0, _entries)
