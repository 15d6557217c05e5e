"""Widgets -> a volume as the layer gets it, prepared.

It is of the gallery, made to a typed size, an upload or a file of the server's folder.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from conv3d_core.axis import AXES
from conv3d_core.shapes import format_bytes
from conv3d_core.volumes import (
    BUNDLED,
    DEFAULT_SAMPLE,
    MADE_TO_SIZE,
    MAX_MADE_BYTES,
    NONFINITE,
    NORMALISATIONS,
    Volume,
    size_of,
    thumbnail_of,
)
from conv3d_core.volumes.door import FORMATS
from conv3d_core.volumes.isolated import InFolder, Upload
from conv3d_core.volumes.limits import shown
from conv3d_core.volumes.made import EXAMPLE, FIELD
from pages._ui import cached, frame, reading, session, views

DATA_DIR = "CONV3D_DATA_DIR"
KINDS = "; ".join(f"{form.name} ({', '.join(form.endings)})" for form in FORMATS)
# All 24 orders, those that leave the channels last first: they are what a wrong axis needs most often.
AXIS_ORDERS = sorted(("".join(order) for order in itertools.permutations("DHWC")), key=lambda order: order[-1] != "C")
NONFINITE_WORDS = {"keep": "keep", "0": "0", "mean": "mean", "min": "smallest"}


def ask_volume(slots: frame.Slots, main: DeltaGenerator) -> Volume:
    """The chosen volume, as read."""
    st.subheader("Volume")
    choice = st.container()
    given = _ask_given(slots)
    if given:
        reading.follow(given, slots, main)
    mine = session.upload()
    titles = {sample.title: key for key, sample in BUNDLED.items()}
    options = [*titles, MADE_TO_SIZE, *([mine.label] if mine else [])]
    session.choose("volume", options, BUNDLED[DEFAULT_SAMPLE].title)
    with choice, st.container(horizontal=True, gap="xsmall"):
        name = st.selectbox("Volume", options, key="volume", bind="query-params", label_visibility="collapsed")
        if st.button("Gallery", key="gallery"):
            _gallery()
    chosen = mine.volume if mine and name == mine.label else None
    if name == MADE_TO_SIZE:
        with choice:
            chosen = _ask_made(slots)
    if session.is_new_volume(f"{name} {chosen.identity}" if chosen else name):
        # What was cut out of another volume says nothing of this one.
        session.forget(("cd", "ch", "cw", "od", "oh", "ow", "ic"), axes="DHWC", c="all", crop=False, nonfinite="keep")
    if chosen:
        return chosen
    sample = BUNDLED[titles[name]]
    choice.markdown(f":small[{sample.description} {sample.channels}.]")
    return cached.sample(titles[name])


def _ask_made(slots: frame.Slots) -> Volume:
    """The volume of the size that is typed."""
    text = st.text_input(
        "Size: D, H, W, channels",
        EXAMPLE,
        key=FIELD,
        bind="query-params",
        help=f"Up to {format_bytes(MAX_MADE_BYTES)} as float32, such as 256, 256, 256, 1. Three numbers: one channel.",
    )
    slots.add(FIELD)
    st.markdown(
        ":small[Two blobs and a box in each channel, nowhere the same: an input of just the size that a layer gets in "
        "its network. Computed.]"
    )
    return cached.made(size_of(text or ""))


@st.dialog("Choose a volume", width="large")
def _gallery() -> None:
    """Every bundled volume with its picture."""
    grid = st.grid("auto", min_column_width=150, gap="small")
    for key, sample in BUNDLED.items():
        with grid.cell(), st.container(key=f"stamp_{key}", gap="xsmall"):
            st.image(views.address(thumbnail_of(key)), width="stretch", alt=f"{sample.title}: its middle D plane")
            take = session.setter(volume=sample.title)
            if st.button(sample.title, key=f"take_{key}", width="stretch", on_click=take):
                st.rerun()  # of the whole page, which closes the gallery
            origin = f" {sample.licence}." if sample.file else " Computed."
            st.markdown(f":small[{sample.description} {sample.channels}.{origin}]")


def _ask_given(slots: frame.Slots) -> session.Given | None:
    """What was handed in last: files that arrived together, or what was chosen in the server's folder."""
    files = st.file_uploader(
        "Upload a volume, up to 512 MiB",
        key="upload",
        accept_multiple_files=True,
        help=f"{KINDS}; a zip of files; numbers without a header. Files that arrive together are one volume. Read on "
        "this machine and kept in this session only. A link cannot carry an upload.",
    )
    ids = [file.file_id for file in files]
    arrived = session.arrived(ids)
    before = session.given()
    if arrived:
        batch = [file for file in files if file.file_id in arrived]
        others = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
        label = f"{reading.UPLOAD}{shown(batch[0].name)}{others}"
        source = Upload(tuple((file.name, file.getvalue()) for file in batch))
        session.give(session.Given(arrived, label, source))
    elif before and isinstance(before.source, Upload) and not set(before.token) & set(ids):
        # The volume on screen stays; what could not be read is not complained about any longer.
        session.give(None)
    _ask_folder()
    slots.add("file", "format", "member", "size", "reduce", "box", "raw", "folder", "volume")
    return session.given()


