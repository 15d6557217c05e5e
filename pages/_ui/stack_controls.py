"""Widgets -> a stack of layers, an output of it, and the weights of its gradient.

The stack is one text, bound to the URL; what is edited in its fields goes into that text, and comes from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import streamlit as st

from conv3d_core import ConvSpec
from conv3d_core.axis import AXES
from conv3d_core.kernels import KERNELS, RANDOM
from conv3d_core.spec import QUERY_KEYS, Triple
from conv3d_core.stack import DEFAULTS, MAX_LAYERS, PRESETS, Cells, join_stack, parse_stack, split_stack, stack_text
from pages._ui import controls, frame, session

DEFAULT_STACK = "k3s2p1,k3p1"
NEW_LAYER: Cells = {**DEFAULTS, "kernel_size": "3", "padding": "1"}
WHOLE_STACK, FIRST_LAYER = "whole stack", "first layer"
RANDOM_WEIGHTS, SMOOTH_WEIGHTS = "random", "Gaussian"
MOST_DRAWS = 32
_COLUMNS = [0.35, 1, 1, 1, 1, 0.6]


class Weighting(NamedTuple):
    """The weights of a gradient: "random" or a named kernel, and the seeds of the draws; one where there is none."""

    source: str
    seeds: tuple[int, ...]


def ask_stack(slots: frame.Slots, first: ConvSpec) -> Callable[[], list[ConvSpec]]:
    """The fields of a stack that begins with this layer.

    Returns:
        What gives its layers, or raises SpecError about what was typed.
    """
    _offer_presets()
    rows = st.container(key="layers", gap="xsmall")
    text = str(
        st.text_input(
            "Further layers as text",
            DEFAULT_STACK,
            key="stack",
            bind="query-params",
            max_chars=400,
            help="As in the link: k kernel_size, s stride, p padding, d dilation; k1x3x3 for each axis. "
            "Channels follow from the first layer.",
        )
        or ""
    )
    slots.add("stack")

    def layers() -> list[ConvSpec]:
        cells = split_stack(text)
        with rows:
            _ask_rows(slots, first, cells)
        return parse_stack(text, first)

    return layers


def ask_unit(output_size: Triple, layer: int) -> Triple:
    """One output of the last layer."""
    return controls.ask_voxel(st.columns(3), output_size, "r", f" of layer {layer}")


def ask_reach(layers: int) -> bool:
    """Whether the coverage map is of the whole stack; of one layer it is anyway."""
    if layers == 1:
        return False
    choice = st.segmented_control(
        "Coverage of",
        (WHOLE_STACK, FIRST_LAYER),
        default=WHOLE_STACK,
        required=True,
        key="cover",
        bind="query-params",
    )
    return str(choice) == WHOLE_STACK


def ask_weighting() -> Weighting:
    """Under which weights the gradient is taken."""
    left, middle, right = st.columns([1.2, 1, 1], vertical_alignment="bottom")
    choice = left.segmented_control(
        "Weights of all layers",
        (RANDOM_WEIGHTS, SMOOTH_WEIGHTS),
        default=RANDOM_WEIGHTS,
        required=True,
        key="grad",
        bind="query-params",
        help="Random is what nn.Conv3d starts with, before any training. Gaussian gives every layer smooth positive "
        f"weights, that of a filter which {KERNELS['gaussian'].purpose}.",
    )
    if str(choice) == SMOOTH_WEIGHTS:
        return Weighting("gaussian", (0,))
    draws = int(
        middle.number_input(
            "Draws averaged", 1, MOST_DRAWS, 8, key="draws", bind="query-params", help="1 shows a single seed."
        )
    )
    first = right.number_input("First seed", 0, 2**31 - 1, 0, key="gradseed", bind="query-params")
    return Weighting(RANDOM, tuple(range(int(first), int(first) + draws)))


def ask_patience(words: str) -> bool:
    """Whether to compute what takes long."""
    return st.toggle(f"Compute it all the same: {words}", key="patience")


def _offer_presets() -> None:
    with st.container(horizontal=True, gap="xsmall"):
        for number, (title, preset) in enumerate(PRESETS.items()):
            layer, *others = parse_stack(preset.text, ConvSpec(1, 1, 1))[1:]
            st.button(
                title,
                key=f"preset_{number}",
                help=f"{preset.text}: {preset.purpose}.",
                on_click=session.setter(**_layer_state(layer), stack=stack_text(others)),
            )


def _ask_rows(slots: frame.Slots, first: ConvSpec, cells: list[Cells]) -> None:
    """A row a layer; the first is the sidebar's."""
    (own,) = split_stack(stack_text([first]))
    columns = _row(1)
    for column, name in zip(columns[1:5], DEFAULTS, strict=True):
        column.text_input(name, own[name], disabled=True, key=f"layer_1_{name} {own[name]}")
    for number, row in enumerate(cells, start=2):
        columns = _row(number)
        for column, name in zip(columns[1:5], DEFAULTS, strict=True):
            key = _key(number, name)
            session.show(key, row[name])
            column.text_input(
                f"Layer {number} {name}",
                key=key,
                label_visibility="collapsed",
                on_change=_editor(cells, number, name),
            )
        columns[5].button(
            "\N{MULTIPLICATION SIGN}",
            key=f"remove_{number}",
            help=f"Remove layer {number}.",
            on_click=session.setter(stack=join_stack(cells[: number - 2] + cells[number - 1 :])),
        )
        slots.add(f"layer_{number}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Add a layer",
            key="add_layer",
            disabled=len(cells) + 1 >= MAX_LAYERS,
            help=f"Up to {MAX_LAYERS} layers.",
            on_click=session.setter(stack=join_stack([*cells, NEW_LAYER])),
        )
        st.markdown(":small[Layer 1 is the sidebar's.]")


def _row(number: int) -> Any:
    columns = st.columns(_COLUMNS, gap="xsmall", vertical_alignment="bottom" if number == 1 else "center", wrap=False)
    columns[0].markdown(f"**{number}**")
    return columns


def _key(number: int, name: str) -> str:
    return f"layer_{number}_{name}"


def _editor(cells: list[Cells], number: int, name: str) -> Callable[[], None]:
    """A callback for what was typed into one field: it goes into the text."""

    def edit() -> None:
        typed = [dict(row) for row in cells]
        typed[number - 2][name] = str(session.value(_key(number, name)) or "")
        session.put("stack", join_stack(typed))

    return edit


def _layer_state(spec: ConvSpec) -> dict[str, Any]:
    """The sidebar's widgets for a layer."""
    state: dict[str, Any] = {}
    for name, key in QUERY_KEYS.items():
        triple: Triple = getattr(spec, name)
        if len(set(triple)) == 1:
            state |= {f"{key}3": False, key: triple[0]}
        else:
            state |= {f"{key}3": True}
            state |= {f"{key}{letter.lower()}": number for letter, number in zip(AXES, triple, strict=True)}
    return state
