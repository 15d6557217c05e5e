"""Why this shape, why this error, what would work?"""

from __future__ import annotations

import streamlit as st

from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis import Diagnosis, diagnose
from pages._ui import cached, doctor_controls, doctor_tools, doctor_views, frame, session


def show_findings(found: Diagnosis) -> None:
    """What is wrong, and what would work; beside an error what MLX itself says."""
    chain = found.report.case.chain
    doctor_views.passed(chain)
    for number, finding in enumerate(found.findings):
        with st.container(border=True, key=f"finding_{number}", gap="xsmall"):
            doctor_views.finding(number, finding, chain, doctor_controls.changer)
            if number == 0 and finding.severity == "error" and chain.framework == "mlx":
                with frame.errors(slots, st.container()):
                    doctor_views.own_words(cached.attempt(found.report.case), finding.layer)
    if not found.findings:
        doctor_views.all_well(found.report)
    doctor_views.beside(chain)


def offer_explorer(report: Report, index: int) -> None:
    """A button that opens a convolution in the explorer."""
    tip = "This layer, on a volume of the size that it gets here; on a smaller one where that is large."
    if st.button("Open in the explorer", key="open_explorer", help=tip):
        with frame.answers(notices):
            st.switch_page("pages/explorer.py", query_params=doctor_controls.explorer_query(report, index))


slots = frame.begin()
session.take_along("shape_doctor", "chain")
left, right = st.columns([1, 1.25], gap="medium")
notices = right.container()
case = None
with left, frame.errors(slots, notices):
    case = doctor_controls.ask(slots)
session.remember("chain")
if case:
    found = diagnose(case, cached.memory_budget())
    report = found.report
    with right:
        words, undo = st.columns([7, 1])
        with words:
            doctor_views.verdict(report)
        with undo.container(horizontal=True, horizontal_alignment="right"):
            doctor_controls.offer_undo()
        show_findings(found)
    chosen = doctor_controls.chosen_layer(case.chain)
    slots.add("argument", "layers", "layer")
    with frame.errors(slots, notices):
        refused = session.refused()
        if refused:
            raise refused
    if case.chain.layers:
        doctor_views.table(report, chosen, doctor_controls.edits(report))
    doctor_controls.offer_layers(case)
    if case.chain.layers:
        doctor_views.geometry(report)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            if chosen is not None:
                doctor_controls.ask_layer(case.chain)
                offer_explorer(report, chosen)
        doctor_tools.show(report, chosen)
session.remember("chain")
frame.warn(notices, session.not_taken())