def _ask_folder() -> None:
    root = os.environ.get(DATA_DIR, "")
    if not root:
        return
    listed = cached.listing(root)
    path = st.selectbox(
        "Or a file of the server's folder",
        listed,
        index=None,
        key="file",
        bind="query-params",
        placeholder=f"{len(listed):,} in {Path(root).name}",
        help="A name that ends in a slash is a folder, read as one volume: a DICOM series, pictures, a Zarr.",
    )
    if not session.is_new_path(path):
        return
    before = session.given()
    if before and isinstance(before.source, InFolder):
        # Also where it is chosen again: it may have changed meanwhile.
        session.give(None)
    if path:
        label = f"{reading.FOLDER}{path}"
        session.give(session.Given(("folder", path), label, InFolder(Path(root), path.rstrip("/"))))


def ask_preparation(slots: frame.Slots, volume: Volume) -> cached.Preparation:
    """What to do to the volume before it runs."""
    with st.expander("Axes, channels, crop, values", key="preparation"):
        axes = st.selectbox(
            "Axes as read that become D, H, W, C",
            AXIS_ORDERS,
            key="axes",
            bind="query-params",
            help="DHWC leaves the volume as it was read; HDWC swaps depth and height; DHCW makes W the channels.",
        )
        slots.add("axes")
        _offer_axes(volume, axes)
        shape = tuple(volume.shape["DHWC".index(letter)] for letter in axes)
        channel = _ask_channel(shape[3])
        slots.add("channel", "channels")
        box = _ask_box(shape[:3])
        slots.add("crop")
        nonfinite = "keep"
        if not volume.is_finite:
            nonfinite = st.segmented_control(
                "NaN and infinite values",
                NONFINITE,
                default="keep",
                required=True,
                key="nonfinite",
                bind="query-params",
                format_func=NONFINITE_WORDS.__getitem__,
                help="Kept, they make every output that reads them NaN. Mean and smallest are those of the others.",
            )
        slots.add("nonfinite")
        normalisation = st.segmented_control(
            "Values",
            NORMALISATIONS,
            default=NORMALISATIONS[0],
            required=True,
            key="norm",
            bind="query-params",
            help="0-1 maps the range to 0 to 1; z-score takes off the mean and divides by the standard deviation.",
        )
        slots.add("normalise")
    return cached.Preparation(axes, channel, box, str(nonfinite), str(normalisation))


def _offer_axes(volume: Volume, chosen: str) -> None:
    """A picture of each way to read the axes that leaves C what it is: a wrong one is seen at once."""
    grid = st.grid(3, min_column_width=56, gap="xsmall", key="stamps")
    for order in AXIS_ORDERS:
        if order[3] != chosen[3]:
            continue
        with grid.cell(), st.container(gap=None):
            words = f"D, H, W = {', '.join(order[:3])} as read, its middle plane"
            st.image(views.address(cached.stamp(volume, order)), width="stretch", alt=words)
            st.button(
                order[:3],
                key=f"axes_{order}",
                type="primary" if order == chosen else "secondary",
                width="stretch",
                on_click=session.setter(axes=order),
            )


def _ask_channel(channels: int) -> int | None:
    if channels == 1:
        return None
    options = ["all", *(str(channel) for channel in range(channels))]
    session.choose("c", options, "all")
    choice = st.selectbox(f"Channels of the volume ({channels})", options, key="c", bind="query-params")
    return None if choice == "all" else int(choice)


def _ask_box(sizes: tuple[int, ...]) -> cached.Box | None:
    if not st.toggle("Crop to a box", key="crop", bind="query-params"):
        return None
    spans = []
    for letter, size in zip(AXES, sizes, strict=True):
        key = f"c{letter.lower()}"
        session.settle(key, (0, size - 1), 0, size - 1)
        spans.append(
            st.slider(f"{letter}, first to last", 0, size - 1, (0, size - 1), key=key, bind="query-params")
            if size > 1
            else (0, 0)
        )
    d, h, w = spans
    return d, h, w
