"""Everything that is computed once: the only `st.cache_*` calls.

Arrays never are cache keys: Streamlit hashes a sample of a large array and would mix up volumes. A volume is
named by its digest, and the array travels in an argument whose underscore keeps it out of the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from conv3d_core import ConvSpec
from conv3d_core.chain import Case
from conv3d_core.edits import Edits, edited
from conv3d_core.effective_field import strength_of
from conv3d_core.engine import Attempt, Content, Engine, Job, Planes
from conv3d_core.engine.memory import budget_bytes
from conv3d_core.figures.channels import ChannelStatistics, HistogramInfo, channel_statistics, histogram_info
from conv3d_core.figures.palette import value_range
from conv3d_core.figures.thumbnail import thumbnail_png
from conv3d_core.kernels import RANDOM, kernel_weights
from conv3d_core.spec import Shape, Triple
from conv3d_core.stack import MAX_LAYERS
from conv3d_core.trained import Trained
from conv3d_core.volumes import (
    Volume,
    crop,
    folder,
    load_sample,
    made_to_size,
    normalise,
    remap,
    replace_nonfinite,
    select_channel,
)
from conv3d_core.volumes.made import Size
from conv3d_core.weights import Checkpoint, Conv3dWeights, read_checkpoint
from pages._ui import session, viewer

Floats = NDArray[np.float32]
STAMP = 72
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Preparation(NamedTuple):
    """What is done to a volume before it runs; see `conv3d_core.volumes`."""

    axes: str = "DHWC"
    channel: int | None = None
    box: Box | None = None
    nonfinite: str = "keep"
    normalisation: str = "none"


class FromFile(NamedTuple):
    """A layer's weights out of a file.

    Attributes:
        trained: what names them.
        stored: the numbers.
    """

    trained: Trained
    stored: Conv3dWeights


class Run(NamedTuple):
    """A layer with its weights on a prepared volume: everything that an output depends on."""

    volume: Volume
    spec: ConvSpec
    source: str
    seed: int
    dtype: str = "float32"
    edits: Edits = ()
    file: FromFile | None = None

    @property
    def weights(self) -> tuple[Hashable, ...]:
        """The same for runs whose weights come from the same, before any edit."""
        stored = (self.file.trained.digest, self.file.trained.layout, self.file.trained.shape) if self.file else None
        return self.source, self.seed if self.source == RANDOM else 0, stored, self.spec.weight_shape

    @property
    def unedited(self) -> tuple[Hashable, ...]:
        """The same for runs that differ in no more than their edits."""
        return self.volume.digest, self.spec, self.weights, self.dtype

    @property
    def key(self) -> tuple[Hashable, ...]:
        """The same for runs that give the same."""
        return *self.unedited, self.edits

    @property
    def name(self) -> str:
        """The key as a short text."""
        return hashlib.blake2b(repr(self.key).encode(), digest_size=12).hexdigest()


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server."""
    return Engine(device="auto")


@st.cache_resource(show_spinner=False)
def engine_on(device: str) -> Engine:
    """An engine on another device than the one that is taken, to compare."""
    return Engine(device=device)


@st.cache_resource(show_spinner=False)
def plain_engine(device: str) -> Engine:
    """An engine on which MLX multiplies as its own build does, to compare."""
    return Engine(device=device, accelerate=False)


@st.cache_resource(max_entries=64, show_spinner=False)
def _attempt(name: str, _case: Case) -> Attempt:
    return engine().attempt(_case.chain.layers, _case.input_shape)


def attempt(case: Case) -> Attempt:
    """What MLX itself says of a chain.

    Raises:
        SpecError: a layer that MLX cannot be asked about.
        ShapeError: no shape.
        EngineError: it could not be asked.
    """
    layers = [(layer.kind, layer.arguments) for layer in case.chain.layers]
    return _attempt(repr((layers, case.input_shape)), case)


@st.cache_data(ttl=60, show_spinner=False)
def memory_budget() -> int:
    """How many bytes a layer may take on this machine, about: it moves with what else runs there."""
    return budget_bytes()


@st.cache_resource(max_entries=2, show_spinner="Reading the weights ...")
def checkpoint(file: str, name: str, _data: BytesIO) -> Checkpoint:
    """The arrays of a file that was handed in.

    Args:
        file: a name for exactly this file.
        name: what it is called.

    Raises:
        WeightsError: it cannot be read.
    """
    return read_checkpoint(_data.getvalue(), name)


@st.cache_resource(max_entries=4, show_spinner=False)
def sample(key: str) -> Volume:
    """A bundled volume."""
    return load_sample(key)


@st.cache_resource(max_entries=4, show_spinner=False)
def made(size: Size) -> Volume:
    """A volume made to that size (D, H, W, C)."""
    return made_to_size(size)


@st.cache_data(ttl=5, show_spinner=False)
def listing(root: str) -> list[str]:
    """What can be chosen in a folder of this machine."""
    return folder.listing(Path(root))


@st.cache_resource(max_entries=256, show_spinner=False)
def _stamp(identity: str, axes: str, _volume: Volume) -> bytes:
    order = ["DHWC".index(letter) for letter in axes]
    spacing = [_volume.spacing_mm[index] for index in order[:3]] if _volume.spacing_mm and order[3] == 3 else None
    return thumbnail_png(_volume.array.transpose(order), spacing, STAMP)


