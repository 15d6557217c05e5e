"""Widgets -> layers in a row as text, and the shape of what goes into them; and changes back into both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import streamlit as st

from conv3d_core.chain import LAYOUTS, Case, Chain, Framework, Layer, Layout
from conv3d_core.chain.editing import with_arguments, with_layers
from conv3d_core.chain.examples import EXAMPLES
from conv3d_core.chain.layer import Sizes
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.sizes import read_argument, read_sizes, write_sizes
from conv3d_core.chain.trace import Report
from conv3d_core.errors import ShapeError
from conv3d_core.scenarios import SCENARIOS
from conv3d_core.shapes import FLOAT32_BYTES
from conv3d_core.solve.cases import to_ndhwc
from conv3d_core.source_code import write_call
from conv3d_core.spec import QUERY_KEYS
from conv3d_core.volumes.made import MADE_TO_SIZE, MAX_MADE_BYTES
from pages._ui import chain_table, frame, session

FRAMEWORKS: dict[str, Framework | None] = {"find out": None, "MLX": "mlx", "PyTorch": "torch"}
AS_READ = "as read"
AXES_ARE: dict[str, Layout | None] = {AS_READ: None, "NDHWC": "NDHWC", "NCDHW": "NCDHW"}
FIRST = next(iter(EXAMPLES.values())).text
# What can be added by hand, by the arguments that are written at first beside its channels.
NEW_LAYERS: dict[str, dict[str, object]] = {
    "Conv3d": {"kernel_size": 3, "padding": 1},
    "ReLU": {},
    "BatchNorm": {},
    "MaxPool3d": {"kernel_size": 2},
    "AvgPool3d": {"kernel_size": 2},
    "ConvTranspose3d": {"kernel_size": 2, "stride": 2},
    "Upsample": {"scale_factor": 2},
    "InstanceNorm": {},
    "Dropout": {},
}
# Voxels along D, H, W of an input that nobody has stated.
USUAL_EDGE = 32


def ask(slots: frame.Slots) -> Case:
    """The layers and their input.

    Raises:
        SpecError: the layers cannot be read.
        ShapeError: the input's shape cannot be read.
    """
    _offer_examples()
    text = st.text_area(
        "Layers",
        FIRST,
        height=330,
        key="code",
        bind="query-params",
        help="MLX or PyTorch: one layer, a Sequential, a class with its layers and its __call__ or forward, or what "
        "print(model) shows. The text is read and never run.",
    )
    slots.add("text")
    # It is sent with the click, which takes the focus from the text.
    st.button("Diagnose", key="diagnose", type="primary", help="Ctrl and Enter in the text do the same.")
    place = st.container()
    left, right = st.columns(2)
    framework = right.segmented_control(
        "Written for",
        list(FRAMEWORKS),
        default=next(iter(FRAMEWORKS)),
        required=True,
        key="for",
        bind="query-params",
        help="Where the text itself does not tell.",
    )
    layout = left.segmented_control(
        "The input's axes are",
        list(AXES_ARE),
        default=AS_READ,
        required=True,
        key="as",
        bind="query-params",
        help="What you know them to be. The first layer reads them in its own order all the same.",
    )
    chosen = FRAMEWORKS[str(framework)]
    chain = read_chain(text, chosen) if text and text.strip() else Chain((), chosen or "mlx")
    with place:
        shape = _ask_shape(chain)
        slots.add("input")
    return Case(chain, read_sizes(shape), AXES_ARE[str(layout)])


def input_of(chain: Chain) -> Sizes:
    """The input that the text states; else one that the first layer takes."""
    if chain.input_shape:
        return chain.input_shape
    channels = next(
        (layer.arguments[name] for layer in chain.layers for name in _CHANNELS_IN if name in layer.arguments), 1
    )
    channels = channels if isinstance(channels, int) and channels > 0 else 1
    return tuple({"N": 1, "C": channels}.get(letter, USUAL_EDGE) for letter in LAYOUTS[chain.framework])


def chosen_layer(chain: Chain) -> int | None:
    """The convolution that the tools are about; None where there is none. Call before `ask_layer`."""
    convolutions = _convolutions(chain)
    if not convolutions:
        return None
    session.choose("at", convolutions, convolutions[0])
    return int(session.value_or("at", convolutions[0]))


def ask_layer(chain: Chain) -> None:
    """Which convolution the tools are about."""
    st.selectbox(
        "Convolution, by its row",
        _convolutions(chain),
        key="at",
        bind="query-params",
        format_func=lambda index: f"{index + 1}",
        width=220,
    )


def explorer_query(report: Report, index: int) -> dict[str, str]:
    """The explorer's link for a convolution of the chain, on a volume of the size that it gets there.

    Raises:
        SpecError: it is none that ``nn.Conv3d`` can be.
    """
    spec = report.case.chain.layers[index].spec()
    d, h, w, c = USUAL_EDGE, USUAL_EDGE, USUAL_EDGE, spec.in_channels
    given = report.given_to(index)
    if given:
        with suppress(ShapeError):
            _, d, h, w, c = to_ndhwc(given, report.case.chain.framework)
    # A smaller one where that is too large: what the layer does to it is the same.
    while d * h * w * c * FLOAT32_BYTES > MAX_MADE_BYTES and max(d, h, w) > 1:
        d, h, w = (-(-size // 2) for size in (d, h, w))
    return spec.to_query() | {"volume": MADE_TO_SIZE, "made": write_sizes((d, h, w, c))}


def doctor_query(arguments: Mapping[str, Any], input_shape: Sizes) -> dict[str, str]:
    """This page's link for a layer of the explorer, possible or not."""
    code = f"conv = {write_call('nn.Conv3d', arguments)}\ny = conv(mx.zeros({tuple(input_shape)}))\n"
    return {"code": code, "shape": write_sizes(input_shape)}


