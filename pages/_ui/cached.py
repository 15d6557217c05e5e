"""Everything that is computed once: the only `st.cache_*` calls.

Arrays never are cache keys: Streamlit hashes a sample of a large array and would mix up volumes. A volume is
named by its digest, and the array travels in an argument whose underscore keeps it out of the key.
"""

from __future__ import annotations

import time
from io import BytesIO
from typing import NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from conv3d_core import ConvSpec, VolumeError
from conv3d_core.engine import Engine
from conv3d_core.figures.channels import ChannelStatistics, HistogramInfo, channel_statistics, histogram_info
from conv3d_core.figures.palette import value_range
from conv3d_core.kernels import RANDOM, kernel_weights
from conv3d_core.volumes import Volume, crop, load_sample, normalise, read_volume, remap, select_channel

Floats = NDArray[np.float32]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Preparation(NamedTuple):
    """What is done to a volume before it runs; see `conv3d_core.volumes`."""

    axes: str = "DHWC"
    channel: int | None = None
    box: Box | None = None
    normalisation: str = "none"


class Result(NamedTuple):
    """An output and what belongs to it.

    Attributes:
        key: names the result.
        output: float32 (D, H, W, C), read-only.
        statistics: one a channel.
        elapsed_ms: from asking for the output to having it, copies and waiting for others included, MLX's start not.
    """

    key: str
    output: Floats
    statistics: list[ChannelStatistics]
    elapsed_ms: float


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server."""
    return Engine(device="auto")


@st.cache_resource(max_entries=4, show_spinner=False)
def sample(key: str) -> Volume:
    """A bundled volume."""
    return load_sample(key)


@st.cache_resource(max_entries=2, show_spinner=False)
def _uploaded(file_id: str, name: str, member: str | None, _file: BytesIO) -> Volume | VolumeError:
    # Kept, not handled: a file that cannot be read must not be read again at every rerun.
    try:
        return read_volume(_file.getvalue(), name, member)
    except VolumeError as error:
        return error


def uploaded(file_id: str, name: str, member: str | None, file: BytesIO) -> Volume:
    """An uploaded file, read once.

    Raises:
        VolumeError: it cannot be read.
    """
    found = _uploaded(file_id, name, member, file)
    if isinstance(found, VolumeError):
        raise found.with_traceback(None)
    return found


@st.cache_resource(max_entries=4, show_spinner=False)
def _prepared(identity: str, preparation: Preparation, _volume: Volume) -> Volume:
    volume = remap(_volume, preparation.axes)
    if preparation.channel is not None:
        volume = select_channel(volume, preparation.channel)
    if preparation.box is not None:
        volume = crop(volume, preparation.box)
    return normalise(volume, preparation.normalisation)


def prepared(volume: Volume, preparation: Preparation) -> Volume:
    """The volume as the layer gets it.

    Raises:
        VolumeError: it cannot be prepared so.
    """
    return _prepared(volume.identity, preparation, volume)


@st.cache_resource(max_entries=64, show_spinner=False)
def _value_range(digest: str, channel: int | None, _volume: Volume) -> tuple[float, float] | None:
    return value_range(_volume.array if channel is None else _volume.array[..., channel])


def range_of(volume: Volume, channel: int | None = None) -> tuple[float, float] | None:
    """Smallest and largest finite value of a volume, or of one of its channels; None where there is none."""
    return _value_range(volume.digest, channel, volume)


@st.cache_resource(max_entries=4, show_spinner=False)
def weights(spec: ConvSpec, source: str, seed: int) -> tuple[Floats, Floats | None]:
    """Weight and bias from a seed or from named kernels.

    Raises:
        SpecError: the named kernel does not exist at this size.
        EngineError: the engine could not make the initial weights.
    """
    if source == RANDOM:
        return engine().initial_weights(spec, seed)
    return kernel_weights(source, spec)


# Two, because an output can be large and the worker's budget does not count what is kept here.
@st.cache_resource(max_entries=2, show_spinner=False)
def _result(digest: str, spec: ConvSpec, source: str, seed: int, _volume: Volume) -> Result:
    computer = engine()
    # Before anything is allocated here: named weights alone can be larger than the machine.
    computer.check(spec, (1, *_volume.shape))
    weight, bias = weights(spec, source, seed)
    _ = computer.info  # starts the worker, so that the time is the layer's own
    started = time.perf_counter()
    output = computer.run(spec, _volume.array[None], weight=weight, bias=bias if spec.bias else None)[0]
    elapsed_ms = (time.perf_counter() - started) * 1000
    output.setflags(write=False)
    key = f"{digest} {spec} {source} {seed}"
    return Result(key, output, channel_statistics(output), elapsed_ms)


def result(volume: Volume, spec: ConvSpec, source: str, seed: int) -> Result:
    """The layer's output on a prepared volume, computed by MLX.

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the volume does not fit the layer.
        EngineError: the engine could not compute it.
    """
    return _result(volume.digest, spec, source, seed if source == RANDOM else 0, volume)


@st.cache_resource(max_entries=64, show_spinner=False)
def _histogram(key: str, channel: int, _output: Floats) -> HistogramInfo:
    return histogram_info(_output, channel)


def histogram(result: Result, channel: int) -> HistogramInfo:
    """How the values of one output channel are spread."""
    return _histogram(result.key, channel, result.output)
