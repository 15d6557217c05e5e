"""The process that runs MLX: ``python -m conv3d_core.engine.worker <fd> <fd> ...``, started by `process`.

Over the first socket comes the request to start; each other one is a lane. Requests are ``(operation, arguments)``,
replies ``("ok", value)`` or ``("error", (where, problem, remedy))``: what MLX prints to stdout cannot get between them.

One thread a lane evaluates, for good: MLX keeps an operating-system thread and a random key for each thread that ever
evaluated, and its lazy arrays do not cross threads.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import numpy as np

from conv3d_core.chain.layer import Sizes
from conv3d_core.engine import blas, layer
from conv3d_core.engine.attempt import Attempt, Call, try_layers
from conv3d_core.engine.memory import total_bytes
from conv3d_core.engine.operands import Floats
from conv3d_core.engine.tiles import Box, box_sizes
from conv3d_core.errors import EngineError
from conv3d_core.spec import ConvSpec, Triple

Reference = tuple[int, tuple[int, ...]]

# What MLX and its bindings raise. Anything else is a fault of this module: it ends the process, and the caller is told.
MLX_ERRORS = (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, MemoryError)

# Buffers that MLX keeps for the next tile: as many as its CPU build does by default. Metal's allocator would keep
# tens of GiB.
CPU_CACHE_BYTES = 64 * 2**20
GPU_CACHE_BYTES = 512 * 2**20

INSTALL = (
    "install one build in a fresh environment: pip install mlx on a Mac, "
    "'mlx[cpu]', 'mlx[cuda12]' or 'mlx[cuda13]' on Linux"
)


def start(device: str) -> dict[str, Any]:
    """Load MLX, choose the device for all that follows, and say what was taken and why (`EngineInfo`'s fields)."""
    multiplication = blas.preload()
    try:
        import mlx.core as mx
    except ImportError as error:
        raise EngineError("device", explain_import_error(str(error)), INSTALL) from None
    available = {"metal": mx.metal.is_available(), "cuda": mx.cuda.is_available()}
    backend, reason = choose_backend(device, available)
    taken = mx.cpu if backend == "cpu" else mx.gpu
    mx.set_default_device(taken)
    mx.set_cache_limit(CPU_CACHE_BYTES if backend == "cpu" else GPU_CACHE_BYTES)
    # One small evaluation: a device that is there and does not work must say so now, not under the first volume.
    mx.eval(mx.ones(1) + 1)
    facts = mx.device_info(taken)
    return {
        "device": "cpu" if backend == "cpu" else "gpu",
        "backend": backend,
        "device_name": str(facts.get("device_name", backend)),
        "mlx_version": mx.__version__,  # type: ignore[attr-defined]
        "reason": reason,
        "memory_bytes": int(facts.get("memory_size") or facts.get("total_memory") or total_bytes()),
        "blas": multiplication if backend == "cpu" else "",
    }


def choose_backend(device: str, available: dict[str, bool]) -> tuple[str, str]:
    """The backend for a wish ("auto", "gpu" or "cpu"), and the reason: Metal, else CUDA, else the CPU.

    >>> choose_backend("auto", {"metal": False, "cuda": False})
    ('cpu', 'auto: MLX finds no Metal and no CUDA device here, so it runs on the CPU')
    """
    if device == "cpu":
        return "cpu", "the CPU was asked for"
    for backend, name in (("metal", "Metal"), ("cuda", "CUDA")):
        if available[backend]:
            return backend, f"{'auto' if device == 'auto' else 'a GPU was asked for'}: MLX finds a {name} device"
    if device == "gpu":
        raise EngineError(
            "device",
            "'gpu' was asked for, and MLX finds no Metal and no CUDA device here",
            "use device 'auto' or 'cpu', or install MLX's build for this GPU ('mlx[cuda12]' or 'mlx[cuda13]' on Linux)",
        )
    return "cpu", "auto: MLX finds no Metal and no CUDA device here, so it runs on the CPU"


def explain_import_error(message: str) -> str:
    """What is missing when ``import mlx.core`` fails, in words, with the loader's own message."""
    if "libcuda.so" in message:
        meaning = "this is MLX's CUDA build and there is no NVIDIA driver (>= 550 for cuda12, >= 580 for cuda13)"
    elif "libmlx" in message:
        meaning = "MLX is installed without a backend"
    elif "No module named" in message:
        meaning = "MLX is not installed"
    else:
        meaning = "MLX cannot be loaded"
    return f"{meaning} ({message})"


class Operations:
    """What can be asked of a lane. Arrays are named by their block and shape, and answered into a block."""

    def __init__(self) -> None:
        self._blocks: dict[int, mmap.mmap] = {}
        self._layers = layer.Layers()

    def map(self, number: int, nbytes: int, descriptor: int) -> None:
        """See a block from now on."""
        self._blocks[number] = mmap.mmap(descriptor, nbytes)
        os.close(descriptor)

    def unmap(self, numbers: list[int]) -> None:
        """Forget blocks; their memory goes when the last array that looks into them does."""
        self._layers.forget(numbers)
        for number in numbers:
            del self._blocks[number]

    def boxes(
        self,
        spec: ConvSpec,
        x: Reference,
        item: int,
        boxes: Sequence[Box],
        weight: Reference,
        bias: bytes | None,
        dtype: str,
        split: bool,
        out: int,
    ) -> tuple[int, ...]:
        """Boxes of outputs of one batch item, one after the other, into the block ``out``; its shape (outputs, O)."""
        whole = self._array(x)[item : item + 1]
        weights = layer.Weights(weight[0], self._array(weight), bias, dtype)
        ends = list(itertools.accumulate((math.prod(box_sizes(box)) for box in boxes), initial=0))
        answers = self._array((out, (ends[-1], spec.out_channels)))
        for box, begin, end in zip(boxes, ends, ends[1:], strict=False):
            place = answers[begin:end].reshape(*box_sizes(box), spec.out_channels)
            layer.compute_box(self._layers, spec, whole, box, weights, place, split)
        return answers.shape

    def gradient(
        self, spec: ConvSpec, sizes: Triple, weight: Reference, factors: Reference | None, at: Triple, out: int
    ) -> tuple[int, ...]:
        """The gradient of the sum of a box of outputs with respect to its slab into the block ``out``; its shape.

        With factors, each output is multiplied with its own: those of the box begin at that place among them.
        """
        weights = layer.Weights(weight[0], self._array(weight), None, "float32")
        box = tuple(slice(first, first + size) for first, size in zip(at, sizes, strict=True))
        by = None if factors is None else self._array(factors)[box]
        found = layer.gradient_box(self._layers, spec, sizes, weights, by)
        self._array((out, found.shape))[...] = found
        return found.shape

    def initial_weights(self, spec: ConvSpec, seed: int) -> tuple[Floats, Floats | None]:
        """Weight and bias of a fresh layer."""
        return layer.initial_weights(spec, seed)

    def raw_times(
        self, spec: ConvSpec, x: Reference, weight: Reference, bias: bytes | None, repeats: int
    ) -> list[float]:
        """Milliseconds of MLX's own layer on the whole input at once."""
        weights = layer.Weights(weight[0], self._array(weight), bias, "float32")
        return layer.raw_times(spec, self._array(x), weights, repeats)

    def attempt(self, calls: Sequence[Call], input_shape: Sizes, dtype: str) -> Attempt:
        """What MLX says of layers in a row."""
        return try_layers(calls, input_shape, dtype)

    def memory(self) -> dict[str, int]:
        """What the process and MLX in it hold, see `client.Memory`."""
        return {"process_peak": peak_bytes()} | {f"mlx_{name}": count for name, count in layer.memory_bytes().items()}

    def _array(self, reference: Reference) -> Floats:
        number, shape = reference
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._blocks[number], np.float32, count).reshape(shape)


