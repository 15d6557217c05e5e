"""The process that runs MLX: ``python -m conv3d_core.engine.worker <fd>``, started by `supervisor`.

Only this module imports MLX, and only inside its functions, so that a build that cannot be loaded is an answer and
not a crash. (The ignored types: MLX's stubs do not export all that MLX does.)

Requests ``(id, operation, arguments)`` and replies ``(id, "ok", value)`` or ``(id, "error", (where, problem, remedy))``
go over the socket at the file descriptor: what MLX prints to stdout cannot get between them.

The main thread does all evaluation, for good: MLX keeps an operating-system thread and a random key for each thread
that ever evaluated, and its lazy arrays do not cross threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np

from conv3d_core.engine.memory import total_bytes
from conv3d_core.errors import EngineError

Request = tuple[int, str, dict[str, Any]]

# What MLX and its bindings raise. Anything else is a fault of this module: it ends the process, and the caller is told.
MLX_ERRORS = (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, MemoryError)

# Metal's allocator would keep tens of GiB of buffers for the next call.
GPU_CACHE_BYTES = 512 * 2**20

INSTALL = (
    "install one build in a fresh environment: pip install mlx on a Mac, "
    "'mlx[cpu]', 'mlx[cuda12]' or 'mlx[cuda13]' on Linux"
)


def start(device: str) -> dict[str, Any]:
    """Load MLX, choose the device for all that follows, and say what was taken and why (`EngineInfo`'s fields)."""
    try:
        import mlx.core as mx
    except ImportError as error:
        raise EngineError("device", explain_import_error(str(error)), INSTALL) from None
    available = {"metal": mx.metal.is_available(), "cuda": mx.cuda.is_available()}
    backend, reason = choose_backend(device, available)
    taken = mx.cpu if backend == "cpu" else mx.gpu
    mx.set_default_device(taken)
    if backend != "cpu":
        mx.set_cache_limit(GPU_CACHE_BYTES)
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


def run(spec: dict[str, Any], x: Any, weight: Any, bias: Any) -> Any:
    """One call of the real layer. All arrays NumPy float32 of shapes that the client has checked.

    Args:
        spec: the arguments of ``nn.Conv3d``.
        x: (N, D, H, W, C).
        weight: (O, KD, KH, KW, I).
        bias: (O,), or None for a layer without.
    """
    import mlx.core as mx
    import mlx.nn as nn

    layer = nn.Conv3d(**spec)  # type: ignore[attr-defined]
    given = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    for name, array in given.items():
        # `update` and assignment take any shape without a word.
        if layer[name].shape != array.shape:
            raise EngineError(name, f"shape {array.shape} is not {layer[name].shape}", "use the layer's own shape")
        layer[name] = mx.array(array)
    y = layer(mx.array(x))
    mx.eval(y)
    return np.array(y)  # a copy: np.asarray would be a view of MLX's memory


def initial_weights(spec: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """Weight and bias (or None) of a fresh layer, as ``mx.random.seed(seed); nn.Conv3d(...)`` gives them."""
    import mlx.core as mx
    import mlx.nn as nn

    mx.random.seed(seed)
    layer = nn.Conv3d(**spec)  # type: ignore[attr-defined]
    mx.eval(layer.parameters())
    return np.array(layer["weight"]), np.array(layer["bias"]) if "bias" in layer else None


OPERATIONS: dict[str, Callable[..., Any]] = {"start": start, "run": run, "initial_weights": initial_weights}


def answer(operation: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    """The outcome and the value of a reply."""
    try:
        return "ok", OPERATIONS[operation](**arguments)
    except EngineError as error:
        return "error", error.args
    except MLX_ERRORS as error:
        message = " ".join(str(error).split())
        return "error", ("engine", f"MLX raised {type(error).__name__}: {message}", "change the layer or the input")


def read_requests(connection: Connection, requests: SimpleQueue[Request]) -> None:
    """Hand requests to the main thread until the parent closes its end or dies, then end at once.

    At once, and without Python's or MLX's clean-up: an evaluation cannot be interrupted, and ending MLX in order
    while one runs is an abort.
    """
    status = 1
    try:
        while True:
            requests.put(connection.recv())
    except (EOFError, OSError):
        status = 0
    finally:
        os._exit(status)


def main(descriptor: int) -> None:
    """Answer requests from the socket at this file descriptor, one after the other, for ever."""
    connection: Connection = Connection(descriptor)
    requests: SimpleQueue[Request] = SimpleQueue()
    threading.Thread(target=read_requests, args=(connection, requests), name="requests", daemon=True).start()
    while True:
        identity, operation, arguments = requests.get()
        connection.send((identity, *answer(operation, arguments)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
