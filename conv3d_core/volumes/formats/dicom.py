"""DICOM: single pictures, multi-frame files and series of files, each series a volume, turned to the closest LPS axes.

Planes are ordered by where they lie along the normal of their orientation; names and numbers of files mean nothing.
Several planes at one position (times, echoes, segments) become channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import Block, Entry, Slices
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats import dicom_header as dicom
from conv3d_core.volumes.formats.dicom_header import Allowance, Header, read_header, recognises, uid_in_words
from conv3d_core.volumes.formats.dicom_pixels import Array, Pixels, pixels_of
from conv3d_core.volumes.formats.dicom_planes import IMAGE_TYPE, Plane, planes_of
from conv3d_core.volumes.formats.dicom_stacks import Stack, alike, names_of, stacks_of
from conv3d_core.volumes.limits import MAX_FRAMES, broken, clean, shown
from conv3d_core.volumes.members import Member
from conv3d_core.volumes.world import turned

DIRECTORY = "1.2.840.10008.1.3.10"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
MAX_TITLE = 48


def _entries(members: Sequence[Member], others: Sequence[Member]) -> list[Entry]:
    files, left, first_error = _files(members)
    if not files:
        if first_error is not None:
            raise first_error
        remedy = "use the files of a CT, MR or another series of images"
        raise broken(f"it holds no image: {left[0]}", remedy)
    total = sum(pixels.frames for _, pixels in files if pixels.frames <= MAX_FRAMES)
    if total > MAX_FRAMES:
        raise broken(f"{total:,} frames are more than the {MAX_FRAMES:,} that are read here", "hand in fewer at a time")
    by_series: dict[tuple[str, ...], list[tuple[int, Pixels]]] = {}
    for place, pixels in files:
        elements = pixels.header.elements
        series = elements.text(dicom.SERIES)
        # Without a number of a series, all of them are taken as one.
        by_series.setdefault((elements.text(dicom.STUDY), series), []).append((place, pixels))
    note = _left_out(left)
    entries = [entry for own in by_series.values() for entry in _series(own)]
    return [replace(entry, notes=entry.notes + note) for entry in entries]


def _files(members: Sequence[Member]) -> tuple[list[tuple[int, Pixels]], list[str], VolumeError | None]:
    """Files with an image; what is left out, in words; and the first of the errors among those."""
    files: list[tuple[int, Pixels]] = []
    left: list[str] = []
    error: VolumeError | None = None
    seen: set[tuple[object, ...]] = set()
    copies = 0
    allowed = Allowance()
    for place, member in enumerate(members):
        try:
            header = read_header(member, allowed)
            pixels = pixels_of(header) if header.tag else None
        except VolumeError as problem:
            if allowed.spent:
                raise
            error = error or problem
            left.append(f"'{shown(member.name)}' ({problem.args[1]})")
            continue
        if pixels is None:
            left.append(f"'{shown(member.name)}' ({_kind(header)})")
        elif (same := _identity(header)) in seen and same[0]:
            copies += 1
        else:
            seen.add(same)
            files.append((place, pixels))
    if copies:
        left.append(f"{copies:,} {'copies' if copies > 1 else 'copy'} of another file")
    return files, left, error


def _identity(header: Header) -> tuple[object, ...]:
    """What two files share only if they are the same; the first part alone is not always unique as it should be."""
    values = header.elements.values
    return tuple(values.get(tag) for tag in (dicom.SOP_INSTANCE, dicom.SERIES, dicom.INSTANCE_NUMBER, dicom.POSITION))


def _kind(header: Header) -> str:
    """What a file without an image is, in words."""
    uid = header.elements.text(dicom.SOP_CLASS)
    if uid == DIRECTORY:
        return "a DICOMDIR, a directory of other files"
    kind = header.elements.text(dicom.MODALITY) or uid_in_words(uid)
    if dicom.ROWS in header.elements.values:
        return f"{clean(kind)}, without its pixels"
    return f"{clean(kind)}, without an image" if kind else "without an image"


def _left_out(left: Sequence[str]) -> tuple[str, ...]:
    return (f"left out: {', '.join(left[:3])}{f' and {len(left) - 3:,} more' if left[3:] else ''}",) if left else ()


def _series(files: Sequence[tuple[int, Pixels]]) -> list[Entry]:
    """The volumes of a series."""
    title = _title(files[0][1].header)
    several = len(files) > 1
    try:
        planes = []
        for place, pixels in files:
            try:
                _check(pixels)
                planes += list(planes_of(place, pixels))
            except VolumeError as problem:
                raise _named(problem, pixels.header.member, several) from problem
    except VolumeError as problem:
        return [_refused(files[0][1], len(files), title, problem)]
    entries = []
    groups = alike(planes)
    stacks = []
    for group in groups:
        try:
            stacks += stacks_of(group)
        except VolumeError as problem:
            entries.append(_refused(group[0].pixels, len(group), title, problem))
    names = names_of(title, stacks)
    return [_entry(stack, name) for stack, name in zip(stacks, names, strict=True)] + entries


def _check(pixels: Pixels) -> None:
    pixels.check()
    if pixels.header.elements.text(dicom.SOP_CLASS) == WHOLE_SLIDE and pixels.frames > 1:
        raise broken("its frames are tiles of a whole slide, which is not read here", "save one level as TIFF")


def _named(problem: VolumeError, member: Member, several: bool) -> VolumeError:
    if not several:
        return problem
    _, what, remedy = problem.args
    return VolumeError(problem.field, f"'{shown(member.name)}': {what}", remedy, value=problem.value)


def _title(header: Header) -> str:
    description = " ".join(clean(header.described()).split())[:MAX_TITLE].strip()
    number = header.elements.number(dicom.SERIES_NUMBER)
    modality = clean(header.elements.text(dicom.MODALITY))[:MAX_TITLE] or "DICOM"
    if number is None:
        return description or modality
    return f"{description}, series {number:g}" if description else f"{modality} series {number:g}"


def _refused(pixels: Pixels, count: int, title: str, problem: VolumeError) -> Entry:
    dtype = pixels.dtype if pixels.allocated in (1, 8, 16, 32, 64) else np.dtype(np.uint8)
    depth = pixels.frames if count == 1 else count
    return Entry(
        kind=_modality(pixels.header),
        shape=(depth, pixels.rows, pixels.columns),
        dtype=dtype,
        axes=("z", "y", "x"),
        order=(0, 1, 2),
        name=title,
        refusal=problem,
    )


def _modality(header: Header) -> str:
    return f"DICOM {clean(header.elements.text(dicom.MODALITY))}".strip()


def _entry(stack: Stack, name: str) -> Entry:
    planes = [plane for column in stack.planes for plane in column]
    pixels = planes[0].pixels
    depth, channels = len(stack.planes[0]), len(stack.planes)
    shape: tuple[int, ...] = (depth, pixels.rows, pixels.columns)
    axes: tuple[str, ...] = ("z", "y", "x")
    order: tuple[int, ...] = (0, 1, 2)
    if channels > 1:
        shape, axes, order = (channels, *shape), (stack.key.replace(" x ", "*"), *axes), (1, 2, 3, 0)
    if pixels.channels > 1:
        order = (*order, len(shape))
        shape, axes = (*shape, pixels.channels), (*axes, "rgb")
    scales = {(plane.slope, plane.intercept) for plane in planes}
    slope, intercept = next(iter(scales)) if len(scales) == 1 else (1.0, 0.0)
    place = turned(stack.affine, shape, order)
    spacing = place.spacing_mm
    if spacing is not None and stack.step is not None:
        # Of a sheared stack the affine's own step is longer.
        along = place.order.index(order[0])
        d, h, w = (stack.step if axis == along else length for axis, length in enumerate(spacing))
        spacing = (d, h, w)
    notes = list(stack.notes)
    if shape[order[0]] == 1:
        notes.append("a single plane")
    notes += _said(planes, len(scales) > 1)
    return Entry(
        kind=_modality(pixels.header),
        shape=shape,
        dtype=pixels.dtype,
        axes=axes,
        order=place.order,
        decode=Decoder(stack, len(scales) > 1),
        name=name,
        flipped=place.flipped,
        slope=slope,
        intercept=intercept,
        spacing_mm=spacing,
        affine=place.affine,
        direction=place.direction,
        notes=(*notes, *place.notes),
    )


def _said(planes: Sequence[Plane], differing: bool) -> list[str]:
    """Notes on values."""
    notes = list(dict.fromkeys(note for plane in planes for note in plane.pixels.notes))
    if differing:
        notes.append("slope and intercept differ from plane to plane: each was applied to its own")
    types = {text for plane in planes if isinstance(text := plane.keys[IMAGE_TYPE], str)}
    if any("MOSAIC" in text.upper().split("\\") for text in types):
        notes.append("a mosaic: its planes lie side by side in one picture, and are left so")
    if any(plane.pixels.palette for plane in planes):
        notes.append("colours of a palette were looked up: C is red, green, blue")
    return notes


class Decoder:
    """Decodes those frames of a stack that are wanted, file by file."""

    def __init__(self, stack: Stack, scaled: bool) -> None:
        self._planes = stack.planes
        self._scaled = scaled
        self._colour = stack.planes[0][0].pixels.channels > 1
        self._several = len({plane.place for column in stack.planes for plane in column}) > 1

    def __call__(self, wanted: Slices) -> Iterator[Block]:
        """Blocks of one plane each, or of a part of it.

        Raises:
            VolumeError: damaged data.
        """
        many = len(self._planes) > 1
        channels, (depths, rows, columns, *_) = (wanted[0], wanted[1:]) if many else (slice(0, 1), wanted)
        by_file: dict[int, dict[int, tuple[int, int]]] = {}
        for channel in range(channels.start, channels.stop):
            for depth in range(depths.start, depths.stop):
                plane = self._planes[channel][depth]
                by_file.setdefault(plane.place, {})[plane.frame] = (channel, depth)
        for frames in by_file.values():
            channel, depth = next(iter(frames.values()))
            pixels = self._planes[channel][depth].pixels
            try:
                for frame, r, c, values in pixels.blocks(sorted(frames), rows, columns):
                    channel, depth = frames[frame]
                    plane = self._planes[channel][depth]
                    where: Slices = (slice(depth, depth + 1), r, c)
                    array = self._valued(values, plane)[None]
                    if many:
                        where, array = (slice(channel, channel + 1), *where), array[None]
                    yield ((*where, slice(0, pixels.channels)), array) if self._colour else (where, array[..., 0])
            except VolumeError as problem:
                raise _named(problem, pixels.header.member, self._several) from problem

    def _valued(self, values: Array, plane: Plane) -> Array:
        if not self._scaled:
            return values
        scaled: Array = values.astype(np.float64) * plane.slope + plane.intercept
        return scaled


FORMAT = Format("DICOM", (".dcm",), recognises, _entries, together=True)
