"""Widgets -> what the user asked for, as typed: nothing here judges a value, the core does.

Every widget is bound to the URL under its key; `conv3d_core.spec.ConvSpec.to_query` names the layer's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from conv3d_core import ConvSpec, SpecError
from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.chain.examples import EXAMPLES
from conv3d_core.engine import DTYPES
from conv3d_core.kernels import EACH, FILE, KERNELS, RANDOM
from conv3d_core.scenarios import SCENARIOS
from conv3d_core.spec import QUERY_KEYS, Triple
from conv3d_core.volumes import Volume
from pages._ui import cached, frame, session, viewer, views, volume_controls, weight_controls
from pages._ui.layer_state import of_scenario, per_axis

DEFAULT_LAYER = ConvSpec(1, 8, 3, stride=2, padding=1)
OWN, SHARED = "per map", "shared"
MANY_CHANNELS = 64
WEIGHTS = {
    "One of each": EACH,
    "Random": RANDOM,
    "From a file": FILE,
    **{kernel.title: key for key, kernel in KERNELS.items()},
}


class WeightSource(NamedTuple):
    """Where the weights come from.

    Attributes:
        source: "random", "each", "file" or a named kernel.
        seed: of the random ones.
        file: what was chosen of a file; None for other sources.
        awaited: whether these stand in for a file that is not there yet.
    """

    source: str
    seed: int
    file: cached.FromFile | None = None
    awaited: bool = False


class Asked(NamedTuple):
    """What the sidebar asks for: a volume as the layer gets it, a constructor's arguments as typed, their weights.

    Attributes:
        volume: prepared; None where it could not be.
        box: what was cut out of it; None for all.
        arguments: of ``nn.Conv3d``, possible or not.
        weights: where they come from.
        dtype: what the layer computes in.
    """

    volume: Volume | None
    box: cached.Box | None
    arguments: dict[str, Any]
    weights: WeightSource
    dtype: str


class Selection(NamedTuple):
    """The one selection: the pinned output voxel, its channel, the input channel beside it, and the axis of the cut."""

    voxel: Triple
    channel: int
    input_channel: int
    axis: str


def ask(slots: frame.Slots, notices: DeltaGenerator) -> Asked:
    """The sidebar, the same on every page: its widgets are bound to the address, so pages share what is set."""
    volume = box = None
    with st.sidebar:
        with frame.errors(slots, notices):
            source = volume_controls.ask_volume(slots, notices)
            preparation = volume_controls.ask_preparation(slots, source)
            volume, box = cached.prepared(source, preparation), preparation.box
            views.volume_facts(volume, cached.range_of(volume))
        arguments = ask_layer(slots, volume.channels if volume else None)
        return Asked(volume, box, arguments, ask_weights(slots, notices), ask_dtype(slots))


def ask_layer(slots: frame.Slots, channels: int | None) -> dict[str, Any]:
    """The constructor's arguments as typed, possible or not; in_channels follows the volume until another is typed."""
    title, scenarios = st.columns(2, vertical_alignment="center")
    title.subheader("Layer")
    with scenarios:
        _offer_scenarios()
    if channels is not None:
        session.settle("in", channels)
    left, right = st.columns(2)
    arguments: dict[str, Any] = {
        "in_channels": _number(left, "in_channels", channels or 1, "in"),
        "out_channels": _number(right, "out_channels", DEFAULT_LAYER.out_channels, "out"),
    }
    slots.add("in_channels", "out_channels")
    for name in QUERY_KEYS:
        arguments[name] = _ask_per_axis(name)
        slots.add(name)
        if name == "padding":
            helpers = st.container(horizontal=True, gap="xsmall")
    arguments["bias"] = st.toggle("bias", value=True, key="bias", bind="query-params")
    slots.add("bias")
    with helpers:
        _offer_paddings(arguments)
    return arguments


