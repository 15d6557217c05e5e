"""The face of the engine: NumPy in, NumPy out, computed by the real ``mlx.nn.Conv3d`` in a process of its own."""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.chain.layer import Layer as ChainLayer
from conv3d_core.engine.attempt import Attempt, checked
from conv3d_core.engine.dispatcher import Dispatcher, Gradient, Layer
from conv3d_core.engine.jobs import Job
from conv3d_core.engine.journal import Event
from conv3d_core.engine.memory import (
    Need,
    budget_bytes,
    largest_crop,
    planes_need,
    refuse_beyond_budget,
    whole_need,
)
from conv3d_core.engine.operands import DTYPES, Content, Floats, Given, given_input, layer_bias, layer_weight
from conv3d_core.engine.slabs import Cut, plane_cut
from conv3d_core.engine.supervisor import EngineInfo, Supervisor
from conv3d_core.engine.tiles import Box, whole_box
from conv3d_core.errors import EngineError, ShapeError, SpecError
from conv3d_core.receptive_field import check_channel, check_output, receptive_field
from conv3d_core.shapes import peak_bytes, weight_bytes
from conv3d_core.spec import ConvSpec, Triple
from conv3d_core.stack import stack_shapes

DEVICES = ("auto", "gpu", "cpu")
DEFAULT_SEED = 0
MAX_SEED = 2**64 - 1
MAX_TIMEOUT_S = (2**31 - 1) / 1000  # poll(2) takes milliseconds in an int
# More lanes than this wait for the worker's interpreter and not for its arithmetic.
MOST_LANES = 8

Input = ArrayLike | Content
# In the order D, H, W: (H_out, W_out, O), (D_out, W_out, O), (D_out, H_out, O).
Planes = tuple[Floats, Floats, Floats]


class Memory(NamedTuple):
    """Memory of the worker, in bytes.

    Attributes:
        process_peak: the most that the process held since it started, what it shares with this one included.
        mlx_peak: the most that MLX held of it, or of the GPU's memory.
        mlx_active: what MLX holds now.
        mlx_cached: what of that is free, and kept for the next tile.
        budget: how much a request may need, see `conv3d_core.engine.memory`.
    """

    process_peak: int
    mlx_peak: int
    mlx_active: int
    mlx_cached: int
    budget: int


