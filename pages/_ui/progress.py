"""The whole volume, which follows the planes in the background: begun, watched, given up, begun again."""

from __future__ import annotations

import streamlit as st

from conv3d_core.engine import Cancelled, Job
from conv3d_core.figures.cost import duration
from pages._ui import cached, controls, frame, session
from pages._ui.cached import Floats, Run

# Within this nobody sees the difference, and one picture is calmer than two.
GRACE_S = 0.1
POLL_S = 0.4


def begin(run: Run, slots: frame.Slots, box: cached.Box | None) -> Job | None:
    """A job for the whole output; None where it does not fit the memory, or was given up."""
    if session.stopped(run.key):
        return None
    job = session.job(run.key)
    if job is None or job.error:
        job = None
        with frame.errors(slots, st.container()) as caught:
            job = cached.whole(run)
            session.keep_job(run.key, job)
        if caught.error and caught.error.field == "memory":
            crop = cached.engine().crop_that_fits(run.spec, (1, *run.volume.shape))
            if crop:
                controls.offer_crop(crop, run.volume, box)
    return job


def output(run: Run, job: Job | None) -> Floats | None:
    """The whole output (D, H, W, C), read-only, if it is there or as good as there."""
    if job is None or not job.wait(GRACE_S):
        return None
    if _failed(run, job):
        return None
    whole: Floats = job.result()[0][0]
    return whole


def follow(run: Run, job: Job | None) -> None:
    """How far it is, until it is done: then the page is drawn again with what it says. Or why it was given up."""
    stopped = session.stopped(run.key)
    if stopped:
        with st.container(horizontal=True, vertical_alignment="center", key="whole"):
            st.markdown(frame.plain(f"The whole volume: {stopped}"))
            st.button("Compute it", key="go_on", on_click=session.go_on)
    elif job is not None and not job.done:
        st.fragment(_watch, run_every=POLL_S)(run, job)


def _watch(run: Run, job: Job) -> None:
    if job.done:
        _failed(run, job)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", key="whole"):
        st.progress(job.progress, text=_words(job))
        st.button("Cancel", key="cancel", on_click=_cancel, args=(run, job))


def _failed(run: Run, job: Job) -> bool:
    """Whether there is no result; what failed is not begun again by itself, what a newer request replaced is."""
    if job.error and not isinstance(job.error, Cancelled):
        session.stop(run.key, str(job.error))
    return job.error is not None


def _cancel(run: Run, job: Job) -> None:
    session.stop(run.key, f"cancelled at {job.progress:.0%}.")
    job.cancel()


def _words(job: Job) -> str:
    if job.place:
        return f"The whole volume waits for memory, {job.place - 1} before it"
    done = job.progress
    left = f", about {duration(job.elapsed_ms * (1 - done) / done)} left" if done > 0.01 else ""
    return f"The whole volume: {done:.0%}{left}"