def ask_weights(slots: frame.Slots, notices: DeltaGenerator) -> WeightSource:
    """Where the weights come from."""
    st.subheader("Weights")
    title = st.selectbox(
        "Weights",
        list(WEIGHTS),
        key="weights",
        bind="query-params",
        label_visibility="collapsed",
        help="Random is what nn.Conv3d starts with. One of each gives every output channel its own named kernel. "
        "A file brings those of a trained network.",
    )
    source = WEIGHTS[title]
    seed, file = 0, None
    if source == FILE:
        with frame.errors(slots, notices):
            file = weight_controls.ask_file(slots, notices)
        if file is None:
            return WeightSource(RANDOM, seed, awaited=True)
    else:
        session.name_weights(None)
    if source == RANDOM:
        seed = _number(st.container(), "seed", 0, "seed")
    elif source == EACH:
        names = ", ".join(kernel.title for kernel in KERNELS.values())
        st.markdown(f":small[Channel by channel: {names}; without those that need a larger kernel_size.]")
    elif source in KERNELS:
        st.markdown(f":small[{KERNELS[source].title} {KERNELS[source].purpose}.]")
    slots.add("kernel", "seed", "weight")
    return WeightSource(source, seed, file)


def ask_dtype(slots: frame.Slots) -> str:
    """What the layer computes in."""
    dtype = st.segmented_control(
        "Computes in",
        DTYPES,
        default=DTYPES[0],
        required=True,
        key="dtype",
        bind="query-params",
        help="nn.Conv3d starts in float32. In half precision the page says how far the planes are from float32.",
    )
    slots.add("dtype")
    return str(dtype)


def ask_selection(output_shape: tuple[int, ...], input_channels: int) -> Selection:
    """The pinned output voxel, as three sliders; the middle of the output until one is moved."""
    channels = output_shape[4]
    columns = st.columns([1, 1, 1, 1.2] + [0.8] * (1 + (input_channels > 1)), vertical_alignment="bottom")
    d, h, w = output_shape[1:4]
    voxel = ask_voxel(columns[:3], (d, h, w), "o")
    axis = columns[3].segmented_control(
        "Planes along", AXES, default="D", required=True, key="axis", bind="query-params", width="stretch"
    )
    channel = _ask_index(columns[4], "Output channel", channels, "oc")
    input_channel = _ask_index(columns[5], "Input channel", input_channels, "ic") if input_channels > 1 else 0
    return Selection(voxel, channel, input_channel, str(axis))


def ask_voxel(places: Sequence[DeltaGenerator], output_size: Triple, prefix: str, of: str = "") -> Triple:
    """One output voxel, as three sliders; the middle one until one is moved.

    Args:
        places: of the sliders along D, H, W.
        output_size: outputs along D, H, W.
        prefix: of their keys; the axis' letter follows.
        of: what they are outputs of, for their labels.
    """
    voxel = []
    for place, letter, size in zip(places, AXES, output_size, strict=True):
        key, middle = f"{prefix}{letter.lower()}", (size - 1) // 2
        session.settle(key, middle, 0, size - 1)
        label = f"Output {letter} ({AXIS_NAMES[letter]}){of}"
        if size == 1:
            # A slider needs two ends; one output is no choice.
            place.number_input(label, value=0, disabled=True, key=f"only_{key}")
            voxel.append(0)
        else:
            voxel.append(place.slider(label, 0, size - 1, middle, key=key, bind="query-params"))
    d, h, w = voxel
    return d, h, w


def pin_from_viewer(output_shape: tuple[int, ...]) -> Callable[[], None]:
    """What moves the sliders to the voxel that was pinned in the viewer."""

    def pin() -> None:
        voxel = session.triggered(viewer.KEY, "pin")
        # An axis of one output has no slider.
        moved = [
            (f"o{letter.lower()}", index)
            for letter, index, size in zip(AXES, voxel, output_shape[1:4], strict=True)
            if size > 1
        ]
        session.setter(**dict(moved))()

    return pin


def ask_range(place: DeltaGenerator) -> str:
    """Whether each map has its own colour range, or all share one."""
    choice = place.segmented_control(
        "Colour range", (OWN, SHARED), default=OWN, required=True, key="range", bind="query-params"
    )
    return str(choice)


def offer_channel_fixes(spec: ConvSpec, volume: Volume, most: int | None) -> None:
    """Buttons for what would work where the volume's channels and in_channels differ.

    Args:
        spec: the layer.
        volume: as the layer gets it.
        most: how many in_channels there are weights for; None for any number.
    """
    if volume.channels == spec.in_channels:
        return
    with st.container(horizontal=True):
        if most is None or volume.channels <= most:
            st.button(
                f"Set in_channels = {volume.channels}",
                type="primary",
                on_click=session.setter(**{"in": volume.channels}),
            )
        if spec.in_channels == 1:
            st.button("Keep only channel 0 of the volume", on_click=session.setter(c="0"))


