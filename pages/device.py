"""Where does it run, how fast, how much memory?"""

from __future__ import annotations

import streamlit as st

from pages._ui import cached, device_views, frame, head, measuring

LOG_EVERY_S = 1.0


@st.fragment(run_every=LOG_EVERY_S)
def show_log() -> None:
    """What the engine does, for all visitors of this server, as it happens."""
    # Of its own: what a fragment raises does not reach the page around it.
    with frame.errors(frame.Slots(), st.container()):
        device_views.memory(cached.engine().memory())
    device_views.log(cached.engine().log)


page = head.begin("device")
head.show(page)
with page.main, frame.errors(page.slots, page.main):
    info = cached.engine().info
    device_views.device(info)
    if info.fallback:
        st.button("Try the GPU again", on_click=cached.engine().try_gpu_again)
    st.subheader("This layer on this volume")
    if page.run:
        measuring.show(page.run, page.slots)
    st.subheader("What the engine does")
    show_log()

head.end(page)
if page.run:
    measuring.step(page.run)
