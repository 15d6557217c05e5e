"""Weights out of a file: handed in, one of its layers chosen, and the layer set as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from conv3d_core import ConvSpec
from conv3d_core.chain.layer import NAMES, Framework
from conv3d_core.errors import WeightsError
from conv3d_core.figures.kernel import kernel_png
from conv3d_core.trained import Trained
from conv3d_core.volumes.limits import clean, shown
from conv3d_core.volumes.members import ZIP
from conv3d_core.weights import Conv3dWeights, Reading, conv3d_layers, read_checkpoint
from pages._ui import cached, frame, session, views
from pages._ui.layer_state import per_axis

_ARROW, _TIMES = "\N{RIGHTWARDS ARROW}", "\N{MULTIPLICATION SIGN}"
LAYOUTS: tuple[Framework, ...] = ("torch", "mlx")
_UPLOADER, _LAYER, _LAYOUT = "weights_file", "weights_layer", "weights_layout"


def ask_file(slots: frame.Slots, notices: DeltaGenerator) -> cached.FromFile | None:
    """The chosen layer of the file that was handed in; None where none is there yet.

    Raises:
        WeightsError: a link was made with a file, and it is not here.
    """
    st.file_uploader(
        ".safetensors or .npz, up to 512 MiB",
        key=_UPLOADER,
        on_change=_take_file,
        help="Every weight of five axes in it is offered as a Conv3d. Read on this machine and kept in this session "
        "only. A link cannot carry it.",
    )
    slots.add("weights")
    error, stored, asked = session.weights_error(), session.weights_file(), session.weights_of_link()
    with frame.errors(slots, notices):
        if error:
            raise error.with_traceback(None)
    if stored is None:
        # The address keeps the name of a file that was taken away: the next may be on its way, or it comes back.
        if asked.file and not error:
            raise WeightsError(
                "weights",
                f"the link was made with the file '{shown(asked.file)}', which a link cannot carry",
                "hand it in again, or choose other weights",
            )
        return None
    chosen = stored.layers[stored.layer]
    _ask_layer(stored)
    _ask_layout(stored, chosen)
    slots.add("layer")
    if not chosen.digest.startswith(asked.digest):
        st.markdown(":small[:orange[These are not the numbers that the link was made with.]]")
    session.name_weights(stored)
    return cached.FromFile(_trained(stored), chosen)


def say(trained: Trained, spec: ConvSpec | None) -> None:
    """Whose weights they are, and which part of them a layer takes."""
    part = trained.words(spec) if spec else ""
    words = f"{frame.plain(trained.name)} of {frame.plain(shown(trained.file))}{part and f', {part}'}"
    st.markdown(f":small[Weights: {words}]")


def show_readings(layer: Conv3dWeights) -> None:
    """The first kernel in both layouts, of a layer whose sizes do not tell them apart: the eye may."""
    st.markdown(f":small[{frame.plain(clean(layer.name))} can be read both ways. Its first kernel:]")
    with st.container(horizontal=True, gap="medium"):
        for layout in LAYOUTS:
            kernel = layer.weight(layout)[0, ..., 0]
            with st.container(gap="xsmall", width=150):
                st.markdown(f":small[{NAMES[layout]}]")
                st.image(views.address(kernel_png(kernel)), alt=f"The first kernel, read as {NAMES[layout]}")


def offer_layer(trained: Trained) -> None:
    """A button that sets the layer as it is in the file."""
    st.button(
        f"Set the layer as {frame.plain(trained.name)} is in the file",
        key="layer_of_file",
        on_click=session.setter(**_state(trained)),
    )


def _ask_layer(stored: session.Weights) -> None:
    session.show(_LAYER, stored.layer)
    names = list(stored.layers)
    st.selectbox(
        f"Layer ({len(names)} Conv3d in the file)",
        names,
        index=names.index(stored.layer),  # what the browser begins with when it comes back from another page
        key=_LAYER,
        format_func=lambda name: f"{name}: {_sizes(stored.layers[name], stored.layout)}",
        on_change=_take_choice,
        help="in_channels, out_channels, kernel_size and bias follow it. Its stride, padding and dilation are not in "
        "the file: set them as in the network.",
    )


def _ask_layout(stored: session.Weights, chosen: Conv3dWeights) -> None:
    session.show(_LAYOUT, stored.layout)
    reasons = (f"As {NAMES[layout]}'s: {'; '.join(_reading(chosen, layout).why)}." for layout in LAYOUTS)
    layouts = list(LAYOUTS)
    st.radio(
        "Stored as",
        layouts,
        index=layouts.index(stored.layout),
        key=_LAYOUT,
        format_func=lambda layout: f"{NAMES[layout]}: {_sizes(chosen, layout)}",
        on_change=_take_choice,
        help="\n\n".join(["PyTorch has the axes (O, I, KD, KH, KW), MLX has (O, KD, KH, KW, I).", *reasons]),
    )
    if chosen.ambiguous:
        show_readings(chosen)


def _reading(layer: Conv3dWeights, layout: Framework) -> Reading:
    return next(reading for reading in layer.readings if reading.layout == layout)


def _sizes(layer: Conv3dWeights, layout: Framework) -> str:
    out_channels, *kernel_size, in_channels = _reading(layer, layout).shape
    return f"{in_channels} {_ARROW} {out_channels}, {_TIMES.join(map(str, kernel_size))}"


def _trained(stored: session.Weights) -> Trained:
    layer = stored.layers[stored.layer]
    shape = _reading(layer, stored.layout).shape
    return Trained(
        stored.name, stored.form, stored.layer, layer.key, layer.bias_key, stored.layout, shape, layer.digest
    )


def _take_file() -> None:
    """Read what was handed in; the layer is chosen that the link asks for, or else one that takes this volume."""
    file = session.value(_UPLOADER)
    if file is None:
        session.keep_weights(None)
        return
    content = file.getvalue()
    try:
        layers = _by_name(conv3d_layers(read_checkpoint(content, file.name)))
        if not layers:
            problem = f"'{shown(file.name)}' has no weight of five axes"
            raise WeightsError("weights", problem, "hand in a file of a network with a Conv3d")
    except WeightsError as error:
        session.keep_weights(error)
        return
    first, *_ = layers
    layout = layers[first].layout
    stored = session.Weights(file.name, "npz" if content.startswith(ZIP) else "safetensors", layers, first, layout)
    asked = session.weights_of_link()
    if asked.layer in layers:
        # The link's own settings go with it.
        layout = next((known for known in LAYOUTS if known == asked.layout), layout)
        _keep(stored._replace(layer=asked.layer, layout=layout))
        return
    # Most layers of a network take what another one gives.
    channels = session.settled("in")
    fits = (name for name, layer in layers.items() if _reading(layer, layout).shape[4] == channels)
    _choose(stored._replace(layer=next(fits, first)))


def _by_name(layers: tuple[Conv3dWeights, ...]) -> Mapping[str, Conv3dWeights]:
    """By what can be shown of their names: those are told apart also where nothing else tells them."""
    found: dict[str, Conv3dWeights] = {}
    for layer in layers:
        name = clean(layer.name)
        found[name if name and name not in found else f"{name} #{len(found) + 1}".strip()] = layer
    return found


def _take_choice() -> None:
    """Take what was chosen; a widget that comes back also says so, of what it shows already."""
    stored = session.weights_file()
    if stored is not None:
        chosen = stored._replace(layer=session.value(_LAYER), layout=session.value(_LAYOUT))
        if chosen != stored:
            _choose(chosen)


def _choose(stored: session.Weights) -> None:
    """Keep the choice, and set the layer as it is in the file."""
    _keep(stored)
    session.forget_weights_of_link()
    session.setter(**_state(_trained(stored)))()


def _keep(stored: session.Weights) -> None:
    session.keep_weights(stored)
    session.show(_LAYER, stored.layer, anew=True)
    session.show(_LAYOUT, stored.layout, anew=True)


def _state(trained: Trained) -> dict[str, Any]:
    """What the widgets of the layer show where it is as in the file."""
    arguments = trained.arguments
    return {
        "in": arguments["in_channels"],
        "out": arguments["out_channels"],
        **per_axis("kernel_size", arguments["kernel_size"]),
        "bias": arguments["bias"],
    }
