"""Core results -> what is on screen. One function a view, so that a view can be replaced in one place."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from conv3d_core import ConvSpec
from conv3d_core.engine import EngineInfo
from conv3d_core.figures.channels import ChannelStatistics, HistogramInfo, histogram_figure
from conv3d_core.figures.cost import CostRow, cost_info
from conv3d_core.figures.maps import MapInfo, tile_png
from conv3d_core.figures.palette import GREY, NOTHING_FINITE, gradient, number
from conv3d_core.figures.plane import PlaneInfo, plane_figure
from conv3d_core.precision import Rounding
from conv3d_core.shapes import AxisShape, explain_shape, format_bytes
from conv3d_core.source_code import write_call
from conv3d_core.volumes import Volume
from pages._ui import frame

NOT_YET = "Known when the whole volume has run."
MAPS_A_PAGE = 32
_PLOTLY = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


def header(arguments: Mapping[str, Any], input_shape: Sequence[int] | None, output_shape: Sequence[int] | None) -> None:
    """The constructor call and the shapes, at all times, also where the layer is impossible or no volume is ready."""
    st.code(write_call("nn.Conv3d", arguments), language="python", wrap_lines=True)
    before = shape_html(input_shape) if input_shape else "<b>no volume</b>"
    through(before, shape_html(output_shape) if output_shape else "", "no output")


def through(before: str, after: str, nothing: str) -> None:
    """What goes in and what comes out, as HTML; or why nothing does, in a few words."""
    after = f'{after}<span class="what">output</span>' if after else f"<b>{nothing}</b>"
    st.html(
        f'<div class="shape"><span class="what">input</span>{before}'
        f'<span aria-hidden="true">\N{RIGHTWARDS ARROW}</span>{after}</div>'
    )


def shape_html(shape: Sequence[int], letters: str = "NDHWC") -> str:
    """Sizes under the letters of their axes."""
    cells = "".join(
        f'<span class="size"><small>{letter}</small><b>{html.escape(f"{n}")}</b></span>'
        for letter, n in zip(letters, shape, strict=True)
    )
    return f'<span class="sizes" role="img" aria-label="{tuple(shape)}">{cells}</span>'


def volume_facts(volume: Volume, value_range: tuple[float, float] | None) -> None:
    """Shape, spacing, type, range and memory of the volume as the layer gets it."""
    spacing = "unknown spacing"
    if volume.spacing_mm:
        spacing = " \N{MULTIPLICATION SIGN} ".join(number(step) for step in volume.spacing_mm) + " mm"
    facts = [
        " \N{MULTIPLICATION SIGN} ".join(f"{letter} {n}" for letter, n in zip("DHWC", volume.shape, strict=True)),
        spacing,
        f"{volume.dtype} in the file",
        f"{number(value_range[0])} to {number(value_range[1])}" if value_range else NOTHING_FINITE,
        format_bytes(volume.nbytes),
    ]
    st.markdown(":small[" + " · ".join(facts) + "]")
    for note in volume.notes:
        st.markdown(f":small[:orange[{frame.plain(note)}]]")
    with st.expander("What was read"):
        st.text(volume.source)
        if volume.directions:
            st.text(f"D, H, W rise towards {', '.join(volume.directions)}")


def let_the_browser_draw() -> None:
    """Call behind what a hand waits for: what follows then does not hold it up.

    Streamlit's page draws in one go what arrives at one time. On 2 cores the planes were on screen 0.42 s after a
    slider's release without this gap, and 0.31 s with it; all of the page at the same time as before.
    """
    time.sleep(0.04)


def scope_words(shared: bool, whole: bool) -> str:
    """What a colour range is taken over: the whole maps, or the planes on screen while that is not known."""
    if whole:
        return "all maps" if shared else "this map"
    return "these planes of all maps" if shared else "these planes"


def precision(dtype: str, found: Rounding) -> None:
    """How far half precision is from float32, on the planes on screen."""
    st.markdown(
        f":small[{dtype} differs from float32 by up to **{number(found.difference)}** on these planes, "
        f"{100 * found.share:.2g} % of their largest value.]"
    )


def plane(info: PlaneInfo, key: str, height: int) -> None:
    """One plane under its name, axis, index and range; the value is under the cursor."""
    scale = gradient(GREY)
    bar = f'{number(info.low)}<i style="background: {scale}"></i>{number(info.high)}<small>{info.scope}</small>'
    st.html(
        f'<div class="plane"><b>{html.escape(info.title)}</b> <span>{info.label}</span></div>'
        f'<div class="range">{bar if info.finite else NOTHING_FINITE}</div>'
    )
    chart(plane_figure(info, height), key, info.words)
    _note(info.note)


def maps(
    infos: Sequence[MapInfo],
    names: Sequence[str],
    label: str,
    aspect: float,
    chosen: int,
    choose: Callable[[int], Callable[[], None]],
) -> Sequence[MapInfo]:
    """Every channel as a small multiple, its name a button that chooses it; those on the page that is shown."""
    shown = infos
    if len(infos) > MAPS_A_PAGE:
        pages = -(-len(infos) // MAPS_A_PAGE)
        page = st.pagination(pages, key="maps_page") or 1
        shown = infos[(page - 1) * MAPS_A_PAGE : page * MAPS_A_PAGE]
    with st.container(key="maps"):
        grid = st.grid("auto", min_column_width=88, gap="small")
        for info in shown:
            with grid.cell(), st.container(gap=None):
                name = names[info.channel]
                words = f"Channel {info.channel} {name}, plane {label}, {number(info.low)} to {number(info.high)}"
                st.image(address(tile_png(info, aspect)), width="stretch", alt=words)
                title = f"**{info.channel}** {name}" if info.channel != chosen else f":blue[**{info.channel}** {name}]"
                key = f"map_{info.channel}"
                st.button(title, type="tertiary", key=key, on_click=choose(info.channel))
                span = f"±{number(info.high)}" if info.finite and info.constant is None else ""
                note = f":orange[{info.note}]" if info.note else ""
                st.markdown(f":small[{span} {note}]")
    return shown


def sizes(spec: ConvSpec, input_shape: Sequence[int]) -> None:
    """Where each output size comes from, in the user's numbers."""
    grid = st.grid(3, min_column_width=260)
    for axis in explain_shape(spec, input_shape):
        with grid.cell(), st.container(border=True, height="stretch"):
            _size_card(axis)


