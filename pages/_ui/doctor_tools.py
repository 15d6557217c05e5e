"""What can be done with a chain beside mending it: solved for a wish, written for both frameworks, with its weights."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from conv3d_core import SpecError
from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.chain import LAYOUTS, Case, Chain, Framework
from conv3d_core.chain.layer import NAMES, Sizes
from conv3d_core.chain.sizes import write_sizes
from conv3d_core.chain.trace import Report
from conv3d_core.chain.writing import to_mlx, to_torch
from conv3d_core.differences import DIFFERENCES
from conv3d_core.errors import shown
from conv3d_core.solve import (
    Solution,
    even_sizes_in_case,
    field_in_case,
    half,
    memory_in_case,
    same,
    settings_for_output,
    settings_in_case,
)
from conv3d_core.solve.even import EvenSizes
from conv3d_core.spec import ConvSpec, Shape
from conv3d_core.volumes.limits import MIB
from conv3d_core.weights import Checkpoint, conv3d_layers, convert, write_npz, write_safetensors
from pages._ui import cached, doctor_controls, frame, weight_controls

SAME, HALF, OUTPUT, FIELD, MEMORY, EVEN = "same", "half", "output size", "receptive field", "memory", "even sizes"
# What is asked for, by what is typed for it.
WISHES = {OUTPUT: ("Wanted output, per axis or one for all", "16"), FIELD: ("Wanted receptive field", "32"),
          MEMORY: ("At most, in MiB", "64")}  # fmt: skip
HELP = {
    SAME: "As many outputs as inputs.",
    HALF: "Half as many outputs as inputs.",
    OUTPUT: "Settings of the layer that give this output.",
    FIELD: "Settings of the layer with which the chain spans so many voxels of the input.",
    MEMORY: "An input, or settings of the layer, with which no layer holds more.",
    EVEN: "Input sizes for which every layer divides evenly.",
}
FIND_OUT = "find out"


def show(report: Report, index: int | None) -> None:
    """One tab a tool; only the open one is worked out.

    Args:
        report: the chain, traced.
        index: of the convolution that is chosen; None where there is none.
    """
    tabs = st.tabs(
        ["Solve for", "Code for both", "Weights", "MLX beside PyTorch"],
        key="tool",
        on_change="rerun",
        bind="query-params",
    )
    tools: Sequence[Callable[[], None]] = (
        partial(_solve, report, index),
        partial(_port, report.case),
        partial(_weights, report.case.chain),
        _differences,
    )
    for tab, tool in zip(tabs, tools, strict=True):
        if tab.open:
            with tab, frame.errors(frame.Slots(), st.container()):
                tool()


def _solve(report: Report, index: int | None) -> None:
    if index is None:
        st.markdown("There is no Conv3d here.")
        return
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    question = str(left.segmented_control("Solve for", list(HELP), default=SAME, required=True, key="solve"))
    wish: Any = None
    if question in WISHES:
        label, default = WISHES[question]
        typed = right.text_input(label, default, key=f"wish_{question}", max_chars=60) or ""
        wish = _bytes(typed) if question == MEMORY else _three(typed)
    st.markdown(f":small[{HELP[question]}]")
    with frame.answers(st.container()):
        if question == EVEN:
            _offer_inputs(report.case, even_sizes_in_case(report.case))
            return
        for number, found in enumerate(_solutions(report, index, question, wish)):
            _offer(number, found)


def _solutions(report: Report, index: int, question: str, wish: Any) -> tuple[Solution, ...]:
    case = report.case
    if question == FIELD:
        return field_in_case(case, index, wish)
    if question == MEMORY:
        return memory_in_case(case, index, wish)
    given = report.given_to(index)
    if given is None:
        raise SpecError("layer", f"the input does not come as far as layer {index + 1}", "mend the one before")
    solve: dict[str, Callable[[ConvSpec, Shape], tuple[Solution, ...]]] = {
        SAME: same,
        HALF: half,
        OUTPUT: lambda spec, shape: settings_for_output(spec, shape, wish),
    }
    return settings_in_case(case, index, given, solve[question])


def _offer(number: int, found: Solution) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            frame.plain(found.words),
            key=f"solution_{number}",
            disabled=found.case is None or not (found.changes or found.words.startswith("input")),
            on_click=doctor_controls.changer(found.case) if found.case else None,
        )
        note = f" · {frame.plain(found.note)}" if found.note else ""
        st.markdown(f":small[gives {found.output_shape}{note}]", width="stretch")


def _offer_inputs(case: Case, axes: tuple[EvenSizes, EvenSizes, EvenSizes]) -> None:
    for letter, along in zip(AXES, axes, strict=True):
        sizes = ", ".join(f"{size:,}" for size in along.sizes)
        st.markdown(f"**{AXIS_NAMES[letter]}**: {along.rule} :small[(near by: {sizes})]")
    letters = LAYOUTS[case.chain.framework][-len(case.input_shape) :]
    by_place = {letters.index(letter): even for letter, even in zip(AXES, axes, strict=True)}

    def nearest(place: int, size: int) -> int:
        return min(by_place[place].sizes, key=lambda even: abs(even - size)) if place in by_place else size

    def next_larger(place: int, size: int) -> int:
        return (
            min((even for even in by_place[place].sizes if even >= size), default=size) if place in by_place else size
        )

    choices: list[Sizes] = []
    for choose in (nearest, next_larger):
        shape = tuple(choose(place, size) for place, size in enumerate(case.input_shape))
        if shape not in (*choices, case.input_shape):
            choices.append(shape)
    with st.container(horizontal=True, gap="xsmall"):
        for number, choice in enumerate(choices):
            st.button(
                f"Use an input of {choice}",
                key=f"even_{number}",
                on_click=doctor_controls.changer(replace(case, input_shape=choice)),
            )
    if not choices:
        st.markdown(f":small[The input, {write_sizes(case.input_shape)}, is one of them.]")


def _port(case: Case) -> None:
    left, right = st.columns(2)
    for place, name, write in ((left, "MLX", to_mlx), (right, "PyTorch", to_torch)):
        with place, frame.errors(frame.Slots(), place):
            st.markdown(f"**{name}**")
            code = write(case)
            st.code(code, language="python")
            file_name = f"model_{name.lower()}.py"
            st.download_button(file_name, code, file_name=file_name, on_click="ignore", key=f"program_{name}")


def _weights(chain: Chain) -> None:
    file = st.file_uploader(
        "A checkpoint of this network, .safetensors or .npz",
        key="chain_weights",
        help="Its weights are turned into the layout of the other framework, for the programs under “Code for both”.",
    )
    if file is None:
        st.markdown(
            ":small[PyTorch keeps a Conv3d's weight as (O, I, KD, KH, KW), MLX as (O, KD, KH, KW, I). "
            "A file of either is read here, told by its shapes, and written for the other.]"
        )
        return
    checkpoint = cached.checkpoint(file.file_id, file.name, file)
    _readings(checkpoint)
    columns = st.columns(3)
    owners: dict[str, Framework | None] = {FIND_OUT: None, "PyTorch": "torch", "MLX": "mlx"}
    given = columns[0].segmented_control("It is", list(owners), default=FIND_OUT, required=True, key="weights_are")
    targets: dict[str, Framework] = {"MLX": "mlx", "PyTorch": "torch"}
    to = columns[1].segmented_control("Write for", list(targets), default="MLX", required=True, key="weights_for")
    ending = columns[2].segmented_control(
        "As", [".safetensors", ".npz"], default=".safetensors", required=True, key="weights_as"
    )
    converted = convert(checkpoint, chain, targets[str(to)], owners[str(given)])
    write = write_safetensors if ending == ".safetensors" else write_npz
    st.download_button(
        f"weights{ending} for {to}",
        data=partial(write, converted),
        file_name=f"weights{ending}",
        on_click="ignore",
        type="primary",
        key="converted",
    )
    words = f"{len(converted.arrays):,} arrays, named as in the printed {to} program."
    if converted.left_out:
        words += f" Not in this network and left out: {', '.join(map(shown, converted.left_out[:8]))}"
        words += f" and {len(converted.left_out) - 8:,} more." if len(converted.left_out) > 8 else "."
    st.markdown(f":small[{frame.plain(words)}]")


def _readings(checkpoint: Checkpoint) -> None:
    """How each Conv3d of a file can be read."""
    layers = conv3d_layers(checkpoint)
    rows = []
    for layer in layers:
        chosen = next(reading for reading in layer.readings if reading.layout == layer.layout)
        cells = [
            layer.name,
            str(tuple(layer.stored.shape)),
            *(
                f"{reading.shape[4]} to {reading.shape[0]}, kernel {' × '.join(map(str, reading.kernel_size))}"
                for reading in layer.readings
            ),
            ("either: both sizes agree; " if layer.ambiguous else "")
            + f"{NAMES[layer.layout]}: {'; '.join(chosen.why)}",
        ]
        rows.append(cells)
    st.html(_html_table(["Conv3d", "as stored", "read as MLX's", "read as PyTorch's", "likelier"], rows))
    doubtful = next((layer for layer in layers if layer.ambiguous), None)
    if doubtful:
        weight_controls.show_readings(doubtful)


def _differences() -> None:
    rows = [[one.topic, one.mlx, one.torch, one.remedy] for one in DIFFERENCES]
    st.html(_html_table(["", "MLX", "PyTorch", "from one to the other"], rows))


def _html_table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="facts"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _three(typed: str) -> tuple[int, int, int]:
    numbers = [int(part) for part in re.findall(r"[0-9]{1,9}", typed)]
    if len(numbers) not in (1, len(AXES)) or re.search(r"[^0-9\s,x×()\[\]]", typed):
        raise SpecError("wish", f"{shown(typed)} is not one size or three", "write 16, or 8, 16, 16", value=typed)
    d, h, w = numbers * len(AXES) if len(numbers) == 1 else numbers
    return d, h, w


def _bytes(typed: str) -> int:
    found = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(MiB|GiB|)\s*", typed)
    if not found:
        raise SpecError("wish", f"{shown(typed)} is no size in MiB", "write 64, or 1.5 GiB", value=typed)
    return max(1, round(float(found[1]) * MIB * (1024 if found[2] == "GiB" else 1)))
