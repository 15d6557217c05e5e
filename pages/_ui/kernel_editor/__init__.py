"""A kernel as numbers to type into, depth plane by depth plane: an element of our own.

Streamlit's number fields are too wide to stand as planes, and its tables take no colours where they are edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent
KEY = "kernel_editor"


def show(name: str, planes: Sequence[dict[str, Any]], on_edit: Callable[[], None]) -> None:
    """Mount it.

    Args:
        name: of the kernel and its source; what was typed into another is not taken for this one.
        planes: of each ``d``, ``title``, ``colour`` and ``rows``: a list a row of the cells, each a number's ``text``,
            the same ``short``, the ``colour`` behind it, whether that is ``dark``, and the number of the ``source``
            where it was changed.
        on_edit: called when numbers were typed: the trigger "edit" of `KEY` is then {"name", "taps"}, the latter
            [d, h, w, number] each.
    """
    mount = st.components.v2.component(
        "conv3d_kernel", js=_source("kernel_editor.js"), css=_source("kernel_editor.css")
    )
    mount(key=KEY, data={"name": name, "planes": list(planes)}, on_edit_change=on_edit)


@cache
def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