def cost(spec: ConvSpec, input_shape: Sequence[int], dtype: str, engine: EngineInfo, elapsed_ms: float | None) -> None:
    """Parameters, work, memory, type and device; the time where the whole volume has run."""
    rows = cost_info(spec, input_shape, dtype)
    rows.append(CostRow("Device", engine.backend, device_words(engine)))
    if elapsed_ms is not None:
        because = "the whole volume from its first tile to its last, when it ran; then remembered"
        rows.append(CostRow("Time", f"{elapsed_ms:,.0f} ms", because))
    st.table({"": [r.quantity for r in rows], "value": [r.value for r in rows], "because": [r.because for r in rows]})


def device_words(engine: EngineInfo) -> str:
    """Where it runs, on what, and why there."""
    return f"{engine.device_name}, MLX {engine.mlx_version}; {engine.reason}"


def statistics(channels: Sequence[ChannelStatistics], names: Sequence[str], histogram: HistogramInfo) -> None:
    """One channel's histogram, and the numbers of all."""
    chosen = histogram.channel
    title = f"**Channel {chosen}** {names[chosen]}".rstrip()
    st.markdown(f"{title}, all {histogram.counts.sum():,} finite values of the output")
    about = channels[chosen]
    span = f"{number(about.low)} to {number(about.high)}" if about.finite else NOTHING_FINITE
    words = f"Histogram of channel {chosen}, {span}."
    chart(histogram_figure(histogram), "histogram", words)
    st.dataframe(
        {
            "channel": [c.channel for c in channels],
            **({"kernel": list(names)} if any(names) else {}),
            "min": [c.low for c in channels],
            "max": [c.high for c in channels],
            "mean": [c.mean for c in channels],
            "std": [c.deviation for c in channels],
            "zeros": [100 * c.zero_share for c in channels],
            "flag": [c.flag for c in channels],
        },
        hide_index=True,
        column_config={
            **{name: st.column_config.NumberColumn(format="%.4g") for name in ("min", "max", "mean", "std")},
            "zeros": st.column_config.NumberColumn(format="%.1f %%", help="Share of values that are exactly 0."),
        },
    )


def _size_card(axis: AxisShape) -> None:
    layer = axis.axis
    st.markdown(f"**{axis.letter}, {axis.name}: {axis.input_size} → {axis.output_size}**")
    st.code(axis.formula, language=None, wrap_lines=True)
    lines = [
        f"effective kernel {layer.dilation}·({layer.kernel_size} - 1) + 1 = {layer.effective_kernel_size}",
        f"padded input {axis.input_size} + 2·{layer.padding} = {layer.padded_size(axis.input_size)}",
    ]
    if axis.leftover:
        lines.append(f"the floor drops {axis.leftover} at the end: no window reaches {_positions(axis.leftover)}")
    else:
        lines.append("the last window ends exactly at the border: nothing is dropped")
    if axis.unread:
        lines.append(f":orange[{axis.unread} of {axis.input_size} planes are read by no output]")
    st.markdown("  \n".join(f":small[{line}]" for line in lines))


def _positions(n: int) -> str:
    return "the last padded position" if n == 1 else f"the last {n} padded positions"


def _note(text: str) -> None:
    if text:
        st.markdown(f":small[{text}]")


def address(picture: bytes) -> str:
    """A PNG in its own address: a file's is gone where the script runs again before the browser has asked."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def chart(figure: go.Figure, key: str, words: str) -> None:
    """A Plotly figure, and what it shows in words."""
    st.plotly_chart(figure, key=key, config=_PLOTLY, alt=words)
