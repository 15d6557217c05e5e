"""The face of the engine: NumPy in, NumPy out, computed by the real ``mlx.nn.Conv3d`` in a process of its own."""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.engine.memory import refuse_beyond_budget
from conv3d_core.engine.operands import Floats, as_float32, layer_bias, layer_weight, real_array
from conv3d_core.engine.slabs import cut_slab, plane_box
from conv3d_core.engine.supervisor import EngineInfo, Supervisor
from conv3d_core.errors import EngineError, ShapeError, SpecError
from conv3d_core.shapes import peak_bytes, weight_bytes
from conv3d_core.spec import ConvSpec

DEVICES = ("auto", "gpu", "cpu")
DEFAULT_SEED = 0
MAX_SEED = 2**64 - 1


class Engine:
    """Runs layers on one device. Safe to share between threads; one request runs at a time.

    The worker process starts with the first request (or the ``with``), and again after it died. What ends it
    is raised to the request that it happened to; the next one is served.

    Args:
        device: "auto" (Metal, else CUDA, else the CPU), "gpu" or "cpu".
        timeout_s: seconds that one request may take before its process is killed.

    Raises:
        EngineError: another device, or a time that is not above 0 or longer than a thread can wait.

    >>> with Engine(device="cpu") as engine:
    ...     engine.run(ConvSpec(1, 1, 3), np.ones((1, 3, 3, 3, 1)), weight=np.ones((1, 3, 3, 3, 1))).tolist()
    [[[[[27.0]]]]]
    """

    def __init__(self, device: str = "auto", *, timeout_s: float = 300.0) -> None:
        if device not in DEVICES:
            raise EngineError("device", f"{device!r} is unknown", f"use {', '.join(DEVICES)}", value=device)
        if not 0 < timeout_s <= threading.TIMEOUT_MAX:
            problem = f"{timeout_s!r} s is not a time that a request can be given"
            raise EngineError("timeout_s", problem, "use seconds above 0, such as 300", value=timeout_s)
        self._supervisor = Supervisor(device, timeout_s)

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
            EngineError: it needs more memory than the budget.
        """
        spec.output_shape(input_shape)
        sizes = tuple(operator.index(size) for size in input_shape)
        refuse_beyond_budget(peak_bytes(spec, sizes), f"this layer on an input of {sizes}")

    def run(
        self, spec: ConvSpec, x: ArrayLike, weight: ArrayLike | None = None, bias: ArrayLike | None = None
    ) -> Floats:
        """The whole output (N, D_out, H_out, W_out, O), float32.

        Args:
            spec: the layer.
            x: (N, D, H, W, C), any real dtype; cast to float32.
            weight: (O, KD, KH, KW, I); None for the layer's initial weight with seed 0.
            bias: (O,); None for zeros.

        Raises:
            ShapeError: the input, the weight or the bias does not fit the layer.
            EngineError: it needs more memory than the budget, MLX raised, or the worker died or took too long.
        """
        return self._run(spec, real_array("input", x), weight, bias)

    def plane(
        self,
        spec: ConvSpec,
        x: ArrayLike,
        axis: str,
        index: int,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
    ) -> Floats:
        """One plane of the output of batch item 0, from the slab of the input that it reads.

        Args:
            spec: the layer.
            x: (N, D, H, W, C), any real dtype; only what the plane reads is cast and sent.
            axis: "D", "H" or "W": the axis that the plane is cut across.
            index: which output along that axis, from 0.
            weight: as in `run`.
            bias: as in `run`.

        Returns:
            (H_out, W_out, O) for D, (D_out, W_out, O) for H, (D_out, H_out, O) for W, float32.

        Raises:
            ShapeError: as in `run`, or there is no such plane.
            EngineError: as in `run`.
        """
        array = real_array("input", x)
        outputs = spec.output_shape(array.shape)
        position = _plane_position(axis, index, outputs[1:4])
        slab_spec, slab = cut_slab(spec, array[:1], plane_box(axis, operator.index(index)))
        plane: Floats = np.take(self._run(slab_spec, slab, weight, bias)[0], 0, axis=position)
        return plane

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
        refuse_beyond_budget(2 * weight_bytes(spec), f"a weight of shape {spec.weight_shape}")
        weights: tuple[Floats, Floats | None] = self._supervisor.ask(
            "initial_weights", {"spec": spec.to_dict(), "seed": operator.index(seed)}
        )
        return weights

    def _run(self, spec: ConvSpec, array: NDArray[Any], weight: ArrayLike | None, bias: ArrayLike | None) -> Floats:
        self.check(spec, array.shape)
        bias = layer_bias(spec, bias)
        weight = None if weight is None else layer_weight(spec, weight)
        if weight is None:
            weight, _ = self.initial_weights(spec)
        # Only now, and only what is read: a big volume of another dtype is not copied whole for one plane.
        arguments = {"spec": spec.to_dict(), "x": as_float32(array), "weight": weight, "bias": bias}
        result: Floats = self._supervisor.ask("run", arguments)
        return result


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
