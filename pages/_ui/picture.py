"""A drawing of ours on the page: as SVG it takes the theme's colours and fonts, which `st.image` would not let it."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """export default function ({data, parentElement}) {
  const place = parentElement.querySelector(".picture") ?? document.createElement("div");
  place.className = "picture";
  if (!place.isConnected) parentElement.append(place);
  if (data?.svg !== place.drawn) place.innerHTML = place.drawn = data?.svg ?? "";
}"""
_STYLE = ".picture {overflow-x: auto; color: var(--st-text-color); font-family: var(--st-font);} svg {display: block;}"


def show(svg: str, key: str) -> None:
    """Draw it; it scrolls where it is wider than its place.

    Args:
        svg: trusted: whatever of it comes from a user must be escaped.
        key: of the element.
    """
    st.components.v2.component("conv3d_picture", js=_SCRIPT, css=_STYLE)(key=key, data={"svg": svg})
