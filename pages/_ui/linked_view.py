"""A layer on a volume, linked under the hand: what the viewer is sent for it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from conv3d_core.axis import AXES
from conv3d_core.engine import Planes
from conv3d_core.figures.linked import Side, cut_box, linked_info, overview_step, sent_box
from conv3d_core.figures.maps import MapInfo
from conv3d_core.kernels import FILE, KERNELS, RANDOM, kernel_names
from conv3d_core.receptive_field import central_voxel
from conv3d_core.spec import Shape
from pages._ui import cached, controls, viewer
from pages._ui.cached import Floats, Run


def show(
    run: Run,
    output_shape: Shape,
    selection: controls.Selection,
    planes: Planes,
    output: Floats | None,
    chosen: MapInfo,
    scope: str,
    names: Sequence[str],
) -> None:
    """The planes of the input, the kernel, the planes of the chosen output channel: linked under the hand."""
    volume, spec, channel = run.volume, run.spec, selection.channel
    inputs = volume.array[..., selection.input_channel]
    box = sent_box(inputs.shape, central_voxel(spec, selection.voxel, inputs.shape))
    title = "Input" if volume.channels == 1 else f"Input {selection.input_channel}"
    source = Side(
        f"{volume.digest} {selection.input_channel} {box}",
        title,
        cached.range_of(volume, selection.input_channel),
        "whole volume",
        volume.spacing_mm,
    )
    title = f"Output {channel} {names[channel]}".rstrip()
    sizes = output_shape[1:4]
    sent = sent_box(sizes, selection.voxel)
    result = Side(f"{run.name} {channel} {sent}", title, chosen.value_range, scope, None)
    _, weights, biases = cached.arrays(run)
    bias = 0.0 if biases is None else float(biases[channel])
    header = linked_info(
        spec, inputs.shape, selection.voxel, channel, source, result, kernel_title(run, selection), box, bias
    )
    arrays = {"kernel": weights[channel, ..., selection.input_channel]}
    for axis, plane in zip(AXES, planes, strict=True):
        arrays[f"plane_{axis}"] = plane[..., channel]
    viewer.show(header, arrays, controls.pin_from_viewer(output_shape))
    with st.container(key="viewer_data"):
        viewer.load()
        viewer.keep("input", cached.volume_message(source.key, box, inputs.shape, cut_box(inputs, box)))
        if header["overview"]:
            step = overview_step(inputs.shape)
            small = inputs[::step, ::step, ::step]
            viewer.keep("overview", cached.volume_message(header["overview"]["key"], box, inputs.shape, small))
        if output is not None:
            voxels = cut_box(output[..., channel], sent)
            viewer.keep("output", cached.volume_message(result.key, sent, sizes, voxels))


def kernel_titles(run: Run) -> list[str]:
    """Per output channel the name of its kernel, "" where it has none; and whether it was edited."""
    names = [""] * run.spec.out_channels
    if run.source not in (RANDOM, FILE):
        names = [KERNELS[name].title for name in kernel_names(run.source, run.spec)]
    for channel in {edit.tap[0] for edit in run.edits}:
        names[channel] = f"{names[channel]} (edited)".lstrip()
    return names


def kernel_title(run: Run, selection: controls.Selection) -> str:
    """Which kernel is shown."""
    of_input = "" if run.volume.channels == 1 else f" on input {selection.input_channel}"
    return f"Kernel of output {selection.channel}{of_input}"
