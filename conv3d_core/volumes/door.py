"""The one door for files: looks at the first bytes, never at the name, and hands over to the reader."""

from __future__ import annotations

from pathlib import Path

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES, MIB, inflate, shown
from conv3d_core.volumes.nifti import is_nifti, read_nifti
from conv3d_core.volumes.numpy_files import read_npy, read_npz
from conv3d_core.volumes.tiff import MAGIC as TIFF_MAGIC
from conv3d_core.volumes.tiff import read_tiff
from conv3d_core.volumes.volume import Volume

REMEDY = "use .npy, .npz, .nii, .nii.gz or .tif"
# The largest volume as 8-byte numbers, and some room for a header.
MAX_FILE_BYTES = 2 * MAX_VOLUME_BYTES + 16 * MIB
KNOWN = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"NRRD", "an NRRD file"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"\x80", "a pickle"),
)


def read_volume(data: bytes | bytearray | memoryview | Path | str, name: str = "", member: str | None = None) -> Volume:
    """The volume in a file, whatever its format: .npy, .npz, .nii, .nii.gz or .tif.

    The format is told by content. Medical files come out along the closest LPS axes as (z, y, x) = (D, H, W), all
    others as they are stored; further axes become channels.

    Args:
        data: the file's bytes, or its path.
        name: shown to the user; the path's last part if not given.
        member: which array of an .npz.

    Raises:
        VolumeError: no such file, another format, a damaged, cut-off or too large one, values that are no real
            numbers, or several arrays to choose from.

    >>> import io, numpy
    >>> file = io.BytesIO()
    >>> numpy.save(file, numpy.ones((2, 3, 4), numpy.uint8))
    >>> read_volume(file.getvalue(), name="ones.npy").shape
    (2, 3, 4, 1)
    """
    if isinstance(data, str | Path):
        name = name or str(data)
        content = _from_path(Path(data), shown(name))
    else:
        content = bytes(data)
    name = shown(name)
    if content[:2] == b"PK":
        return read_npz(content, name, member)
    if member is not None:
        asked = f"'{shown(member)}' is asked for, and only an .npz has members"
        raise VolumeError("member", asked, "leave it out", value=member)
    if content[:6] == b"\x93NUMPY":
        return read_npy(content, name)
    if content[:4] in TIFF_MAGIC:
        return read_tiff(content, name)
    zipped = content[:2] == b"\x1f\x8b"
    head = inflate(content, 512) if zipped else content[:512]
    if is_nifti(head):
        return read_nifti(content, name)
    raise _not_read(content, head, zipped, name)


def _from_path(path: Path, name: str) -> bytes:
    try:
        # A device or a pipe has no size and may never end.
        size = path.stat().st_size if path.is_file() else None
        content = path.read_bytes() if size is not None and size <= MAX_FILE_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise VolumeError("file", f"'{name}' cannot be opened ({error})", "check the path", value=name) from error
    if size is None:
        raise VolumeError("file", f"there is no file '{name}'", "check the path", value=name)
    if size > MAX_FILE_BYTES:
        limit = f"use one of at most {MAX_FILE_BYTES // MIB:,} MiB"
        raise VolumeError("file", f"'{name}' has {size / MIB:,.0f} MiB", limit, value=size)
    return content


def _not_read(content: bytes, head: bytes, zipped: bool, name: str) -> VolumeError:
    given = f"'{name}'" if name else "this"
    problem = f"{given} ({_kind(content, head, zipped)}) is not a volume format that is read here"
    return VolumeError("file", problem, REMEDY, value=name)


def _kind(content: bytes, head: bytes, zipped: bool) -> str:
    if not content:
        return "0 bytes"
    if zipped:
        return "gzip data without NIfTI in it"
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "a NIfTI header whose data is in another file"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    for magic, kind in KNOWN:
        if content.startswith(magic):
            return kind
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if b"\0" not in head and not any(byte < 9 for byte in head):
        return "text" if head.isascii() else f"{len(content):,} bytes"
    return f"{len(content):,} bytes of another kind"
