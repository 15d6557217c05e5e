"""What was handed in, read in a process of its own: chosen from, watched, given up, and kept once it is there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from conv3d_core.axis import AXES
from conv3d_core.errors import VolumeError
from conv3d_core.shapes import format_bytes
from conv3d_core.volumes import MAX_VOLUME_BYTES, Part, fitting_reduction
from conv3d_core.volumes.formats.raw import RawLayout, suggest
from conv3d_core.volumes.isolated import Listed, Upload, read
from pages._ui import frame, session

UPLOAD, FOLDER = "Upload: ", "Folder: "
# Within this nobody sees the difference.
GRACE_S = 0.4
# From here on a part of a volume is offered.
LARGE_BYTES = 64 * 2**20
RAW_DTYPES = ("<u2", "<i2", "u1", "i1", "<u4", "<i4", "<f4", "<f8", "<f2", ">u2", ">i2", ">u4", ">i4", ">f4", ">f8")


def follow(given: session.Given, slots: frame.Slots, main: DeltaGenerator) -> None:
    """Read it, if that was not done as it is asked for now; what can be chosen of it is asked."""
    state = session.reading(given)
    entries = state.entries
    with frame.errors(slots, main) as caught:
        member = _ask_member(state, entries)
        entry = _entry(entries, state, member)
        if entry is not None and entry.nbytes > LARGE_BYTES:
            _ask_part(state, entry)
        asked = session.Asked(member, state.part_of(entry.name if entry else ""), state.raw)
        if state.cancelled and state.asked != asked:
            st.markdown("Reading was cancelled.")
            st.button("Read it", key="read_again", on_click=state.go_on)
            return
        if state.asked != asked:
            _read(state, asked)
            if state.entries != entries:
                # Now that it is known what there is to choose from, the page is drawn again with it.
                st.rerun()
        if state.error is not None:
            raise state.error.with_traceback(None)
    unknown = caught.error is not None and caught.error.field in ("format", "raw")
    if isinstance(given.source, Upload) and (unknown or state.raw):
        _ask_raw(state, given.source)


def _read(state: session.Reading, asked: session.Asked) -> None:
    place = st.empty()
    watch = _Watch(place, state)
    label = state.given.label
    name = label.removeprefix(UPLOAD).removeprefix(FOLDER)
    outcome = read(state.given.source, name, asked.member, asked.part, asked.raw, watch)
    # First: where something is shown Streamlit may stop for a newer wish.
    state.keep(asked, outcome)
    if outcome.volume is not None:
        session.keep_upload(session.Mine(label, outcome.volume))
        session.put("volume", label)
    place.empty()


class _Watch:
    """A bar that appears once it is worth it. To show it is also where Streamlit stops for a newer wish."""

    def __init__(self, place: DeltaGenerator, state: session.Reading) -> None:
        self._place = place
        self._state = state
        self._from = time.monotonic() + GRACE_S
        self._bar: DeltaGenerator | None = None

    def __call__(self, done: float) -> None:
        if time.monotonic() < self._from:
            return
        if self._bar is None:
            with self._place.container(horizontal=True, vertical_alignment="center", key="reading"):
                self._bar = st.empty()
                st.button("Cancel", key="cancel_reading", on_click=self._state.cancel)
        self._bar.progress(done, text=f"Reading: {done:.0%}")


def _ask_member(state: session.Reading, entries: Sequence[Listed]) -> str | None:
    """Which array; None for the one that is taken unless told otherwise."""
    if len(entries) < 2:
        return None
    names = [entry.name for entry in entries]
    words = {
        entry.name: f"{entry.name}: {entry.stored}" + (", cannot be read" if entry.problem else "") for entry in entries
    }
    index = names.index(state.first_choice) if state.first_choice in names else None
    picked = st.selectbox(
        f"Which of its {len(entries)} arrays",
        names,
        index=index,
        format_func=words.__getitem__,
        key=state.key("member"),
    )
    return None if picked == state.first_choice or not picked else str(picked)


def _entry(entries: Sequence[Listed], state: session.Reading, member: str | None) -> Listed | None:
    if len(entries) == 1:
        return entries[0]
    wanted = member or state.first_choice
    return next((entry for entry in entries if entry.name == wanted), None)


def _ask_part(state: session.Reading, entry: Listed) -> None:
    """What of a large array is read, decided before anything is decoded."""
    *space, channels = entry.sizes
    too_large = entry.nbytes > MAX_VOLUME_BYTES
    with st.expander("Read a part of it", expanded=too_large, key=state.key("part")):
        limit = f", at most {format_bytes(MAX_VOLUME_BYTES)} can be taken" if too_large else ""
        st.markdown(f":small[All of it: {_times(entry.sizes)}, {format_bytes(entry.nbytes)} as float32{limit}.]")
        factor = st.number_input(
            "Mean over so many voxels along each axis",
            1,
            min(space),
            min(fitting_reduction(entry.sizes), min(space)),
            key=state.key(f"reduce {entry.name} {entry.sizes}"),
        )
        channel = None
        if channels > 1:
            choices = ["all", *map(str, range(channels))]
            picked = st.selectbox(
                f"Channels ({channels})", choices, key=state.key(f"channel {entry.name} {entry.sizes}")
            )
            channel = None if picked == "all" else int(picked)
        box = []
        for letter, size in zip(AXES, space, strict=True):
            label = f"{letter}, first to last"
            key = state.key(f"{letter} {entry.name} {entry.sizes}")
            box.append(st.slider(label, 0, size - 1, (0, size - 1), key=key) if size > 1 else (0, 0))
        sizes = [(last - first + 1) // factor for first, last in box] + [channels if channel is None else 1]
        nbytes = 4 * math.prod(sizes)
        st.markdown(f":small[This part: {_times(sizes)}, {format_bytes(nbytes)}.]")
        d, h, w = box
        part = Part((d, h, w), int(factor), channel)
        fits = 0 < nbytes <= MAX_VOLUME_BYTES
        st.button(
            "Read this part",
            key=state.key("read_part"),
            type="primary" if too_large else "secondary",
            disabled=not fits,
            on_click=state.want,
            kwargs={"part": (entry.name, part)},
        )


def _ask_raw(state: session.Reading, upload: Upload) -> None:
    """How numbers without a header are laid out."""
    nbytes = sum(memoryview(content).nbytes for _, content in upload.files)
    with st.expander("Read it as numbers without a header", key=state.key("raw")):
        dtype = st.selectbox("Type of a number (< little, > big endian)", RAW_DTYPES, key=state.key("raw dtype"))
        offset = st.number_input("Bytes to skip", 0, nbytes, 0, key=state.key("raw offset"))
        guesses = suggest(nbytes - int(offset), str(dtype))
        guess = ", ".join(map(str, guesses[0])) if guesses else ""
        text = st.text_input("D, H, W or D, H, W, C", guess, key=state.key(f"raw shape {dtype} {offset}"))
        if guesses[1:]:
            st.markdown(f":small[Would fit as well: {'; '.join(_times(shape) for shape in guesses[1:6])}.]")
        st.button("Read it so", key=state.key("read_raw"), on_click=_want_raw, args=(state, text, dtype, offset))


def _want_raw(state: session.Reading, text: str, dtype: str, offset: int) -> None:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(",") if part.strip())
        state.want(raw=RawLayout(shape, dtype, int(offset)))
    except VolumeError as error:
        state.error = error
    except ValueError:
        state.error = VolumeError("raw", f"{text!r} is no shape", "use three or four numbers, as in 64, 128, 128")


def _times(sizes: Sequence[int]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes))
