"""A measurement on the page: begun by a click, one row a step, so that the page answers in between and it can end."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

from conv3d_core.engine import Engine
from conv3d_core.engine.measure import STEPS, Timing, timings
from conv3d_core.figures.timings import timings_info
from pages._ui import cached, device_views, frame, session
from pages._ui.cached import Run


def show(run: Run, slots: frame.Slots) -> None:
    """The button that begins it, how far it is, what was measured, and why it ended early."""
    measurement = session.measurement(run.key)
    running = measurement.steps is not None
    with st.container(horizontal=True, vertical_alignment="center", key="measuring"):
        st.button("Measure", type="primary", key="measure", on_click=_begin, args=(run,), disabled=running)
        if running:
            total, done = len(STEPS) * len(_engines()), len(measurement.rows)
            st.progress(done / total, text=f"{STEPS[done % len(STEPS)]} ...")
            st.button("Cancel", key="measure_cancel", on_click=session.end_measurement)
        elif not measurement.rows:
            st.markdown("MLX's own layer at once, beside ours in tiles, by planes, by one plane.")
    with frame.errors(slots, st.container()):
        if measurement.error:
            raise measurement.error
    if measurement.rows:
        device_views.timings(timings_info([(t.what, t.device, t.ms, t.gmacs_per_s, t.note) for t in measurement.rows]))


def step(run: Run) -> None:
    """Measure the next row and draw the page again; call at its end, so that all of it is there meanwhile."""
    measurement = session.measurement(run.key)
    if measurement.steps is None:
        return
    row = None
    with frame.errors(frame.Slots(), st.container()) as caught:
        row = next(measurement.steps, None)  # some seconds at the most, unless the layer itself takes longer
    if row is not None:
        measurement.rows.append(row)
    if row is None or len(measurement.rows) == len(STEPS) * len(_engines()):
        session.end_measurement(caught.error)
    st.rerun()


def _begin(run: Run) -> None:
    session.begin_measurement(run.key, _steps(run))


def _steps(run: Run) -> Iterator[Timing]:
    """Runs when the first row is asked for: there an error is explained, and not where the button is clicked."""
    x = run.volume.array[None]
    cached.engine().check_planes(run.spec, x.shape)  # named weights alone can be larger than the machine
    _, weight, bias = cached.arrays(run)
    for engine, plain in _engines():
        yield from timings(engine, plain, run.spec, x, weight, bias)


def _engines() -> list[tuple[Engine, Engine]]:
    """Ours and a plain one, on the device that is taken and, where that is a GPU, on the CPU beside it."""
    taken = cached.engine().info.device
    devices = [taken] if taken == "cpu" else [taken, "cpu"]
    return [
        (cached.engine() if device == taken else cached.engine_on(device), cached.plain_engine(device))
        for device in devices
    ]
