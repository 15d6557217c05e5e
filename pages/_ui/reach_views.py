"""What the receptive field page shows. One function a view."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from conv3d_core.effective_field import THRESHOLD, EffectiveField
from conv3d_core.figures.growth import GrowthInfo, growth_figure, sides
from conv3d_core.figures.palette import ACCENT, gradient
from conv3d_core.figures.plane import PlaneInfo
from conv3d_core.figures.reach import (
    STRENGTH,
    UNREACHED,
    StrengthInfo,
    coverage_figure,
    coverage_legend,
    coverage_words,
    strength_figure,
)
from conv3d_core.receptive_field import Coverage
from pages._ui import views

PLANE_PX = 300


def growth(info: GrowthInfo) -> None:
    """How the window grows, as a table and as bars."""
    rows = info.rows
    in_mm = rows[0].size_mm is not None
    st.dataframe(
        {
            "": [row.number for row in rows],
            "output": [sides(row.output_size) for row in rows],
            "window": [sides(row.size) for row in rows],
            **({"window, mm": [sides(row.size_mm or ()) for row in rows]} if in_mm else {}),
            "jump": [sides(row.jump) for row in rows],
            **({"jump, mm": [sides(row.jump_mm or ()) for row in rows]} if in_mm else {}),
            "padding": [sides(row.padding) for row in rows],
        },
        hide_index=True,
        column_config={
            "": st.column_config.NumberColumn(width=30),
            "output": st.column_config.TextColumn(help="Outputs along D, H, W."),
            "window": st.column_config.TextColumn(
                help="The theoretical receptive field of one output, in voxels of the input; one number where D, H and "
                "W are alike. Araujo, Norris & Sim 2019, eq. 2."
            ),
            "jump": st.column_config.TextColumn(
                help="Voxels of the input between the windows of neighbouring outputs: the product of the strides."
            ),
            "padding": st.column_config.TextColumn(
                help="Effective padding: how far the first output's window begins before the input, in voxels."
            ),
        },
    )
    views.chart(growth_figure(info, height=230), "growth", info.words)


def window(planes: Sequence[PlaneInfo]) -> None:
    """A window on three planes of the input."""
    for column, info in zip(st.columns(3), planes, strict=True):
        with column:
            views.plane(info, f"window_{info.axis}", height=PLANE_PX)


def coverage(found: Coverage, planes: Sequence[PlaneInfo]) -> None:
    """How many outputs reach each voxel, on three planes, and what the colours mean."""
    legend = coverage_legend(found)
    if legend.listed:
        entries = "".join(
            f'<span><i style="background: {colour}"></i>{count:,}</span>'
            for count, colour in zip(legend.counts, legend.colours, strict=True)
        )
    else:
        least, most = legend.counts
        bar = f"linear-gradient(to right, {', '.join(legend.colours)})"
        entries = f'<span class="range">{least:,}<i style="background: {bar}; width: 6rem"></i>{most:,}</span>'
    none = ""
    if legend.unreached:
        none = f'<span><i style="background: {UNREACHED}"></i>no output: {legend.unreached:,} voxels</span>'
    st.html(f'<div class="legend">outputs that reach a voxel{entries}{none}</div>')
    for column, info in zip(st.columns(3), planes, strict=True):
        with column:
            _title(info.title, info.label)
            views.chart(coverage_figure(info, PLANE_PX), f"coverage_{info.axis}", coverage_words(info))


def strength(field: EffectiveField, planes: Sequence[StrengthInfo]) -> None:
    """What one output answers to, on three planes, and what the colours mean."""
    st.html(
        '<div class="legend">absolute gradient, of the largest'
        f'<span class="range">0<i style="background: {gradient(STRENGTH)}; width: 6rem"></i>1</span>'
        f'<span><i style="border: 2px solid {ACCENT}"></i>theoretical window</span>'
        '<span><i style="border: 2px solid #fff; outline: 1px solid #8590a0"></i>'
        f"above {100 * THRESHOLD:.3g} %</span></div>"
    )
    for column, info in zip(st.columns(3), planes, strict=True):
        with column:
            _title(info.plane.title, info.plane.label)
            views.chart(strength_figure(info, PLANE_PX), f"strength_{info.plane.axis}", info.words)


def weights_note(random: bool, seeds: Sequence[int]) -> None:
    """What the weights stand for, and how it was computed."""
    if random:
        drawn = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        what = f"Random weights are those with which nn.Conv3d starts ({drawn}): a network before any training."
    else:
        what = (
            "Gaussian weights are smooth and positive in every layer. They stand for layers that have learnt to "
            "smooth, and for no particular network."
        )
    st.markdown(
        f":small[{what} By mx.grad, layer by layer, of channel 0; absolute, summed over the input's channels. There is "
        f"no activation between the layers. The share counts the voxels above {100 * THRESHOLD:.3g} % (1 - 95.45 %) of "
        "the largest gradient, in the manner of Luo et al. 2016, who hold them against the centre's.]"
    )


def _title(title: str, label: str) -> None:
    st.html(f'<div class="plane"><b>{title}</b> <span>{label}</span></div>')
