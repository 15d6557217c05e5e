"""The frame of every page, and the one place where errors are caught: each is shown beside its control."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.pages_manager import PagesManager

from conv3d_core import Conv3dError
from pages._ui import session

# What Streamlit has no option for: a header that stays, voxels that stay square-edged, figures in columns.
_STYLE = """
<style>
/* The header covers what scrolls under it with the page's own colour, also when the theme changes in the browser. */
.stAppViewContainer, .stAppViewContainer > :has(> .stMain), .stMain, .stMainBlockContainer,
.stMainBlockContainer > .stVerticalBlock,
[data-testid=stLayoutWrapper]:has(> .st-key-header) {background-color: inherit;}
@media (min-width: 641px) {
  [data-testid=stLayoutWrapper]:has(> .st-key-header) {position: sticky; top: 3.4rem; z-index: 20;}
}
@media (max-width: 640px) {.shape .what {display: none;}}
.st-key-header {padding-block: .5rem; background-color: inherit;}
.st-key-viewer_data {display: none;}
/* It would call 512 MiB "1GB"; the label says it. */
[data-testid=stFileUploaderDropzoneInstructions] {display: none;}
.st-key-stamps img {image-rendering: pixelated;}
.st-key-stamps button {min-height: 0; padding: 0 .25rem;}
.st-key-maps button {justify-content: flex-start; text-align: left; min-height: 0; padding: .25rem 0 0;}
.st-key-maps button p {white-space: normal; line-height: 1.25;}
.st-key-maps img {image-rendering: pixelated; width: 100%;}
.stButtonGroup button[aria-checked=true], .stButtonGroup button[aria-checked=true] * {color: inherit !important;}
.legend {display: flex; flex-wrap: wrap; gap: .2rem .7rem; font-size: .8rem; align-items: center;}
.legend i {display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .25rem;}
[data-testid=stMainBlockContainer] {padding-inline: clamp(1rem, 2.5vw, 3rem);}
/* Columns that stay side by side on a narrow screen: their fields shrink and nothing is cut off. */
.st-key-layers [data-testid=stColumn] {min-width: 0;}
.st-key-layers label p {font-size: .8rem; white-space: nowrap;}
.plane {display: flex; justify-content: space-between; gap: .5rem; white-space: nowrap;}
.plane b {overflow: hidden; text-overflow: ellipsis;}
.range {display: flex; align-items: center; gap: .4rem; font-size: .8rem;}
.range i {flex: 1; max-width: 6rem; height: .5rem; border-radius: 2px;}
.range small {opacity: .8; margin-left: auto;}
.shape {display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; align-items: flex-end; font-size: .95rem;}
.shape .sizes {display: inline-flex; gap: .8rem; font-family: ui-monospace, SFMono-Regular, Menlo, monospace;}
.shape .size {display: inline-flex; flex-direction: column; align-items: center; line-height: 1.15;}
.shape .size small {font-size: .72rem; opacity: .75;}
.shape .size b {font-weight: 600;}
.shape .what {opacity: .8;}
.st-key-code textarea {
  font: .82rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace; tab-size: 4;
}
.st-key-examples button {min-height: 0; padding: .1rem .5rem;}
.facts {overflow-x: auto;}
.facts table {border-collapse: collapse; font-size: .87rem;}
.facts th {text-align: left; padding: .25rem .9rem .25rem 0; white-space: nowrap;}
.facts td {padding: .3rem .9rem .3rem 0; border-top: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  vertical-align: top; min-width: 7rem;}
</style>
"""


class Slots:
    """Places beside the controls, by the name of the field whose error belongs there."""

    def __init__(self) -> None:
        self._slots: dict[str, DeltaGenerator] = {}

    def add(self, *fields: str) -> None:
        """A place here for errors of these fields."""
        place = st.container()
        for field in fields:
            self._slots[field] = place

    def show(self, error: Conv3dError) -> None:
        """The error beside its control, if that is on the page."""
        place = self._slots.get(error.field)
        if place is not None:
            place.error(plain(error))


def begin() -> Slots:
    """Start a page: its style, its memory, its places for errors."""
    if PagesManager.uses_pages_directory:
        # Who comes by a deep link to a cold server gets the page alone, without app.py and its list of pages: Streamlit
        # takes the folder for its older kind of app until it has run app.py once.
        PagesManager.uses_pages_directory = False
        st.rerun()
    session.begin()
    st.html(_STYLE)
    return Slots()


class Caught:
    """What an error boundary caught, if anything."""

    error: Conv3dError | None = None


@contextmanager
def errors(slots: Slots, main: DeltaGenerator) -> Iterator[Caught]:
    """What the user can cause ends here: in words beside the control and in the main area, the app still up."""
    caught = Caught()
    try:
        yield caught
    except Conv3dError as error:
        caught.error = error
        slots.show(error)
        main.error(plain(error))


@contextmanager
def answers(place: DeltaGenerator) -> Iterator[None]:
    """That a question has no answer is one, and nobody's mistake: it is said in passing."""
    try:
        yield
    except Conv3dError as error:
        place.markdown(f":small[:orange[{plain(error)}]]")


def warn(place: DeltaGenerator, texts: Iterable[str]) -> None:
    """What the user should know, though nothing failed."""
    for text in texts:
        place.warning(plain(text))


def plain(text: object) -> str:
    """Text for Markdown that shows as it is: names of files and products such as 2*3 must not turn into markup."""
    # Addresses are made links after the escapes are gone, so they are broken by a joiner that is not seen.
    unlinked = re.sub(r"(?<=www)(?=\.)|(?=@)|(?=://)", "\N{WORD JOINER}", str(text), flags=re.IGNORECASE)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unlinked)
