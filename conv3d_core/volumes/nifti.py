"""NIfTI-1 and NIfTI-2 in one file, gzipped or not: turned to the closest LPS axes, never resampled."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.layout import to_float32
from conv3d_core.volumes.limits import broken, check_dtype, check_present, check_size, inflate, shown
from conv3d_core.volumes.volume import Float64, Volume

HEAD_BYTES = 1024
MAX_EXTENSIONS = 16 * 2**20
OBLIQUE_RADIANS = 1e-3
# xyzt_units; "unknown" is read as millimetres, as every viewer does.
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


def is_nifti(head: bytes) -> bool:
    """Whether a file begins like NIfTI-1 or NIfTI-2 with its data in the same file."""
    size = head[:4]
    if size in (struct.pack("<i", 348), struct.pack(">i", 348)):
        return head[344:348] == b"n+1\0"
    return size in (struct.pack("<i", 540), struct.pack(">i", 540)) and head[4:8] == b"n+2\0"


def read_nifti(data: bytes, name: str) -> Volume:
    """The volume in a .nii or .nii.gz file, as (z, y, x, t) = (D, H, W, C) along the closest LPS axes.

    The file's slope and intercept are applied. An oblique affine is kept and said in the notes.

    Raises:
        VolumeError: a damaged, cut-off or too large file, or values that are not real numbers.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    zipped = data[:2] == b"\x1f\x8b"
    head = inflate(data, HEAD_BYTES) if zipped else data[:HEAD_BYTES]
    first = head[4:8] != b"n+2\0"
    kind: Any = Nifti1Header if first else Nifti2Header  # nibabel is typed in part only
    version = "NIfTI-1" if first else "NIfTI-2"
    try:
        header: Any = kind(head[: kind.sizeof_hdr])
        dims = [int(size) for size in header["dim"][1 : 1 + int(header["dim"][0])]]
        dtype: np.dtype[Any] = header.get_data_dtype()
        offset = int(header.get_data_offset())
        slope, intercept = header.get_slope_inter()
        unit: str = header.get_xyzt_units()[0]
    except (HeaderDataError, struct.error, ValueError, TypeError, KeyError, OverflowError) as error:
        raise broken(f"its {version} header is damaged ({shown(str(error))})") from error
    check_dtype(dtype)
    count = check_size(dims)
    if not kind.sizeof_hdr <= offset <= MAX_EXTENSIONS:
        raise broken(f"its {version} header puts the data at byte {offset:,}")
    needed = offset + count * dtype.itemsize
    if zipped:
        data = inflate(data, needed)
    check_present(needed, len(data))

    values = np.frombuffer(data, dtype, count, offset).reshape(dims, order="F")
    array, names, notes = _xyzc(values)
    affine, placed = _world(header, unit)
    turned, affine, spacing = _turn(array, affine)
    if affine is not None:
        placed += _oblique(affine)
    scale = (1.0, 0.0) if slope is None else (float(slope), float(intercept))
    result, losses = to_float32(turned, *scale)
    stored = dtype.newbyteorder("=").name
    direction = ", LPS" if affine is not None else ""
    source = f"{version}, {stored} {tuple(dims)} {names}{direction}"
    return Volume(result, name, spacing, affine, stored, source, notes + placed + losses)


def _xyzc(values: NDArray[Any]) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """The file's array as (x, y, z, c), which axis became which, notes."""
    dims = values.shape
    while len(dims) > 3 and dims[-1] == 1:
        dims = dims[:-1]
    values = values.reshape(dims, order="F")
    if len(dims) == 5 and dims[3] == 1:
        return values[:, :, :, 0, :], "x y z 1 v -> D H W C = z y x v", ()
    if len(dims) == 4:
        return values, "x y z t -> D H W C = z y x t", ()
    if len(dims) == 3:
        return values[..., None], "x y z -> D H W = z y x", ()
    if len(dims) == 2:
        return values[:, :, None, None], "x y -> H W = y x", ("a single plane, read as D = 1",)
    raise VolumeError(
        "file",
        f"a NIfTI array {values.shape} is not one volume",
        "save (x, y, z), (x, y, z, t) or (x, y, z, 1, v)",
        value=values.shape,
    )


def _world(header: Any, unit: str) -> tuple[Float64 | None, tuple[str, ...]]:
    """The file's own affine in mm, (x, y, z, 1) -> RAS+, or None where it has none that can be used."""
    from nibabel.spatialimages import HeaderDataError

    unusable = ("its affine cannot be used: axes are read as stored, without spacing",)
    try:
        with np.errstate(invalid="ignore"):  # NaN in the header; looked at below
            affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None, unusable
    if not np.isfinite(affine).all():
        return None, unusable
    affine[:3] *= MILLIMETRES[unit]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # A parallelepiped of nearly no volume: two axes point the same way, or one has no length.
    if not abs(np.linalg.det(affine[:3, :3])) > 1e-6 * float(np.prod(lengths)):
        return None, unusable
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return affine, ("the header names no orientation (sform and qform code 0); left and right may be swapped",)
    return affine, ()


def _turn(
    array: NDArray[Any], affine: Float64 | None
) -> tuple[NDArray[Any], Float64 | None, tuple[float, float, float] | None]:
    """(x, y, z, c) as a view (z, y, x, c) along the closest LPS axes, with the affine of (d, h, w) and its spacing."""
    if affine is None:
        return array.transpose(2, 1, 0, 3), None, None
    from nibabel import orientations

    tool: Any = orientations
    turn = tool.ornt_transform(tool.io_orientation(affine), tool.axcodes2ornt(("L", "P", "S")))
    # + 0.0 turns -0.0, which the flips leave behind, into 0.0.
    composed = (affine @ tool.inv_ornt_aff(turn, array.shape[:3]))[:, [2, 1, 0, 3]] + 0.0
    array = np.asarray(tool.apply_orientation(array, turn)).transpose(2, 1, 0, 3)
    d, h, w = (float(length) for length in np.linalg.norm(composed[:3, :3], axis=0))
    return array, composed, (d, h, w)


def _oblique(affine: Float64) -> tuple[str, ...]:
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).max(axis=0)
    angle = float(np.arccos(min(1.0, float(cosines.min()))))
    if angle <= OBLIQUE_RADIANS:
        return ()
    return (f"oblique affine ({np.degrees(angle):.1f} degrees) kept, not resampled",)