def title(layer: Layer) -> str:
    """A layer's class, and its name where it has one."""
    return f"{layer.kind} {layer.name}".strip()


def changer(case: Case) -> Callable[[], None]:
    """A callback that puts a case in the place of what is asked."""
    layout = next(name for name, layout in AXES_ARE.items() if layout == case.layout)
    return session.changer(code=case.chain.text, shape=write_sizes(case.input_shape), **{"as": layout})


def offer_undo() -> None:
    """A button that takes the last change back."""
    st.button(
        "Undo",
        key="undo",
        help="Take the last change back.",
        disabled=not session.has_changed(),
        on_click=session.take_back,
    )


def offer_layers(case: Case) -> None:
    """What can be added behind the last layer."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        kind = st.selectbox("Add a layer", list(NEW_LAYERS), key="new_layer", width=220)
        st.button("Add", key="add_layer", on_click=_adder(case, str(kind)))
    if case.chain.layers:
        words = "Adding, moving and removing layers writes the text anew as nn.Sequential; Undo brings it back."
        st.markdown(f":small[{words}]")


def edits(report: Report) -> chain_table.Actions:
    """What is done when something was done in the table."""
    case, chain = report.case, report.case.chain

    def taker(name: str, change: Callable[[Any], Chain]) -> Callable[[], None]:
        def take() -> None:
            event = session.triggered(chain_table.KEY, name)
            with session.refusals():
                changer(Case(change(event), case.input_shape, case.layout))()

        return take

    def edit(event: Any) -> Chain:
        return with_arguments(chain, event["row"], **{event["argument"]: read_argument(event["text"])})

    def move(event: Any) -> Chain:
        layers = list(chain.layers)
        layers.insert(event["to"], layers.pop(event["row"]))
        return with_layers(chain, layers)

    def remove(event: Any) -> Chain:
        left = [*chain.layers[: event["row"]], *chain.layers[event["row"] + 1 :]]
        return with_layers(chain, left) if left else Chain((), chain.framework)

    return chain_table.Actions(taker("edit", edit), taker("move", move), taker("remove", remove))


def _ask_shape(chain: Chain) -> str:
    """As typed; until something is, as the text states it."""
    default = write_sizes(input_of(chain))
    session.settle("shape", default)
    order = ", ".join(LAYOUTS[chain.framework])
    shape = st.text_input(
        f"Shape of the input ({order})",
        default,
        key="shape",
        bind="query-params",
        max_chars=100,
        help="Of the array as it is handed to the first layer: MLX reads (N, D, H, W, C), PyTorch (N, C, D, H, W).",
    )
    if chain.input_shape and shape != default:
        st.markdown(f":small[The text itself makes an input of {chain.input_shape}.]")
    elif not chain.input_shape and shape == default and chain.layers:
        st.markdown(f":small[:orange[Assumed, since the text does not tell: {USUAL_EDGE} voxels along each axis.]]")
    return str(shape or "")


def _convolutions(chain: Chain) -> list[int]:
    return [index for index, layer in enumerate(chain.layers) if layer.kind == "Conv3d"]


def _offer_examples() -> None:
    with st.container(horizontal=True, gap="xsmall", key="examples"):
        for name, example in EXAMPLES.items():
            st.button(name, key=f"example_{name}", help=example.purpose, on_click=_putter(example.text))
        with st.popover("Scenarios", key="scenarios"):
            for name, scenario in SCENARIOS.items():
                settings = {argument: getattr(scenario, argument) for argument in QUERY_KEYS}
                text = write_call("nn.Conv3d", {"in_channels": 1, "out_channels": 8, **settings})
                st.button(name, key=f"scenario_{name}", help=scenario.purpose, width="stretch", on_click=_putter(text))


def _putter(text: str) -> Callable[[], None]:
    """A callback that puts a text in the place of the one that is there."""

    def put() -> None:
        shape = write_sizes(input_of(read_chain(text)))
        session.changer(code=text, shape=shape, **{"as": AS_READ, "for": next(iter(FRAMEWORKS))})()

    return put


def _adder(case: Case, kind: str) -> Callable[[], None]:
    arguments = dict(NEW_LAYERS[kind])
    channels = _channels(case.chain)
    if kind in ("Conv3d", "ConvTranspose3d"):
        arguments = {"in_channels": channels, "out_channels": channels, **arguments}
    elif kind in ("BatchNorm", "InstanceNorm"):
        arguments = {"num_features" if kind == "BatchNorm" else "dims": channels}

    def add() -> None:
        with session.refusals():
            chain = with_layers(case.chain, [*case.chain.layers, Layer(kind, arguments)])
            changer(Case(chain, case.input_shape, case.layout))()

    return add


_CHANNELS_IN = ("in_channels", "num_features", "dims")


def _channels(chain: Chain) -> int:
    """What the last layer that says so gives."""
    for layer in reversed(chain.layers):
        for name in ("out_channels", "output_dims"):
            value = layer.arguments.get(name)
            if isinstance(value, int):
                return value
    return 1
