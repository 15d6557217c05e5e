"""The linked viewer and its 3D scene: elements of our own, because a hover must never go to the server (see DESIGN.md).

Its code and each volume travel in messages of their own, which Streamlit does not send again while they stay the same;
what changes with a parameter is small. `mount.js`, `scene_mount.js` and `keep.js` are sent with each message and only
pass data on; `code.js` and what it imports is the viewer and its scene, one module of it for one job.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages._ui.viewer.pack import pack, unpack

__all__ = ["bundle", "keep", "load", "pack", "scene", "show", "unpack", "volume_message"]

Floats = NDArray[np.float32]
FOLDER = Path(__file__).parent
# Each imports from those before it.
MODULES = (
    "geometry.js",
    "volume.js",
    "words.js",
    "marks.js",
    "planes.js",
    "kernel.js",
    "page.js",
    "viewer.js",
    "camera.js",
    "cubes.js",
    "stage.js",
    "scene.js",
    "code.js",
)
KEY = "viewer"


def show(header: dict[str, Any], arrays: dict[str, Floats], on_pin: Callable[[], None]) -> None:
    """Mount the viewer.

    Args:
        header: see `conv3d_core.figures.linked.linked_info`.
        arrays: "kernel" (KD, KH, KW) and "plane_D", "plane_H", "plane_W": the output through the pin.
        on_pin: called when a voxel was pinned: the trigger "pin" of `KEY` is then (d, h, w).
    """
    _element("conv3d_viewer", _source("mount.js"), _source("viewer.css"))(
        key=KEY, data=pack(header, arrays), on_pin_change=on_pin
    )


def scene() -> None:
    """Mount the 3D scene: it is sent nothing, and draws what the viewer looks at."""
    _element("conv3d_scene", _source("scene_mount.js"), _source("scene.css"))(key="scene", data={})


def keep(name: str, volume: bytes) -> None:
    """Send a volume, see `volume_message`, for the viewer to find: the "input", the "output" or the "overview"."""
    _element("conv3d_keep", _source("keep.js"))(key=f"{KEY}_{name}", data=volume)


def volume_message(key: str, box: tuple[tuple[int, int], ...], full: tuple[int, ...], voxels: Floats) -> bytes:
    """A volume, or a box of one.

    Args:
        key: name of its content.
        box: first and last index along D, H, W of what is sent.
        full: sizes of the whole.
        voxels: of the box.
    """
    return pack({"key": key, "origin": [first for first, _ in box], "full": list(full)}, {"volume": voxels})


def load() -> None:
    """Send the code, once a page."""
    _element("conv3d_code", bundle())(key=f"{KEY}_code", data={})


@cache
def bundle() -> str:
    """The modules as one: Streamlit gives an element a single file. Names are unique across them."""
    sources = (_source(name) for name in MODULES)
    return "\n".join(re.sub(r"^import [^;]*;\n|^export (?!default)", "", source, flags=re.M) for source in sources)


@cache
def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _element(name: str, js: str, css: str | None = None) -> Any:
    # In each run: the registry belongs to the server, which the tests make anew.
    return st.components.v2.component(name, js=js, css=css)
