"""What does this layer do to this volume?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from conv3d_core.arithmetic import arithmetic
from conv3d_core.axis import AXES
from conv3d_core.engine import Job, Planes
from conv3d_core.figures.channels import ChannelStatistics, planes_statistics
from conv3d_core.figures.cost import count
from conv3d_core.figures.maps import MapInfo, maps_info, sheet_png
from conv3d_core.figures.plane import aspect_of
from conv3d_core.precision import rounding
from conv3d_core.receptive_field import describe, output_spacing
from conv3d_core.reproduce import reproduction
from conv3d_core.shapes import macs
from conv3d_core.spec import Shape
from pages._ui import (
    arithmetic_view,
    cached,
    controls,
    doctor_controls,
    downloads,
    frame,
    head,
    kernel_controls,
    linked_view,
    progress,
    session,
    viewer,
    views,
)
from pages._ui.cached import Floats, Run


def show_maps(
    run: Run,
    selection: controls.Selection,
    infos: Sequence[MapInfo],
    size: int,
    names: Sequence[str],
) -> Callable[[], bytes]:
    """Every channel of one plane of the output; what makes a PNG of those."""
    axis, index = selection.axis, selection.voxel[AXES.index(selection.axis)]
    aspect = aspect_of(axis, output_spacing(run.spec, run.volume.spacing_mm))
    st.markdown(f"**Feature maps** :small[of plane {axis} {index}/{size}]")
    on_page = views.maps(
        infos, names, f"{axis} {index}/{size}", aspect, selection.channel, lambda channel: session.setter(oc=channel)
    )

    def sheet() -> bytes:
        subtitle = f"{run.volume.name}, {(1, *run.volume.shape)}, plane {axis} {index} of the output"
        return sheet_png(on_page, run.spec.to_mlx(), subtitle, aspect, [names[info.channel] for info in on_page])

    return sheet


def show_sum(run: Run, selection: controls.Selection, planes: Planes) -> None:
    """The products behind the pinned output voxel, and MLX's value of it."""
    products = math.prod(run.spec.weight_shape[1:])
    if products > arithmetic_view.MAX_PRODUCTS:
        arithmetic_view.too_many(products)
        return
    _, weight, bias = cached.arrays(run)
    found = arithmetic(run.spec, run.volume.array, weight, bias, selection.voxel, selection.channel)
    _, h, w = selection.voxel
    arithmetic_view.show(found, float(planes[0][h, w, selection.channel]), run.dtype)


def show_details(
    run: Run,
    selection: controls.Selection,
    job: Job | None,
    output: Floats | None,
    statistics: Sequence[ChannelStatistics],
    names: Sequence[str],
    sheet: Callable[[], bytes],
    planes: Planes,
) -> None:
    """Where the numbers come from, and what can be taken away."""
    input_shape = (1, *run.volume.shape)
    info = cached.engine().info
    tabs = ["Arithmetic", "Output size", "Cost", "Channels", "Code, files, link"]
    sum_, shape, cost, channels, away = st.tabs(tabs)
    with sum_:
        show_sum(run, selection, planes)
    with shape:
        views.sizes(run.spec, input_shape)
    with cost:
        views.cost(run.spec, input_shape, run.dtype, info, job.elapsed_ms if job and output is not None else None)
    with channels:
        if output is None:
            st.markdown(views.NOT_YET)
        else:
            views.statistics(statistics, names, cached.histogram(run, output, selection.channel))
    with away:
        program = reproduction(
            run.spec,
            run.source,
            run.seed,
            input_shape,
            info.device,
            run.dtype,
            run.edits,
            run.file and run.file.trained,
        )
        downloads.take_away(program, run.volume, run.spec, output, sheet)
        offer_doctor(run.spec.to_dict(), input_shape)


def offer_doctor(arguments: Mapping[str, Any], input_shape: Shape) -> None:
    """A button that opens the layer in the shape doctor, possible or not."""
    if st.button("Open in the shape doctor", key="open_doctor", help="Why these sizes, and what would give others."):
        query = doctor_controls.doctor_query(arguments, input_shape)
        st.switch_page("pages/shape_doctor.py", query_params=query)


def show(run: Run, output_shape: Shape, selection: controls.Selection, job: Job | None, planes: Planes) -> None:
    """Everything below the sliders."""
    output = progress.output(run, job)
    whole = output is not None
    statistics = cached.statistics(run, output) if output is not None else planes_statistics(planes)
    names = linked_view.kernel_titles(run)

    words, ranges = st.columns([3.2, 1], vertical_alignment="center")
    words.markdown(describe(run.spec, selection.voxel, run.volume.shape[:3], selection.channel))
    shared = controls.ask_range(ranges) == controls.SHARED
    progress.follow(run, job)
    if run.dtype != "float32":
        exact = cached.planes(run._replace(dtype="float32"), selection.voxel)
        views.precision(run.dtype, rounding(planes, exact))
    infos = {axis: maps_info(plane, axis, shared, statistics) for axis, plane in zip(AXES, planes, strict=True)}
    chosen = infos[selection.axis][selection.channel]
    linked_view.show(run, output_shape, selection, planes, output, chosen, views.scope_words(shared, whole), names)
    kernel_controls.edit(run, selection, linked_view.kernel_title(run, selection))
    views.let_the_browser_draw()

    left, right = st.columns([1, 1.4])
    with right:
        size = output_shape[1 + AXES.index(selection.axis)]
        sheet = show_maps(run, selection, infos[selection.axis], size, names)
    with left:
        viewer.scene()
    show_details(run, selection, job, output, statistics, names, sheet, planes)


page = head.begin("explorer")
run = page.run
chooser, status = page.main.container(), page.main.empty()
# A new result must not stand under the old picture while it is computed, nor the old picture under the new header: a
# skeleton takes its place, and first. It is one element, because a container would keep what it held before until the
# script ends: which is right where only the pin moves or a tap is typed, and keeps the viewer's zoom and the focus.
new = session.is_new_result(run.unedited if run else None)
if run and new:
    status.markdown(f"MLX is running {count(macs(run.spec, (1, *run.volume.shape)))} multiply-accumulates ...")
    place = page.main.skeleton(height=600)
else:
    place = page.main.container() if run else page.main.empty()
head.show(page)
if run:
    with chooser:
        selection = controls.ask_selection(page.output_shape, run.volume.channels)
    with frame.errors(page.slots, place):
        planes = cached.planes(run, selection.voxel)
        with page.notices:
            job = progress.begin(run, page.slots, page.asked.box)
        with place.container() if new else place:
            show(run, page.output_shape, selection, job, planes)
    status.empty()
elif page.asked.volume:
    with page.notices:
        offer_doctor(page.asked.arguments, (1, *page.asked.volume.shape))

head.end(page)
