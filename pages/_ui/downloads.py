"""What a person takes away: the program, the arrays, a picture, the link. Files are made when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import streamlit as st

from conv3d_core import ConvSpec
from conv3d_core.volumes import Volume, output_affine, write_nifti
from pages._ui import session
from pages._ui.cached import Floats


def take_away(program: str, volume: Volume, spec: ConvSpec, output: Floats | None, sheet: Callable[[], bytes]) -> None:
    """The MLX program, its input and output, the sheet of maps and the link.

    Args:
        program: reads input.npy and writes output.npy.
        volume: as the layer got it.
        spec: the layer.
        output: float32 (D, H, W, C); None where it is not known (yet).
        sheet: makes the PNG of the maps on screen.
    """
    st.markdown("**The program** that computes this output in a fresh interpreter, from `input.npy` beside it")
    st.code(program, language="python")
    with st.container(horizontal=True):
        _button("input.npy", lambda: _npy(volume.array[None]), "The volume as the layer got it, (N, D, H, W, C).")
        if output is not None:
            _button("output.npy", lambda: _npy(output[None]), "What MLX computed, (N, D, H, W, C).")
        affine = volume.world_affine
        if output is not None and affine is not None:
            _button(
                "output.nii.gz",
                lambda: write_nifti(output, output_affine(affine, spec.axes)),
                "The output where it lies in the scanner's space: strides and padding moved its affine.",
            )
        _button("maps.png", sheet, "The maps on screen, with their ranges.")
        _button("reproduce.py", program.encode, "The program above.")
    st.markdown("**The link** that restores this state; the address bar has it too")
    st.code(session.link(), language=None, wrap_lines=True)


def _button(name: str, make: Callable[[], bytes], tip: str) -> None:
    st.download_button(name, data=make, file_name=name, help=tip, on_click="ignore", key=f"download_{name}")


def _npy(array: Floats) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