def stamp(volume: Volume, axes: str) -> bytes:
    """A small picture of the volume with its axes in another order."""
    return _stamp(volume.identity, axes, volume)


@st.cache_resource(max_entries=4, show_spinner=False)
def _prepared(identity: str, preparation: Preparation, _volume: Volume) -> Volume:
    volume = remap(_volume, preparation.axes)
    if preparation.channel is not None:
        volume = select_channel(volume, preparation.channel)
    if preparation.box is not None:
        volume = crop(volume, preparation.box)
    return normalise(replace_nonfinite(volume, preparation.nonfinite), preparation.normalisation)


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


@st.cache_resource(scope="session", on_release=lambda leave: leave(), show_spinner=False)
def _leaving(identity: str) -> Callable[[], None]:
    """What is done when this visitor goes: nobody waits for the volumes that were asked for."""
    return partial(engine().leave, identity)


@st.cache_resource(max_entries=64, show_spinner=False)
def gradient_strength(specs: tuple[ConvSpec, ...], input_shape: Shape, voxel: Triple, source: str, seed: int) -> Floats:
    """How an output voxel of channel 0 of a stack answers to its window, see `strength_of`.

    Args:
        specs: the layers.
        input_shape: (1, D, H, W, C) of the first.
        voxel: (d, h, w) of the last one's output.
        source: "random" or a named kernel, of every layer.
        seed: of the random ones: every layer's draw is its own.

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the input does not fit the layers.
        EngineError: the engine could not compute it.
    """
    given = [weights(spec, source, seed * MAX_LAYERS + number)[0] for number, spec in enumerate(specs)]
    return strength_of(engine().stack_gradient(specs, input_shape, voxel, 0, given).values)


def whole(run: Run) -> Job:
    """A job for the whole output, begun if nobody did yet; a newer one of this visitor takes its place.

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the volume does not fit the layer.
        EngineError: the engine cannot compute it; of field "memory" where it would not fit.
    """
    # Before anything is allocated here: named weights alone can be larger than the machine.
    engine().check(run.spec, (1, *run.volume.shape))
    _leaving(session.identity())
    content, weight, bias = arrays(run)
    return engine().submit(run.spec, content, weight, bias, dtype=run.dtype, session=session.identity())


def planes(run: Run, voxel: Triple) -> Planes:
    """The three planes of the output through a voxel: (H, W, C), (D, W, C), (D, H, C).

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the volume does not fit the layer.
        EngineError: the engine could not compute them.
    """
    engine().check_planes(run.spec, (1, *run.volume.shape))
    content, weight, bias = arrays(run)
    return engine().planes(run.spec, content, voxel, weight, bias, dtype=run.dtype, session=session.identity())


@st.cache_resource(max_entries=8, show_spinner=False)
def volume_message(key: str, box: Box, full: Triple, _voxels: Floats) -> bytes:
    """What the viewer is sent of a volume (D, H, W): packed once, and not at every step of a slider."""
    return viewer.volume_message(key, box, full, _voxels)


@st.cache_resource(max_entries=4, show_spinner=False)
def _edited(source: Hashable, edits: Edits, _weight: Floats) -> Floats:
    return edited(_weight, edits)


def arrays(run: Run) -> tuple[Content, Floats, Floats | None]:
    """What the engine is given: input, weight and bias.

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the file's weights do not fit the layer.
        EngineError: the engine could not make the initial weights.
    """
    weight, bias = source_weights(run)
    if run.edits:
        weight = _edited(run.weights, run.edits, weight)
    return Content(run.volume.array[None], run.volume.digest), weight, bias if run.spec.bias else None


def source_weights(run: Run) -> tuple[Floats, Floats | None]:
    """Weight and bias as they come, before any edit.

    Raises:
        SpecError: the named kernel does not exist at this size.
        ShapeError: the file's weights do not fit the layer.
        EngineError: the engine could not make the initial weights.
    """
    if run.file:
        return _from_file(run.weights, run.spec, run.file)
    return weights(run.spec, run.source, run.seed)


@st.cache_resource(max_entries=4, show_spinner=False)
def _from_file(name: Hashable, _spec: ConvSpec, _file: FromFile) -> tuple[Floats, Floats]:
    return _file.trained.cut(_spec, _file.stored.weight(_file.trained.layout), _file.stored.bias)


@st.cache_resource(max_entries=16, show_spinner=False)
def _statistics(key: Hashable, _output: Floats) -> list[ChannelStatistics]:
    return channel_statistics(_output)


def statistics(run: Run, output: Floats) -> list[ChannelStatistics]:
    """One a channel, over the whole output (D, H, W, C) of a run."""
    return _statistics(run.key, output)


@st.cache_resource(max_entries=64, show_spinner=False)
def _histogram(key: Hashable, channel: int, _output: Floats) -> HistogramInfo:
    return histogram_info(_output, channel)


def histogram(run: Run, output: Floats, channel: int) -> HistogramInfo:
    """How the values of one channel of the output (D, H, W, C) of a run are spread."""
    return _histogram(run.key, channel, output)
