"""What the shape doctor says. One function a view."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from conv3d_core.chain import Case, Chain, Passed
from conv3d_core.chain.layer import NAMES
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis import Finding
from conv3d_core.engine import Attempt
from conv3d_core.figures.chain_table import table_info
from conv3d_core.figures.cost import count
from conv3d_core.figures.geometry import CHANNELS, SPACE, geometry_info, geometry_svg
from conv3d_core.figures.palette import ACCENT
from conv3d_core.shapes import format_bytes
from pages._ui import chain_table, frame, picture, views
from pages._ui.doctor_controls import title

MARKS = {
    "error": ":red[**Does not work**]",
    "silent": ":orange[**Runs, and is not right**]",
    "hint": ":blue[**Good to know**]",
}


def verdict(report: Report) -> None:
    """In two lines: what goes in, what comes out, what it costs; or where it ends."""
    chain = report.case.chain
    shape = report.case.input_shape
    before = views.shape_html(shape, report.input_letters or "?" * len(shape))
    after = views.shape_html(report.output_shape, report.rows[-1].letters) if report.rows else ""
    failed = report.failed
    nothing = "no layer" if failed is None else f"fails at layer {failed + 1}"
    if failed is not None and chain.uncertain_from is not None and chain.is_uncertain(failed):
        nothing = f"uncertain from layer {chain.uncertain_from + 1} on"
    views.through(before, after if failed is None else "", nothing)
    facts = [f"{NAMES[chain.framework]}, {len(chain.layers)} layer{'s' * (len(chain.layers) != 1)}"]
    if report.rows:
        facts += [
            f"{report.parameters:,} parameters",
            f"{count(report.macs)} MACs",
            f"{format_bytes(report.peak_bytes)} at once",
        ]
    st.markdown(f":small[{' · '.join(facts)}]")


def passed(chain: Chain) -> None:
    """What was not understood on the data's way, by line."""
    for one in chain.passed:
        if one.before is not None and not one.keeps_shape:
            where = f"layer {one.before + 1} on" if one.before < len(chain.layers) else "there on"
            st.warning(f"{_passed(one)}. Shapes are uncertain from {where}.")


def beside(chain: Chain) -> None:
    """What else was passed over, by line."""
    found = [one for one in chain.passed if one.before is None or one.keeps_shape]
    if found:
        with st.expander(f"{len(found)} other line{'s' * (len(found) != 1)} passed over", key="beside"):
            for one in found:
                st.markdown(f":small[{_passed(one)}]")


def _passed(one: Passed) -> str:
    text = one.text.rstrip(",")
    why = one.why.removeprefix(f"{text}: ")
    return f"Line {one.line}, `{text.replace('`', chr(39))}`, is passed over: {frame.plain(why)}"


def finding(number: int, found: Finding, chain: Chain, apply: Callable[[Case], Callable[[], None]]) -> None:
    """What, where, the numbers, and what would work, a click each."""
    where = ""
    if found.layer is not None and found.layer < len(chain.layers):
        layer = chain.layers[found.layer]
        line = f", line {layer.line}" if layer.line else ""
        where = f" :small[layer {found.layer + 1}, {frame.plain(title(layer))}{line}]"
    st.markdown(f"{MARKS[found.severity]}{where}")
    st.markdown(frame.plain(found.words))
    if found.formula:
        st.code(found.formula, language=None, wrap_lines=True)
    if found.fixes:
        with st.container(horizontal=True, gap="xsmall"):
            for rank, fix in enumerate(found.fixes):
                st.button(
                    frame.plain(fix.words),
                    key=f"fix_{number}_{rank}",
                    type="primary" if rank == 0 and found.severity == "error" else "secondary",
                    on_click=apply(fix.case),
                )


def own_words(attempt: Attempt, failed: int | None) -> None:
    """What MLX itself says: its exception; or that it says nothing, and what shape it announces.

    Args:
        attempt: what came of it.
        failed: the layer that does not work, by our reckoning.
    """
    if attempt.failed is not None:
        st.markdown(f":small[What MLX itself says, at layer {attempt.failed + 1}:]")
        st.code(f"{attempt.error}: {attempt.message}", language=None, wrap_lines=True)
    elif failed is not None:
        st.markdown(
            f":small[MLX itself says nothing: for layer {failed + 1} it announces the shape {attempt.shapes[failed]}.]"
        )


def all_well(report: Report) -> None:
    """Nothing was found."""
    if not report.case.chain.layers:
        st.info("Paste layers on the left, or add the first one below.")
    elif report.case.chain.uncertain_from is not None:
        st.info("Nothing wrong was found in what could be read; what lies behind the lines above is uncertain.")
    else:
        st.success("Every layer takes what comes to it, and nothing else was found.")


def table(report: Report, chosen: int | None, on: chain_table.Actions) -> None:
    """A row a layer; its arguments can be edited in place, and the rows moved."""
    chain_table.show(table_info(report), chosen, on)


def geometry(report: Report) -> None:
    """The arrays to scale."""
    picture.show(geometry_svg(geometry_info(report)), "geometry")
    st.html(
        f'<div class="legend"><span><i style="background: {SPACE}"></i>voxels to scale: width, height, and depth into '
        f'the picture</span><span><i style="background: {CHANNELS}"></i>channels</span><span><i style="border: 2px '
        f'solid {ACCENT}"></i>the kernel that reads them</span></div>'
    )