class Engine:
    """Runs layers on one device. Safe to share between threads and between sessions.

    The worker process starts with the first request (or the ``with``), and again after it died. What ends it
    is raised to the requests that it was working on; all others are served.

    A request is cut into tiles, which are computed within the memory budget. What a person waits for (a plane, a
    box, a voxel) goes before whole volumes, between two tiles. What comes of a `Content` is remembered.

    Args:
        device: "auto" (Metal, else CUDA, else the CPU; the CPU, too, when the GPU fails), "gpu" or "cpu".
        timeout_s: seconds that one tile may take before the process counts as hanging and is killed.
        accelerate: whether the CPU may multiply with a faster BLAS than MLX's own, see `conv3d_core.engine.blas`.
        cache_bytes: how much of its results are remembered.

    Raises:
        EngineError: another device, or a time that is not above 0, or longer than a system call can wait.

    >>> with Engine(device="cpu") as engine:
    ...     engine.run(ConvSpec(1, 1, 3), np.ones((1, 3, 3, 3, 1)), weight=np.ones((1, 3, 3, 3, 1))).tolist()
    [[[[[27.0]]]]]
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        timeout_s: float = 300.0,
        accelerate: bool = True,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        if device not in DEVICES:
            raise EngineError("device", f"{device!r} is unknown", f"use {', '.join(DEVICES)}", value=device)
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            problem = f"{timeout_s!r} s is not a time that a request can be given"
            raise EngineError("timeout_s", problem, "use seconds above 0, such as 300", value=timeout_s)
        self._supervisor = Supervisor(device, timeout_s, min(_cores(), MOST_LANES), accelerate)
        self._dispatcher = Dispatcher(self._supervisor, cache_bytes)
        # The lanes' threads know the supervisor and not this object: when nobody has it any more, they end.
        weakref.finalize(self, self._supervisor.close)

    def __enter__(self) -> Self:
        self._supervisor.info()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def info(self) -> EngineInfo:
        """The device that was taken, and why. Starts the worker if none ever ran.

        Raises:
            EngineError: MLX cannot be loaded, or has no such device.
        """
        return self._supervisor.info()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, None where none runs."""
        return self._supervisor.pid()

    def memory(self) -> Memory:
        """What the worker holds, beside its budget. Raises as `run` does."""
        budget = budget_bytes()
        return Memory(**self._dispatcher.call("memory", {}, Need(), ""), budget=budget)

    @property
    def log(self) -> list[Event]:
        """What happened lately, the newest first."""
        return self._supervisor.journal.events()

    def try_gpu_again(self) -> None:
        """Go back to the GPU that was left for the CPU; nothing happens where none was."""
        self._supervisor.try_gpu_again()

    def leave(self, session: Hashable) -> None:
        """Give up what a session still waits for: it is gone."""
        for urgent in (True, False):
            self._supervisor.schedule.supersede(session, urgent)

    def close(self) -> None:
        """End the worker, also in the middle of a request. Closing twice is fine."""
        self._supervisor.close()

    def check(self, spec: ConvSpec, input_shape: Sequence[int]) -> None:
        """Raises what `run` would raise for such an input before anything is allocated; starts nothing.

        Args:
            spec: the layer.
            input_shape: (N, D, H, W, C).

        Raises:
            ShapeError: the input does not fit the layer.
            EngineError: it needs more memory than the budget; the message names a crop that does not.
        """
        spec.output_shape(input_shape)
        shape = tuple(map(operator.index, input_shape))
        need = whole_need(spec, shape, self._supervisor.lanes)
        refuse_beyond_budget(need, f"this layer on an input of {shape}", lambda: self.crop_that_fits(spec, shape))

    def check_planes(self, spec: ConvSpec, input_shape: Sequence[int]) -> None:
        """As `check`, for what `planes` would raise for a `Content` of such a shape."""
        need = planes_need(spec, input_shape, self._supervisor.lanes)
        refuse_beyond_budget(need, f"three planes of this layer on an input of {tuple(input_shape)}")

    def crop_that_fits(self, spec: ConvSpec, input_shape: Sequence[int]) -> Triple | None:
        """The largest (D, H, W), in the proportions of the input, whose whole output fits the memory budget.

        None where not even the smallest does.
        """
        batch, d, h, w, channels = map(operator.index, input_shape)

        def fits(sizes: Triple) -> bool:
            return whole_need(spec, (batch, *sizes, channels), self._supervisor.lanes).fits()

        return largest_crop(spec, (d, h, w), fits)

    def run(
        self,
        spec: ConvSpec,
        x: Input,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
    ) -> Floats:
        """The whole output (N, D_out, H_out, W_out, O), float32.

        Args:
            spec: the layer.
            x: (N, D, H, W, C), any real dtype, cast to float32; or a `Content`, whose results are read-only.
            weight: (O, KD, KH, KW, I); None for the layer's initial weight with seed 0.
            bias: (O,); None for zeros.
            dtype: what the layer computes in: "float32", "float16" or "bfloat16".

        Raises:
            ShapeError: the input, the weight or the bias does not fit the layer.
            EngineError: it needs more memory than the budget, MLX raised, or the worker died or took too long.
        """
        output: Floats = self.submit(spec, x, weight, bias, dtype=dtype).result()[0]
        return output

    def submit(
        self,
        spec: ConvSpec,
        x: Input,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
        session: Hashable = None,
    ) -> Job:
        """Ask for what `run` gives without waiting: the job has its progress and its place, and can be cancelled.

        Its result is a list with that one array.

        Args:
            spec: the layer.
            x: as in `run`.
            weight: as in `run`.
            bias: as in `run`.
            dtype: as in `run`.
            session: who asks: a newer `submit` of the same session takes the place of this one.

        Raises:
            ShapeError: as in `run`.
            EngineError: as in `run`, as far as it is known now.
        """
        given = given_input(x)
        self.check(spec, given.array.shape)
        layer = self._layer(spec, weight, bias, dtype)
        return self._dispatcher.submit(self._dispatcher.plan_whole(spec, given, dtype), layer, given, session)

    def plane(
        self,
        spec: ConvSpec,
        x: Input,
        axis: str,
        index: int,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
    ) -> Floats:
        """One plane of the output of batch item 0, from the slab of the input that it reads.

        Args:
            spec: the layer.
            x: as in `run`; of an array only what the plane reads is cast and sent.
            axis: "D", "H" or "W": the axis that the plane is cut across.
            index: which output along that axis, from 0.
            weight: as in `run`.
            bias: as in `run`.
            dtype: as in `run`.

        Returns:
            (H_out, W_out, O) for D, (D_out, W_out, O) for H, (D_out, H_out, O) for W, float32.

        Raises:
            ShapeError: as in `run`, or there is no such plane.
            EngineError: as in `run`.
        """
        given = given_input(x)
        position = _plane_position(axis, index, spec.output_shape(given.array.shape)[1:4])
        (part,) = self._parts(spec, given, [plane_cut(axis, operator.index(index))], weight, bias, dtype)
        return part.squeeze(position)

    def planes(
        self,
        spec: ConvSpec,
        x: Input,
        voxel: Sequence[int],
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
        session: Hashable = None,
    ) -> Planes:
        """The three planes of batch item 0 through one output voxel (d, h, w), in one request.

        Args:
            spec: the layer.
            x: as in `plane`.
            voxel: where the planes meet.
            weight: as in `run`.
            bias: as in `run`.
            dtype: as in `run`.
            session: who asks: newer planes of the same session take the place of these.

        Returns:
            (H_out, W_out, O), (D_out, W_out, O) and (D_out, H_out, O), float32.

        Raises:
            ShapeError: as in `run`, or there is no such voxel.
            EngineError: as in `run`.
            Cancelled: newer ones took their place.
        """
        given = given_input(x)
        spec.output_shape(given.array.shape)
        check_output(spec, voxel, given.array.shape[1:4])
        wanted = [plane_cut(axis, operator.index(index)) for axis, index in zip(AXES, voxel, strict=True)]
        parts = self._parts(spec, given, wanted, weight, bias, dtype, session)
        d, h, w = (part.squeeze(position) for position, part in enumerate(parts))
        return d, h, w

    def box(
        self,
        spec: ConvSpec,
        x: Input,
        box: Box,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
    ) -> Floats:
        """A box of the output of batch item 0.

        Args:
            spec: the layer.
            x: as in `plane`.
            box: first and last output along D, H, W, both inclusive.
            weight: as in `run`.
            bias: as in `run`.
            dtype: as in `run`.

        Returns:
            (d, h, w, O) float32.

        Raises:
            ShapeError: as in `run`, or the box is not inside the output.
            EngineError: as in `run`.
        """
        given = given_input(x)
        _check_box(box, spec.output_shape(given.array.shape)[1:4])
        (part,) = self._parts(spec, given, [box], weight, bias, dtype)
        return part

    def voxel(
        self,
        spec: ConvSpec,
        x: Input,
        voxel: Sequence[int],
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float32",
    ) -> Floats:
        """All channels (O,) of the output voxel (d, h, w) of batch item 0; else as `box`."""
        d, h, w = ((index, index) for index in voxel)
        values: Floats = self.box(spec, x, (d, h, w), weight, bias, dtype=dtype)[0, 0, 0]
        return values

    def initial_weights(self, spec: ConvSpec, seed: int = DEFAULT_SEED) -> tuple[Floats, Floats | None]:
        """Weight (O, KD, KH, KW, I) and bias (O,), or None without, as MLX makes them.

        Exactly those of ``mx.random.seed(seed); nn.Conv3d(...)`` in a fresh interpreter.

        Raises:
            SpecError: a seed that is no integer from 0 to 2**64 - 1.
            EngineError: as in `run`.
        """
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= operator.index(seed) <= MAX_SEED:
            raise SpecError(
                "seed", f"{seed!r} is not an integer from 0 to 2**64 - 1", "use an integer >= 0", value=seed
            )
        # Twice: the weight, and the copy that is sent.
        need = Need(weights=2 * weight_bytes(spec))
        refuse_beyond_budget(need, f"a weight of shape {spec.weight_shape}")
        arguments = {"spec": spec, "seed": operator.index(seed)}
        words = f"initial weights of {spec.to_mlx()}"
        weights: tuple[Floats, Floats | None] = self._dispatcher.call("initial_weights", arguments, need, words)
        return weights

    def voxel_gradient(
        self,
        spec: ConvSpec,
        input_shape: Sequence[int],
        voxel: Sequence[int],
        channel: int = 0,
        weight: ArrayLike | None = None,
    ) -> Gradient:
        """``mx.grad`` of one output voxel with respect to the input: its effective receptive field.

        Args:
            spec: the layer. It is linear, so the gradient does not depend on the input.
            input_shape: (N, D, H, W, C).
            voxel: (d, h, w) of the output; channel: which of its channels.
            weight: (O, KD, KH, KW, I); None for the layer's initial weight with seed 0.

        Raises:
            ShapeError: the input or the weight does not fit the layer, or there is no such output voxel or channel.
            EngineError: as in `run`.

        Source: Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks".
        """
        return self.stack_gradient([spec], input_shape, voxel, channel, [weight])

    def stack_gradient(
        self,
        specs: Sequence[ConvSpec],
        input_shape: Sequence[int],
        voxel: Sequence[int],
        channel: int = 0,
        weights: Sequence[ArrayLike | None] | None = None,
    ) -> Gradient:
        """As `voxel_gradient`, of an output voxel of the last of several layers, with respect to the first one's input.

        The chain rule, layer by layer from the last one back: each by ``mx.grad``, of its outputs times what the
        layers behind it answer to them. Nothing stands between the layers, so the whole is linear, too.

        Args:
            specs: the layers.
            input_shape: (N, D, H, W, C) of the first.
            voxel: (d, h, w) of the last one's output; channel: which of its channels.
            weights: of each layer, (O, KD, KH, KW, I) or None for its initial weight with seed 0; None for all so.

        Raises:
            SpecError: no layer, or a layer that does not take its predecessor's channels.
            ShapeError: the input, an output or a weight does not fit a layer, or there is no such output voxel or
                channel.
            EngineError: as in `run`; what all layers need is known before the first is computed.
        """
        receptive_field(specs)
        shapes = [tuple(input_shape), *stack_shapes(specs, input_shape)]
        check_output(specs[-1], voxel, shapes[-2][1:4])
        check_channel(specs[-1], channel)
        d, h, w = ((index, index) for index in map(operator.index, voxel))
        box: Box = (d, h, w)
        plans = []
        for number, spec, shape in zip(range(len(specs), 0, -1), reversed(specs), reversed(shapes[:-1]), strict=True):
            # Of the last layer one channel is asked for, and it alone is computed.
            single = replace(spec, out_channels=spec.out_channels if number < len(specs) else 1, bias=False)
            plan = self._dispatcher.plan_gradient(single, _sizes(shape), box)
            refuse_beyond_budget(plan.need, f"the {plan.words}")
            plans.append(plan)
            box = plan.window
        given = [None] * len(specs) if weights is None else weights
        found: Gradient | None = None
        for plan, spec, weight in zip(plans, reversed(specs), reversed(given), strict=True):
            kernel = self._layer(spec, weight, None).weight
            layer = Layer(plan.spec, kernel if found else kernel[[channel]], None)
            found = self._dispatcher.gradient(plan, layer, found.values if found else None)
        assert found  # there is at least one layer
        return found

    def read_counts(self, spec: ConvSpec, input_shape: Sequence[int]) -> Floats:
        """How many outputs read each input voxel: (D, H, W) float32, 0 where none does.

        It is ``mx.grad`` of the sum of all outputs, of one channel in and out with all weights one.

        Args:
            spec: the layer.
            input_shape: (N, D, H, W, C).

        Raises:
            ShapeError: the input does not fit the layer.
            EngineError: as in `run`.
        """
        outputs = whole_box(spec.output_shape(input_shape)[1:4])
        single = replace(spec, in_channels=1, out_channels=1, bias=False)
        layer = Layer(single, np.ones(single.weight_shape, np.float32), None)
        plan = self._dispatcher.plan_gradient(single, _sizes(input_shape), outputs)
        refuse_beyond_budget(plan.need, f"the {plan.words}")
        found = self._dispatcher.gradient(plan, layer)
        counts = np.zeros(_sizes(input_shape), np.float32)
        counts[tuple(slice(first, last + 1) for first, last in found.window)] = found.values[..., 0]
        return counts

    def raw_times_ms(
        self,
        spec: ConvSpec,
        x: Input,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        repeats: int = 3,
    ) -> list[float]:
        """How long MLX's own layer takes on the whole input at once, evaluated, after one warm-up; copies left out.

        Args:
            spec: the layer.
            x: as in `run`.
            weight: as in `run`.
            bias: as in `run`.
            repeats: how often it is timed.

        Raises:
            ShapeError: as in `run`.
            EngineError: as in `run`; MLX unfolds the whole input, so the budget ends sooner.
        """
        given = given_input(x)
        spec.output_shape(given.array.shape)
        need = Need(tiles=peak_bytes(spec, given.array.shape))
        refuse_beyond_budget(need, f"nn.Conv3d at once on an input of {given.array.shape}")
        return self._dispatcher.raw_times_ms(self._layer(spec, weight, bias), given, need, repeats)

    def attempt(self, layers: Sequence[ChainLayer], input_shape: Sequence[int], dtype: str = "float32") -> Attempt:
        """What MLX itself says of layers in a row, made and applied in the worker with nothing evaluated.

        An impossible layer is no error here: MLX's own exception is the answer, and so is a shape that MLX announces
        and could not compute.

        Args:
            layers: in MLX's terms.
            input_shape: of the array that the first one gets.
            dtype: of that array, by MLX's name.

        Raises:
            SpecError: a layer that is not known, or an argument that is no literal, or a huge one.
            ShapeError: no shape.
            EngineError: the worker died or took too long.

        >>> from conv3d_core.chain import Layer
        >>> with Engine(device="cpu") as engine:
        ...     engine.attempt([Layer("MaxPool3d", {"kernel_size": 2}), Layer("Conv3d", {"in_channels": 0,
        ...         "out_channels": 8, "kernel_size": 3})], (1, 5, 5, 5, 1))
        Attempt(shapes=((1, 2, 2, 2, 1),), failed=1, error='ZeroDivisionError', message='division by zero')
        """
        calls, sizes = checked(layers, input_shape, dtype)
        arguments = {"calls": calls, "input_shape": sizes, "dtype": dtype}
        return Attempt(*self._dispatcher.call("attempt", arguments, Need(), f"{len(calls)} layers without values"))

    def _parts(
        self,
        spec: ConvSpec,
        given: Given,
        wanted: Sequence[Cut],
        weight: ArrayLike | None,
        bias: ArrayLike | None,
        dtype: str,
        session: Hashable = None,
    ) -> list[Floats]:
        """Parts of the output of batch item 0, each (d, h, w, O), as soon as they are there."""
        plan = self._dispatcher.plan_parts(spec, given, wanted, dtype)
        refuse_beyond_budget(plan.need, plan.words)
        layer = self._layer(spec, weight, bias, dtype)
        return [part[0] for part in self._dispatcher.submit(plan, layer, given, session).result()]

    def _layer(self, spec: ConvSpec, weight: ArrayLike | None, bias: ArrayLike | None, dtype: str = "float32") -> Layer:
        if dtype not in DTYPES:
            raise EngineError("dtype", f"{dtype!r} is none that a layer computes in here", f"use {', '.join(DTYPES)}")
        offset = layer_bias(spec, bias)
        kernel = self.initial_weights(spec)[0] if weight is None else layer_weight(spec, weight)
        return Layer(spec, kernel, offset, dtype)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sizes(input_shape: Sequence[int]) -> Triple:
    _, d, h, w, _ = map(operator.index, input_shape)
    return d, h, w


def _plane_position(axis: str, index: int, outputs: tuple[int, ...]) -> int:
    if axis not in AXES:
        raise ShapeError("axis", f"{axis!r} is no axis", f"use {', '.join(AXES)}", value=axis)
    position = AXES.index(axis)
    count = outputs[position]
    if isinstance(index, bool) or not hasattr(index, "__index__") or not 0 <= operator.index(index) < count:
        raise ShapeError(
            AXIS_NAMES[axis],
            f"there is no output plane {index!r}",
            f"use an integer from 0 to {count - 1}",
            field="index",
            axis=axis,
            value=index,
        )
    return position


def _check_box(box: Box, outputs: tuple[int, ...]) -> None:
    for axis, (first, last), count in zip(AXES, box, outputs, strict=True):
        if not 0 <= first <= last < count:
            raise ShapeError(
                AXIS_NAMES[axis],
                f"outputs {first} to {last} are not a box of the {count} outputs",
                f"use first <= last from 0 to {count - 1}",
                field="box",
                axis=axis,
                value=(first, last),
            )
