"""The chosen kernel, to be changed by hand: its taps as numbers, what is done to all of them, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from conv3d_core import SpecError
from conv3d_core.edits import (
    MAX_EDITS,
    MAX_IN_LINK,
    Edits,
    describe,
    number_text,
    of_kernel,
    sum_to_one,
    tap_value,
    with_kernel,
)
from conv3d_core.figures.palette import SIGNED, depth_colours, number, paint
from conv3d_core.kernels import taps
from pages._ui import cached, controls, frame, kernel_editor, session
from pages._ui.cached import Floats, Run

# A kernel of up to so many taps along each axis is shown with all its planes, a larger one plane by plane.
ALL_PLANES = 7
# Fields of one plane.
MAX_FIELDS = 1024
# From this share of the strongest colour on, black on it cannot be read.
DARK = 0.6


def edit(run: Run, selection: controls.Selection, title: str) -> None:
    """The kernel of the chosen output channel on the chosen input channel.

    Args:
        run: the layer.
        selection: which kernel.
        title: of it.
    """
    channel, input_channel = selection.channel, selection.input_channel
    source, _ = cached.source_weights(run)
    own = of_kernel(run.edits, channel, input_channel)
    count = f": {len(own):,} tap{'s' if len(own) != 1 else ''} changed" if own else ""
    with st.expander(f"Edit the kernel{count}", key="kernel"):
        before = source[channel, ..., input_channel]
        _, weight, _ = cached.arrays(run)
        kernel = weight[channel, ..., input_channel]
        words = describe(run.edits, channel, input_channel, kernel.size)
        st.markdown(f"**{title}** :small[{words}]")
        _offer(run, selection, source, before, kernel, bool(own))
        error = session.edit_error()
        with frame.errors(frame.Slots(), st.container()):
            if error:
                raise error
        _fields(run, selection, source, before, kernel)
        if len(run.edits) > MAX_IN_LINK:
            st.markdown(
                f":small[:orange[A link carries up to {MAX_IN_LINK} changed taps; these are {len(run.edits):,}.]]"
            )


def _offer(
    run: Run, selection: controls.Selection, source: Floats, before: Floats, kernel: Floats, changed: bool
) -> None:
    """Buttons for what is done to the whole kernel."""
    size = run.spec.kernel_size
    try:
        normalised, problem = sum_to_one(kernel), ""
    except SpecError as error:
        normalised, problem = None, str(error)
    with st.container(horizontal=True, gap="xsmall"):
        for name, tip, wanted in (
            ("All 0", "Every tap 0: then type the few that you want.", np.zeros_like(kernel)),
            ("Identity", "1 under the centre tap, 0 elsewhere: copies the input.", taps("identity", size)),
            ("Negate", "Every tap times -1.", -kernel),
            ("Sum to 1", problem or "Every tap divided by their sum, as in a mean.", normalised),
            ("Reset", "This kernel as its source gives it.", before if changed else None),
        ):
            st.button(
                name,
                key=f"kernel_{name}",
                help=tip,
                disabled=wanted is None or np.array_equal(wanted, kernel) or kernel.size > MAX_EDITS,
                on_click=_change(run, selection, source, wanted) if wanted is not None else None,
            )
        st.button(
            "Undo",
            key="kernel_undo",
            help="Take the last change back.",
            disabled=not session.can_undo(run.weights),
            on_click=session.undo,
            args=(run.weights,),
        )
        if len(run.edits) > 0:
            st.button(
                "Reset all kernels",
                key="kernel_reset_all",
                help="All weights as their source gives them.",
                on_click=session.edit,
                args=(run.weights, lambda _: ()),
            )


def _fields(run: Run, selection: controls.Selection, source: Floats, before: Floats, kernel: Floats) -> None:
    depth, height, width = kernel.shape
    depths = range(depth)
    if max(kernel.shape) > ALL_PLANES and depth > 1:
        session.settle("kernel_plane", (depth - 1) // 2, 0, depth - 1)
        chosen = st.slider("Plane of the kernel along D", 0, depth - 1, (depth - 1) // 2, key="kernel_plane")
        depths = range(chosen, chosen + 1)
    if height * width > MAX_FIELDS:
        st.markdown(f"A plane of {height} × {width} taps is too large to type: up to {MAX_FIELDS:,} are shown.")
        return
    name = f"{run.weights} {selection.channel} {selection.input_channel}"
    planes = _planes(kernel, before, depths)
    kernel_editor.show(name, planes, _typed(run, selection, source, name))


def _planes(kernel: Floats, before: Floats, depths: range) -> list[dict[str, Any]]:
    """What the fields show."""
    finite = np.abs(kernel[np.isfinite(kernel)])
    most = float(finite.max(initial=0)) or 1.0
    behind = paint(kernel, -most, most, SIGNED)
    plane_colours = depth_colours(kernel.shape[0])

    def cell(d: int, h: int, w: int) -> dict[str, Any]:
        value, source = float(kernel[d, h, w]), float(before[d, h, w])
        red, green, blue = behind[d, h, w].tolist()
        return {
            "text": number_text(value),
            "short": number(value),
            "colour": f"rgb({red} {green} {blue})",
            "dark": abs(value) > DARK * most,
            "source": None if np.array_equal(value, source, equal_nan=True) else number_text(source),
        }

    return [
        {
            "d": d,
            "title": f"D {d}",
            "colour": plane_colours[d],
            "rows": [[cell(d, h, w) for w in range(kernel.shape[2])] for h in range(kernel.shape[1])],
        }
        for d in depths
    ]


def _change(run: Run, selection: controls.Selection, source: Floats, kernel: Floats) -> Callable[[], None]:
    """A callback that gives the kernel these taps."""

    def change(edits: Edits) -> Edits:
        return with_kernel(edits, source, selection.channel, selection.input_channel, kernel)

    return lambda: session.edit(run.weights, change)


def _typed(run: Run, selection: controls.Selection, source: Floats, name: str) -> Callable[[], None]:
    """A callback that takes what was typed into the fields."""

    def change(edits: Edits, sent: list[tuple[int, int, int, float]]) -> Edits:
        _, weight, _ = cached.arrays(run._replace(edits=edits))
        kernel = weight[selection.channel, ..., selection.input_channel].copy()
        for d, h, w, value in sent:
            kernel[d, h, w] = tap_value(value)
        return with_kernel(edits, source, selection.channel, selection.input_channel, kernel)

    def take() -> None:
        sent = session.triggered(kernel_editor.KEY, "edit")
        if sent["name"] == name:
            session.edit(run.weights, lambda edits: change(edits, sent["taps"]))

    return take
