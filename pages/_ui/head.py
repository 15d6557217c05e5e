"""The head of a page on a layer: the sidebar that asks for it, its constructor call and its shapes."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from conv3d_core import ConvSpec
from conv3d_core.spec import Shape
from pages._ui import cached, controls, frame, session, views, weight_controls


class Head(NamedTuple):
    """What a page begins with.

    Attributes:
        top: the place of the constructor call and the shapes.
        slots: the places beside the controls.
        notices: the place below the header, for errors and warnings.
        main: the rest of the page.
        asked: what the sidebar asks for.
        spec: the layer, None where it is impossible.
        run: the layer on the volume; None where there is no layer, no volume, or the one does not take the other.
        output_shape: (1, D, H, W, C) of that.
    """

    top: DeltaGenerator
    slots: frame.Slots
    notices: DeltaGenerator
    main: DeltaGenerator
    asked: controls.Asked
    spec: ConvSpec | None
    run: cached.Run | None
    output_shape: Shape | None


def begin(page: str) -> Head:
    """Ask for the layer and the volume; what is wrong is said beside its control and below the header.

    Args:
        page: its name, which no other page has.
    """
    slots = frame.begin()
    session.take_along(page)
    top, notices, main = st.container(key="header", gap="xsmall"), st.container(), st.container()
    asked = controls.ask(slots, notices)
    session.remember()
    volume, file = asked.volume, asked.weights.file
    spec = output_shape = run = None
    input_shape = (1, *volume.shape) if volume else None
    with frame.errors(slots, notices):
        spec = ConvSpec(**asked.arguments)
        if file:
            file.trained.check(spec)
            if volume:
                file.trained.check_input(spec, volume.channels)
        output_shape = spec.output_shape(input_shape) if input_shape else None
    if spec and volume and output_shape:
        run = cached.Run(volume, spec, asked.weights.source, asked.weights.seed, asked.dtype, file=file)
        run = run._replace(edits=session.edits(run.weights, spec.weight_shape, not asked.weights.awaited))
    elif spec and volume:
        with notices:
            controls.offer_channel_fixes(spec, volume, file.trained.shape[4] if file else None)
            if file and not file.trained.is_whole(spec):
                weight_controls.offer_layer(file.trained)
    return Head(top, slots, notices, main, asked, spec, run, output_shape)


def end(head: Head) -> None:
    """What a page ends with, behind all widgets: what is set is remembered, what a link asked in vain is said."""
    session.remember()
    frame.warn(head.notices, session.not_taken())


def show(head: Head) -> None:
    """Draw the header. Call once nothing old is left on the page that it does not fit."""
    volume = head.asked.volume
    with head.top:
        views.header(head.asked.arguments, (1, *volume.shape) if volume else None, head.output_shape)
        weights = head.asked.weights
        if weights.file:
            weight_controls.say(weights.file.trained, head.spec)
        elif weights.awaited:
            st.markdown(f":small[Weights: random, seed {weights.seed}, until their file is here]")
