"""What a session remembers: the only reader and writer of `st.session_state` and `st.query_params`.

Widgets are bound to the URL (``bind="query-params"``), so the address bar is the link that restores the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from conv3d_core.volumes import Volume

_UPLOADS = "_uploads"
_LAST_UPLOAD = "_last_upload"
_REQUESTED = "_requested"
_SHOWN = "_shown"
_DEFAULT = "_default_"


def begin() -> None:
    """Remember, on a session's first run, what its link asked for; call before any widget."""
    if _REQUESTED not in st.session_state:
        st.session_state[_REQUESTED] = {key: st.query_params.get_all(key) for key in st.query_params}


def not_taken() -> list[str]:
    """What the link asked for and the widgets did not take, in words; said once, at the end of the first run."""
    requested: dict[str, list[str]] = st.session_state[_REQUESTED]
    st.session_state[_REQUESTED] = {}
    problems = []
    for key, texts in requested.items():
        if key in st.session_state and texts != _as_query(st.session_state[key]):
            asked, taken = ",".join(texts), ",".join(_as_query(st.session_state[key]))
            problems.append(f"link: {key}={asked} cannot be restored here; showing {taken} instead.")
    return problems


def settle(key: str, default: Any, low: int | None = None, high: int | None = None) -> None:
    """Call before a bound widget whose default or bounds move.

    Untouched, it follows its default; touched, it stays, moved to the nearest value inside the bounds.
    """
    before = st.session_state.get(f"{_DEFAULT}{key}", default)
    st.session_state[f"{_DEFAULT}{key}"] = default
    if key not in st.session_state:
        return
    value = default if st.session_state[key] == before else st.session_state[key]
    if low is not None and high is not None:
        value = tuple(_clip(v, low, high) for v in value) if isinstance(value, tuple) else _clip(value, low, high)
    if st.session_state[key] != value:
        st.session_state[key] = value


def choose(key: str, options: list[Any], default: Any) -> None:
    """Call before a bound choice whose options change: a choice that is gone falls back to the default."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = default


def setter(**values: Any) -> Callable[[], None]:
    """A callback that sets widgets by key."""

    def assign() -> None:
        for key, value in values.items():
            st.session_state[key] = value

    return assign


def spreader(key: str, keys: list[str]) -> Callable[[], None]:
    """A callback that gives several widgets the value of one."""

    def spread() -> None:
        if key in st.session_state:
            for other in keys:
                st.session_state[other] = st.session_state[key]

    return spread


def put(key: str, value: Any) -> None:
    """Set a widget before it is drawn."""
    st.session_state[key] = value


def uploads() -> dict[str, Volume]:
    """The volumes this session brought, by name."""
    found: dict[str, Volume] = st.session_state.setdefault(_UPLOADS, {})
    return found


def keep_upload(file_id: str, volume: Volume) -> bool:
    """Keep an uploaded volume; whether it is new, so that it is chosen once and not at every rerun."""
    new = st.session_state.get(_LAST_UPLOAD) != file_id
    st.session_state[_LAST_UPLOAD] = file_id
    uploads()[volume.name] = volume
    return new


def is_new_result(key: object) -> bool:
    """Whether this result differs from the one that is on screen; remembers it."""
    new = st.session_state.get(_SHOWN) != key
    st.session_state[_SHOWN] = key
    return bool(new)


def link() -> str:
    """The address that restores this state."""
    query = [(key, text) for key in st.query_params for text in st.query_params.get_all(key)]
    base = (st.context.url or "").split("?")[0]
    return f"{base}?{urlencode(query)}" if query else base


def _clip(number: int, low: int, high: int) -> int:
    return min(max(number, low), high)


def _as_query(value: object) -> list[str]:
    """A widget's value as the address bar has it."""
    if isinstance(value, bool):
        return [str(value).lower()]
    return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
