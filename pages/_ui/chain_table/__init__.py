"""A chain as a table: a row a layer, which is edited in its cells, dragged to its place and removed.

An element of our own, because Streamlit's tables have no rows that can be dragged and no cell beside a fact that can
be edited. What is done comes back as a trigger, and the text that the chain was read from is what changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from conv3d_core.figures.chain_table import TableInfo

FOLDER = Path(__file__).parent
KEY = "chain"


class Actions(NamedTuple):
    """What is done when something was done: its trigger is at `KEY` then.

    Attributes:
        edit: {"row", "argument", "text"}.
        move: {"row", "to"}.
        remove: {"row"}.
    """

    edit: Callable[[], None]
    move: Callable[[], None]
    remove: Callable[[], None]


def show(info: TableInfo, chosen: int | None, on: Actions) -> None:
    """Mount the table, one row of it marked."""
    mount = st.components.v2.component("conv3d_chain", js=_source("chain_table.js"), css=_source("chain_table.css"))
    mount(
        key=KEY,
        data=asdict(info) | {"chosen": chosen},
        on_edit_change=on.edit,
        on_move_change=on.move,
        on_remove_change=on.remove,
    )


@cache
def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
