"""What does this layer do to this volume?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from conv3d_core import ConvSpec
from conv3d_core.axis import AXES
from conv3d_core.figures.cost import count
from conv3d_core.figures.maps import maps_info, sheet_png
from conv3d_core.figures.plane import PlaneInfo, aspect_of, drawable_taps, input_plane_info, output_plane_info
from conv3d_core.figures.scene import scene_info
from conv3d_core.kernels import KERNELS, RANDOM, kernel_names
from conv3d_core.receptive_field import Tap, Window, describe, output_spacing
from conv3d_core.reproduce import reproduction
from conv3d_core.shapes import macs
from conv3d_core.volumes import Volume
from pages._ui import cached, controls, downloads, frame, session, views

CLOSE_UP, WHOLE = "Close-up", "Whole volume"
OWN, SHARED = "per map", "shared"
BESIDE = 12


def show_receptive_field(volume: Volume, spec: ConvSpec, selection: controls.Selection, found: Sequence[Tap]) -> None:
    """The pinned output's taps: in 3D, and on the three planes through the middle of its window."""
    columns = st.columns([1.5, 1, 1, 1])
    with columns[0]:
        extent = st.segmented_control(
            "Receptive field",
            (CLOSE_UP, WHOLE),
            default=CLOSE_UP,
            required=True,
            key="extent",
            bind="query-params",
            label_visibility="collapsed",
        )
        scene = scene_info(
            spec,
            volume.array,
            selection.input_channel,
            selection.voxel,
            found,
            selection.axis,
            cached.range_of(volume, selection.input_channel),
            volume.spacing_mm,
            close_up=extent == CLOSE_UP,
        )
        views.scene(scene, "scene", height=275)
    region = scene.region if extent == CLOSE_UP else None
    for column, axis in zip(columns[1:], AXES, strict=True):
        with column:
            views.plane(_input_plane(volume, spec, selection, found, axis, region), f"input_{axis}", height=260)


def show_feature_maps(
    volume: Volume,
    spec: ConvSpec,
    selection: controls.Selection,
    found: Sequence[Tap],
    result: cached.Result,
    names: list[str],
) -> Callable[[], bytes]:
    """Input and output plane at the matching place, and every channel of that plane; what makes a PNG of those."""
    axis, along = selection.axis, AXES.index(selection.axis)
    index, size = selection.voxel[along], result.output.shape[along]
    aspect = aspect_of(axis, output_spacing(spec, volume.spacing_mm))
    # A few maps stand beside the planes; many get the width of the page below them.
    left, middle, *rest = st.columns([1, 1, 1.1] if spec.out_channels <= BESIDE else 2)
    with rest[0] if rest else st.container():
        scope = st.segmented_control(
            "Colour range", (OWN, SHARED), default=OWN, required=True, key="range", bind="query-params"
        )
        infos = maps_info(result.output, axis, index, scope == SHARED, result.statistics)
        on_page = views.maps(infos, names, f"{axis} {index}/{size}", aspect, selection.channel)

    def sheet() -> bytes:
        subtitle = f"{volume.name}, {(1, *volume.shape)} to {(1, *result.output.shape)}, plane {axis} {index}"
        return sheet_png(on_page, spec.to_mlx(), subtitle, aspect, [names[info.channel] for info in on_page])

    with left:
        views.plane(_input_plane(volume, spec, selection, found, axis), "input", height=360)
    with middle:
        chosen = infos[selection.channel]
        title = f"Output {chosen.channel} {names[chosen.channel]}".rstrip()
        over = "all maps" if scope == SHARED else "this map"
        shown = output_plane_info(
            spec, chosen.values, chosen.value_range, axis, selection.voxel, size, volume.spacing_mm, over, title
        )
        views.plane(shown, "output", height=360)
    return sheet


def _input_plane(
    volume: Volume,
    spec: ConvSpec,
    selection: controls.Selection,
    found: Sequence[Tap],
    axis: str,
    region: Window | None = None,
) -> PlaneInfo:
    channel = selection.input_channel
    value_range = cached.range_of(volume, channel)
    return input_plane_info(
        spec, volume.array, channel, selection.voxel, found, axis, value_range, volume.spacing_mm, region
    )


def show_details(
    volume: Volume,
    spec: ConvSpec,
    weights: controls.WeightSource,
    selection: controls.Selection,
    result: cached.Result,
    names: list[str],
    sheet: Callable[[], bytes],
) -> None:
    """Where the numbers come from, and what can be taken away."""
    input_shape = (1, *volume.shape)
    info = cached.engine().info
    shape, cost, channels, away = st.tabs(["Output size", "Cost", "Channels", "Code, files, link"])
    with shape:
        views.sizes(spec, input_shape)
    with cost:
        views.cost(spec, input_shape, info, result.elapsed_ms)
    with channels:
        views.statistics(result.statistics, names, cached.histogram(result, selection.channel))
    with away:
        program = reproduction(spec, weights.source, weights.seed, input_shape, info.device)
        downloads.take_away(program, volume, spec, result.output, sheet)


def kernel_titles(source: str, spec: ConvSpec) -> list[str]:
    """Per output channel the name of its kernel, "" for random weights."""
    if source == RANDOM:
        return [""] * spec.out_channels
    return [KERNELS[name].title for name in kernel_names(source, spec)]


slots = frame.begin()
top, notices, main = st.container(key="header", gap="xsmall"), st.container(), st.container()

volume = None
with st.sidebar:
    with frame.errors(slots, notices):
        source = controls.ask_volume(slots, notices)
        volume = cached.prepared(source, controls.ask_preparation(slots, source))
        views.volume_facts(volume, cached.range_of(volume))
    arguments = controls.ask_layer(slots, volume.channels if volume else None)
    weights = controls.ask_weights(slots)

spec = output_shape = None
input_shape = (1, *volume.shape) if volume else None
with frame.errors(slots, notices):
    spec = ConvSpec(**arguments)
    output_shape = spec.output_shape(input_shape) if input_shape else None

# A new result must not stand under the old picture while it is computed: a skeleton takes its place, and first. It is
# one element, because a container would keep what it held before until the script ends.
status = main.empty()
if output_shape and session.is_new_result((volume.digest, spec, weights)):
    status.markdown(f"MLX is running {count(macs(spec, input_shape))} multiply-accumulates ...")
    place = main.skeleton(height=600)
else:
    place = main.empty()
with top:
    views.header(arguments, input_shape, output_shape)
if output_shape:
    with frame.errors(slots, place):
        result = cached.result(volume, spec, weights.source, weights.seed)
        names = kernel_titles(weights.source, spec)
        with place.container():
            selection = controls.ask_selection(output_shape, volume.channels)
            st.markdown(describe(spec, selection.voxel, volume.shape[:3], selection.channel))
            found = drawable_taps(spec, selection.voxel, volume.shape[:3])
            show_receptive_field(volume, spec, selection, found)
            sheet = show_feature_maps(volume, spec, selection, found, result, names)
            show_details(volume, spec, weights, selection, result, names, sheet)
    status.empty()
else:
    session.is_new_result(None)
if spec and volume and not output_shape:
    with notices:
        controls.offer_channel_fixes(spec, volume)

frame.warn(notices, session.not_taken())