def offer_crop(crop: Triple, volume: Volume, box: cached.Box | None) -> None:
    """A button that crops the volume to its middle, of these sizes (D, H, W).

    Args:
        crop: how much is left.
        volume: as the layer gets it now.
        box: what was cut out of it already.
    """
    spans = []
    for size, keep, before in zip(volume.shape, crop, box or ((0, 0),) * 3, strict=False):
        first = before[0] + (size - keep) // 2
        spans.append((first, first + keep - 1))
    # An axis of one voxel has no slider.
    sliders = {
        f"c{letter.lower()}": span for letter, size, span in zip(AXES, volume.shape, spans, strict=False) if size > 1
    }
    sizes = " \N{MULTIPLICATION SIGN} ".join(map(str, crop))
    st.button(
        f"Crop to the middle {sizes}",
        type="primary",
        key="offer_crop",
        on_click=session.setter(crop=True, **sliders),
    )


def _number(
    place: DeltaGenerator,
    label: str,
    default: int,
    key: str,
    label_visibility: Literal["visible", "hidden", "collapsed"] = "visible",
) -> int:
    """Any integer, possible or not: the core says what is wrong with it."""
    number = place.number_input(
        label, value=default, step=1, key=key, bind="query-params", label_visibility=label_visibility
    )
    return default if number is None else int(number)


def _ask_index(place: DeltaGenerator, label: str, count: int, key: str) -> int:
    session.settle(key, 0, 0, count - 1)
    if count <= MANY_CHANNELS:
        return int(place.selectbox(label, range(count), key=key, bind="query-params"))
    return int(place.number_input(label, 0, count - 1, 0, key=key, bind="query-params"))


def _ask_per_axis(name: str) -> int | tuple[int, ...]:
    key = QUERY_KEYS[name]
    default = getattr(DEFAULT_LAYER, name)[0]
    label, lock = st.columns([1.1, 1], vertical_alignment="center", wrap=False)
    label.markdown(name)
    unlocked = lock.toggle(
        "per axis",
        key=f"{key}3",
        bind="query-params",
        help=f"Set {name} for each axis.",
        on_change=session.spreader(key, f"{key}3", [f"{key}{letter.lower()}" for letter in AXES]),
    )
    if not unlocked:
        return _number(st.container(), name, default, key, label_visibility="collapsed")
    numbers = []
    for column, letter in zip(st.columns(3, gap="xsmall"), AXES, strict=True):
        # No steps in so narrow a field; the letter is its label, the parameter's name stands above.
        numbers.append(_number(column, letter, default, f"{key}{letter.lower()}"))
    return tuple(numbers)


def _offer_scenarios() -> None:
    """Settings that people have a name for, a click each."""
    with st.popover("Scenarios", key="scenarios", width="stretch"):
        for name, scenario in SCENARIOS.items():
            st.button(
                name,
                key=f"scenario_{name}",
                help=scenario.purpose,
                width="stretch",
                on_click=session.setter(**of_scenario(scenario)),
            )
        trap = EXAMPLES["Channels first"]
        if st.button("Channels-first trap", key="scenario_trap", help=trap.purpose, width="stretch"):
            st.switch_page("pages/shape_doctor.py", query_params={"code": trap.text})


def _offer_paddings(arguments: dict[str, Any]) -> None:
    """Buttons that set the padding by its name in the field; one that cannot be had says why."""
    for name, tip in (
        ("valid", "No padding: every window lies inside the volume."),
        ("same", "As many outputs as inputs, at stride 1."),
        ("full", "Every window that spans a voxel: the largest padding that makes sense."),
    ):
        padding, problem = _padding(name, arguments)
        st.button(
            name,
            key=f"padding_{name}",
            help=problem or tip,
            disabled=padding is None,
            on_click=session.setter(**per_axis("padding", padding)) if padding else None,
        )


def _padding(name: str, arguments: dict[str, Any]) -> tuple[Triple | None, str]:
    try:
        spec = ConvSpec.from_dict({**arguments, "padding": 0})
        padding = {"valid": lambda: (0, 0, 0), "same": spec.same_padding, "full": spec.full_padding}[name]()
    except SpecError as error:
        return None, str(error)
    return padding, ""
