"""Which voxels can reach which, in one layer and in a stack?"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from conv3d_core import ConvSpec
from conv3d_core.axis import AXES
from conv3d_core.effective_field import effective_field, gradient_macs
from conv3d_core.figures.cost import count
from conv3d_core.figures.growth import growth_info
from conv3d_core.figures.reach import coverage_plane_info, strength_plane_info, window_plane_info
from conv3d_core.kernels import RANDOM
from conv3d_core.receptive_field import (
    Window,
    central_voxel_of,
    coverage,
    describe_coverage,
    describe_window,
    receptive_field,
)
from conv3d_core.spec import Triple
from conv3d_core.stack import stack_shapes
from conv3d_core.volumes import Volume
from pages._ui import cached, frame, head, reach_views, stack_controls, views

# Up to here a gradient is taken without asking: some seconds on two cores.
MOST_MACS = 2**32


def show_window(volume: Volume, window: Window, unit: Triple, layer: int) -> None:
    """Where the window of the chosen output lies on the volume."""
    what = f"Output {unit} of layer {layer}"
    st.markdown(describe_window(window, volume.shape[:3], volume.spacing_mm, what))
    value_range = cached.range_of(volume, 0)
    reach_views.window(
        [window_plane_info(volume.array, 0, window, axis, value_range, volume.spacing_mm) for axis in AXES]
    )


def show_coverage(volume: Volume, specs: Sequence[ConvSpec], window: Window) -> None:
    """How many outputs reach each voxel."""
    st.subheader("Coverage: how many outputs reach each voxel")
    chosen = list(specs) if stack_controls.ask_reach(len(specs)) else list(specs[:1])
    size = volume.shape[:3]
    found = coverage(chosen, size)
    voxel = central_voxel_of(window, size)
    st.markdown(describe_coverage(found, voxel, len(chosen), of_stack=len(specs) > 1))
    reach_views.coverage(found, [coverage_plane_info(found, voxel, axis, volume.spacing_mm) for axis in AXES])


def show_effective(volume: Volume, specs: tuple[ConvSpec, ...], unit: Triple, window: Window) -> None:
    """What the chosen output answers to, by MLX's own gradients."""
    st.subheader("Effective receptive field: what the output answers to")
    weighting = stack_controls.ask_weighting()
    input_shape = (1, *volume.shape)
    work = gradient_macs(specs, input_shape)
    if work * len(weighting.seeds) > MOST_MACS and not stack_controls.ask_patience(
        f"{len(weighting.seeds)} times {count(work)} multiply-accumulates take a while."
    ):
        return
    place = st.container()
    line = st.empty()
    strengths = []
    for number, seed in enumerate(weighting.seeds):
        # Between two gradients a newer wish takes over: Streamlit ends the script where it shows something.
        if len(weighting.seeds) > 1:
            line.progress(number / len(weighting.seeds), text=f"mx.grad, draw {number + 1} of {len(weighting.seeds)}")
        strengths.append(cached.gradient_strength(specs, input_shape, unit, weighting.source, seed))
    line.empty()
    field = effective_field(strengths, window, volume.shape[:3])
    with place:
        st.markdown(field.describe())
        reach_views.strength(
            field, [strength_plane_info(field, volume.shape[:3], axis, volume.spacing_mm) for axis in AXES]
        )
        reach_views.weights_note(weighting.source == RANDOM, weighting.seeds)


def show(volume: Volume, specs: tuple[ConvSpec, ...]) -> None:
    """Everything below the stack."""
    _, d, h, w, _ = stack_shapes(specs, (1, *volume.shape))[-1]
    st.subheader("Window: what one output can see")
    unit = stack_controls.ask_unit((d, h, w), len(specs))
    window = receptive_field(specs).window(unit)
    show_window(volume, window, unit, len(specs))
    views.let_the_browser_draw()
    with frame.errors(page.slots, st.container()):
        show_coverage(volume, specs, window)
    with frame.errors(page.slots, st.container()):
        show_effective(volume, specs, unit, window)


page = head.begin("receptive_field")
head.show(page)
if page.run:
    volume = page.run.volume
    with page.main:
        st.subheader("Stack")
        left, right = st.columns([1, 1.25], gap="medium")
        with left:
            layers = stack_controls.ask_stack(page.slots, page.run.spec)
        with frame.errors(page.slots, page.notices):
            specs = tuple(layers())
            with right:
                reach_views.growth(growth_info(specs, (1, *volume.shape), volume.spacing_mm))
            show(volume, specs)

head.end(page)
