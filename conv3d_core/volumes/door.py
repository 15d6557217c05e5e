"""The one door for files: looks at the content, never at the name, and hands over to the format's reader."""

from __future__ import annotations

import itertools
import mmap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import folder
from conv3d_core.volumes.entry import WHOLE, Entry, Part
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats import (
    dicom,
    hdf5,
    metaimage,
    mrc,
    nifti,
    nrrd,
    numpy_files,
    pictures,
    safetensors_file,
    tiff,
    zarr_files,
)
from conv3d_core.volumes.formats.raw import RawLayout, entry_of
from conv3d_core.volumes.limits import MAX_MEMBERS, broken, clean, shown
from conv3d_core.volumes.load import load
from conv3d_core.volumes.members import BZIP2, GZIP, ZIP, Data, Member, Wrapped, members_of, natural
from conv3d_core.volumes.volume import Float32, Volume

Given = Data | Path | str | Sequence[tuple[str, Data]]

FORMATS: tuple[Format, ...] = (
    numpy_files.FORMAT,
    nifti.FORMAT,
    dicom.FORMAT,  # before TIFF, with whose magic its preamble may begin
    tiff.FORMAT,
    nrrd.FORMAT,
    metaimage.FORMAT,
    mrc.FORMAT,
    safetensors_file.FORMAT,
    hdf5.FORMAT,
    zarr_files.FORMAT,
    pictures.FORMAT,
)
LISTED = 8
KNOWN = (
    (b"%PDF", "a PDF document"),
    (b"\xfd7zXZ", "xz data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (ZIP, "a zip archive inside another one"),
    (GZIP, "gzip data inside other gzip data"),
    (BZIP2, "bzip2 data inside other compressed data"),
    (b"\x80", "a pickle"),
)


def read_volume(
    data: Given,
    name: str = "",
    member: str | None = None,
    part: Part = WHOLE,
    make: Callable[[tuple[int, ...]], Float32] | None = None,
    progress: Callable[[float], None] = lambda done: None,
    raw: RawLayout | None = None,
) -> Volume:
    """The volume in a file, or in files that belong together, whatever their format; see `FORMATS`.

    The format is told by content. Medical files come out along the closest LPS axes as (z, y, x) = (D, H, W), all
    others as they are stored; further axes become channels. Runs in this process; see `conv3d_core.volumes.isolated`
    for one that a decoder cannot take down.

    Args:
        data: the file's bytes, its path, that of a folder, or several files as (name, bytes).
        name: shown to the user; the path's last part if not given.
        member: which array, where a file holds several.
        part: what of it: a box, one channel, a reduction.
        make: gives the memory for the result, of a shape.
        progress: is told how much is done, from 0 to 1.
        raw: how its numbers lie in a file of no format; what it looks like does not matter then.

    Raises:
        VolumeError: no such file, another format, a damaged, cut-off or too large one, values that are no real
            numbers, or several arrays to choose from.

    >>> import io, numpy
    >>> file = io.BytesIO()
    >>> numpy.save(file, numpy.ones((2, 3, 4), numpy.uint8))
    >>> read_volume(file.getvalue(), name="ones.npy").shape
    (2, 3, 4, 1)
    """
    name, files = files_of(data, name)
    entry = choose(entries_of(files, name, raw), member)
    return load(entry, part, name, make, progress)


def inspect_volume(data: Given, name: str = "", raw: RawLayout | None = None) -> list[Entry]:
    """The arrays in a file, or in files that belong together, by their headers: no value is decoded.

    Raises:
        VolumeError: as `read_volume`, as far as a header tells.
    """
    name, files = files_of(data, name)
    return entries_of(files, name, raw)


def files_of(data: Given, name: str = "") -> tuple[str, list[tuple[str, Data]]]:
    """A name to be shown, and files with their bytes; those on disk are mapped, not read."""
    if isinstance(data, str | Path):
        path = Path(data)
        name = shown(name or str(path))
        return name, _from_path(path, name)
    if isinstance(data, bytes | bytearray | memoryview | mmap.mmap):
        return shown(name), [(name, data)]
    files = list(data)
    return shown(name or (files[0][0] if len(files) == 1 else f"{len(files)} files")), files


def entries_of(files: Sequence[tuple[str, Data]], name: str = "", raw: RawLayout | None = None) -> list[Entry]:
    """The arrays in files, in natural order of their names."""
    if raw is not None:
        return [_declared(files, raw)]
    folders, found = _gathered(files)
    members = sorted((_unwrapped(member) for member in found), key=lambda member: natural(member.name))
    if not members and not folders:
        raise broken(f"{_quoted(name)} holds no file", "put the volume into it")
    kinds, others = _sorted_by_kind(members)
    entries: list[Entry] = []
    for kind, own in folders + kinds:
        entries += kind.entries(own, others)
    if not entries:
        raise _not_read(members, name)
    note = _left_out(entries, others)
    entries = [replace(entry, notes=entry.notes + note) for entry in entries]
    if len(entries) == 1 and len(files) == 1 and [member.name for member in members[:1]] == [files[0][0]]:
        return [replace(entries[0], name="")]
    return _distinct(entries)


def choose(entries: Sequence[Entry], member: str | None) -> Entry:
    """The entry of that name, or the only one that can be meant.

    Raises:
        VolumeError: of field "member": there is none, or there are several; its value is their names.
    """
    if member is not None:
        found = next((entry for entry in entries if entry.name == member), None)
        if found is None:
            remedy = f"choose one of {_listed(entries)}" if len(entries) > 1 or entries[0].name else "leave it out"
            raise VolumeError("member", f"there is no '{clean(member)}'", remedy, value=member)
        return found
    if len(entries) == 1:
        return entries[0]
    readable = [entry for entry in entries if not entry.refusal and not entry.reduced]
    candidates = [entry for entry in readable if entry.sizes[0] > 1] or readable
    if len(candidates) == 1:
        others = [entry for entry in entries if entry is not candidates[0] and not entry.reduced]
        return replace(candidates[0], notes=candidates[0].notes + _also_there(others))
    count = f"{len(candidates)} of its {len(entries)} arrays could be" if candidates else "none of its arrays is"
    names = tuple(entry.name for entry in entries)
    raise VolumeError("member", f"{count} the volume", f"name one of {_listed(entries)}", value=names)


def _gathered(files: Sequence[tuple[str, Data]]) -> tuple[list[tuple[Format, list[Member]]], list[Member]]:
    """What formats of whole folders take, of the files themselves and of each archive; and the other members."""
    loose = [Member(name, memoryview(data).cast("B").toreadonly()) for name, data in files]
    folders, loose = _taken(loose)
    members: list[Member] = []
    for one in loose:
        inside, rest = _taken(members_of([(one.name, one.data)]))
        folders += inside
        members += rest
        if len(members) + sum(len(own) for _, own in folders) > MAX_MEMBERS:
            raise broken(f"it holds more than {MAX_MEMBERS:,} files", "hand in fewer at a time")
    return folders, members


def _taken(members: list[Member]) -> tuple[list[tuple[Format, list[Member]]], list[Member]]:
    folders = []
    for form in FORMATS:
        own = list(form.gathers(members)) if form.gathers else []
        if own:
            folders.append((form, own))
            taken = set(map(id, own))
            members = [member for member in members if id(member) not in taken]
    return folders, members


def _also_there(others: Sequence[Entry]) -> tuple[str, ...]:
    """What is said where one of several arrays is taken without having been asked for."""
    if not others:
        return ()
    first = others[0]
    problem = f", which is not read: {first.refusal.args[1]}" if first.refusal else ""
    more = f"; and {len(others) - 1:,} more" if len(others) > 1 else ""
    return (f"also in it: '{first.name}' {first.stored}{problem}{more}",)


def _sorted_by_kind(members: Sequence[Member]) -> tuple[list[tuple[Format, list[Member]]], list[Member]]:
    """Members by their format, each alone where the format reads each alone; and those of no format."""
    by_format: dict[int, list[Member]] = {}
    others = []
    for member in members:
        at = next((number for number, form in enumerate(FORMATS) if form.recognises(member)), None)
        if at is None:
            others.append(member)
        else:
            by_format.setdefault(at, []).append(member)
    return [(FORMATS[at], own) for at, own in by_format.items()], others


def _declared(files: Sequence[tuple[str, Data]], layout: RawLayout) -> Entry:
    """The numbers of a file as they are; of one called .gz or .bz2 that is it, what it holds."""
    if len(files) != 1:
        raise VolumeError(
            "raw", f"{len(files)} files were given", "give one, or leave its layout out", value=len(files)
        )
    name, data = files[0]
    view = memoryview(data).cast("B").toreadonly()
    packed = name.lower().endswith((".gz", ".bz2")) and bytes(view[:3]).startswith((GZIP, BZIP2))
    return replace(entry_of((Wrapped if packed else Member)(name, view), layout), name="")


def _unwrapped(member: Member) -> Member:
    """What gzip or bzip2 wraps inside of a zip; that much is common, as in a zip of .nii.gz."""
    if type(member) is not Wrapped and member.head.startswith((GZIP, BZIP2)):
        return Wrapped(member.name, member.view())
    return member


def _from_path(path: Path, name: str) -> list[tuple[str, Data]]:
    try:
        if path.is_dir():
            with folder.opened(path.parent, path.name) as descriptor:
                return folder.files_under(descriptor)
        # A device or a pipe has no size and may never end.
        if path.is_file():
            with path.open("rb") as file:
                return [(path.name, folder.mapped(file.fileno()))]
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise VolumeError("file", f"'{name}' cannot be opened ({error})", "check the path", value=name) from error
    raise VolumeError("file", f"there is no file '{name}'", "check the path", value=name)


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of the same name get numbers, and no two the same name."""
    count = Counter(entry.name for entry in entries)
    taken = {name for name, times in count.items() if times == 1}
    result = []
    for entry in entries:
        name = entry.name
        if count[name] > 1:
            name = next(name for number in itertools.count(1) if (name := f"{entry.name} ({number})") not in taken)
            taken.add(name)
        result.append(replace(entry, name=name))
    return result


def _listed(entries: Sequence[Entry]) -> str:
    listed = "; ".join(f"'{entry.name}' {entry.stored}" for entry in entries[:LISTED])
    return listed + (f"; and {len(entries) - LISTED} more" if len(entries) > LISTED else "")


def _left_out(entries: Sequence[Entry], others: Sequence[Member]) -> tuple[str, ...]:
    used = {name for entry in entries for name in entry.companions}
    left = [shown(member.name) for member in others if member.name not in used]
    if not left:
        return ()
    return (f"left out, not of a format that is read here: {', '.join(left[:3])}{', ...' if left[3:] else ''}",)


def _quoted(name: str) -> str:
    return f"'{name}'" if name else "this"


def _not_read(members: Sequence[Member], name: str) -> VolumeError:
    names = [form.name for form in FORMATS]
    remedy = f"use {', '.join(names[:-1])} or {names[-1]}"
    if len(members) == 1:
        problem = f"{_quoted(name)} ({_kind(members[0])}) is not a volume format that is read here"
    else:
        kinds = ", ".join(f"'{shown(member.name)}' ({_kind(member)})" for member in members[:3])
        problem = f"none of the {len(members)} files of {_quoted(name)} is of a format that is read here: {kinds}"
    return VolumeError("file", problem, remedy, field="format", value=name)


def _kind(member: Member) -> str:
    head = member.head
    if not head:
        return "0 bytes"
    for magic, kind in KNOWN:
        if head.startswith(magic):
            return kind
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    size = f"{member.nbytes:,} bytes" if member.nbytes is not None else "bytes"
    if b"\0" not in head and not any(byte < 9 for byte in head):
        return "text" if head.isascii() else size
    return f"{size} of another kind"
