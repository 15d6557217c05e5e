"""What the device page shows. One function a view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from conv3d_core.engine import EngineInfo, Event, Memory
from conv3d_core.figures.timings import TimingRow, timings_figure
from conv3d_core.shapes import format_bytes
from pages._ui import frame, views


def device(engine: EngineInfo) -> None:
    """Where it runs, why there, and what it multiplies with; in sight where a GPU had to be left."""
    if engine.fallback:
        st.warning(frame.plain(f"{engine.fallback[0].upper()}{engine.fallback[1:]}; everything runs on the CPU."))
    grid = st.grid(4, min_column_width=150)
    for title, value, what in (
        ("Device", engine.device_name, "CPU" if engine.device == "cpu" else f"GPU, {engine.backend}"),
        ("MLX", engine.mlx_version, "in its own process"),
        ("Memory", format_bytes(engine.memory_bytes), "of the machine" if engine.device == "cpu" else "of the device"),
        ("Lanes", f"{engine.lanes}", "tiles at a time" if engine.lanes > 1 else "tile at a time"),
    ):
        with grid.cell(), st.container(border=True, height="stretch"):
            st.markdown(f":small[{title}]  \n**{frame.plain(value)}**  \n:small[{frame.plain(what)}]")
    st.markdown(f":small[Why: {frame.plain(engine.reason)}.]")
    if engine.blas:
        st.markdown(f":small[Multiplies with {frame.plain(engine.blas)}.]")


def timings(rows: Sequence[TimingRow]) -> None:
    """What was measured, as bars and as a table."""
    if any(row.ms is not None for row in rows):
        words = "; ".join(f"{row.what} on {row.device} {row.time}" for row in rows)
        views.chart(timings_figure(rows), "timings", words)
    several = len({row.device for row in rows}) > 1
    st.dataframe(
        {
            "what": [row.what for row in rows],
            **({"device": [row.device for row in rows]} if several else {}),
            "time": [row.time for row in rows],
            "GMAC/s": [row.gmacs_per_s for row in rows],
            "times sooner": [row.against for row in rows],
            **({"note": [row.note for row in rows]} if any(row.note for row in rows) else {}),
        },
        hide_index=True,
        column_config={
            "GMAC/s": st.column_config.NumberColumn(format="%.3g", help="10^9 multiply-accumulates a second."),
            "times sooner": st.column_config.NumberColumn(
                format="%.3g", help="Than nn.Conv3d at once on the same device, with MLX's own BLAS."
            ),
            "note": st.column_config.TextColumn(width="large"),
        },
    )
    st.markdown(
        ":small[Median of up to three after a warm-up, bars on a logarithmic scale. Ours from the call to the result, "
        "copies included; nn.Conv3d its evaluation alone.]"
    )


def memory(found: Memory) -> None:
    """What the worker holds, beside its budget."""
    share = min(1.0, found.process_peak / found.budget)
    st.progress(
        share,
        text=f"The worker held at most {format_bytes(found.process_peak)}; its budget is {format_bytes(found.budget)}",
    )
    st.markdown(
        f":small[MLX uses {format_bytes(found.mlx_active)} now, used {format_bytes(found.mlx_peak)} at its most, and "
        f"keeps {format_bytes(found.mlx_cached)} for the next tile.]"
    )


def log(events: Sequence[Event]) -> None:
    """The last events, the newest first."""
    st.dataframe(
        {
            "time": [datetime.fromtimestamp(event.at).strftime("%H:%M:%S") for event in events],
            "event": [event.kind for event in events],
            "what": [event.text for event in events],
        },
        hide_index=True,
        height=300,
        column_config={
            "time": st.column_config.TextColumn(width=80),
            "event": st.column_config.TextColumn(width=100),
            "what": st.column_config.TextColumn(width="large"),
        },
    )