def peak_bytes() -> int:
    """The most that this process held at a time."""
    try:
        # Not getrusage, which on Linux also remembers the parent that forked us.
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
    return int(status.split("VmHWM:")[1].split()[0]) * 2**10


def answer(operation: Callable[..., Any], arguments: dict[str, Any]) -> tuple[str, Any]:
    """The outcome and the value of a reply."""
    try:
        return "ok", operation(**arguments)
    except EngineError as error:
        return "error", error.args
    except MLX_ERRORS as error:
        message = " ".join(str(error).split())
        return "error", ("engine", f"MLX raised {type(error).__name__}: {message}", "change the layer or the input")


def serve(connection: Connection, operations: Operations) -> None:
    """Answer the requests of one lane, one after the other, until the parent closes it; then end the process."""
    while True:
        operation, arguments = receive(connection)
        if operation == "map":
            arguments["descriptor"] = recv_handle(connection)
        send(connection, answer(getattr(operations, operation), arguments))


def receive(connection: Connection) -> tuple[str, dict[str, Any]]:
    """The next request; the process ends when there will be none."""
    try:
        request: tuple[str, dict[str, Any]] = connection.recv()
    except (EOFError, OSError):
        # At once, and without Python's or MLX's clean-up: ending MLX in order while a lane evaluates is an abort.
        os._exit(0)
    return request


def send(connection: Connection, reply: tuple[str, Any]) -> None:
    """Reply; the process ends when nobody listens."""
    try:
        connection.send(reply)
    except OSError:
        os._exit(0)


def end_loudly(arguments: threading.ExceptHookArgs) -> None:
    """A fault of this module ends the process, not just its lane: the supervisor quotes the last line."""
    threading.__excepthook__(arguments)
    sys.stderr.flush()
    os._exit(1)


def main(descriptors: list[int]) -> None:
    """Start when asked, then serve the lanes, and end as soon as the parent closes the first socket or dies."""
    first, *lanes = (Connection(descriptor) for descriptor in descriptors)
    _, arguments = receive(first)
    reply = answer(start, arguments)
    operations = Operations()
    threading.excepthook = end_loudly
    for number, lane in enumerate(lanes):
        threading.Thread(target=serve, args=(lane, operations), name=f"lane {number}", daemon=True).start()
    send(first, reply)
    receive(first)  # nothing else is ever sent: this waits for the end, also while every lane evaluates


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
