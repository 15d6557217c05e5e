"""What the worker computes, with the real ``mlx.nn.Conv3d``. Only here is MLX imported, and only inside functions.

(The ignored types: MLX's stubs do not export all that MLX does.)
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.engine.operands import Floats
from conv3d_core.engine.phases import phases, undilated
from conv3d_core.engine.slabs import cut_slab
from conv3d_core.engine.tiles import Box, box_sizes, gradient_slab
from conv3d_core.errors import EngineError
from conv3d_core.spec import ConvSpec, Triple

# Layers that are kept between tiles, by the bytes of their weights; the last one always is.
KEPT_BYTES = 16 * 2**20
# A measurement that took so long is repeated no more.
ENOUGH_MS = 3000


class Weights(NamedTuple):
    """What makes a layer: its arrays, and the names by which it is found again.

    Attributes:
        name: of the weight's content.
        weight: (O, KD, KH, KW, I) float32, in shared memory.
        bias: the bytes of (O,) float32; None for a layer without.
        dtype: "float32", "float16" or "bfloat16": what the layer computes in.
    """

    name: int
    weight: Floats
    bias: bytes | None
    dtype: str


class Layers:
    """MLX's layers, made once and used from every lane: their arrays are evaluated, so any thread may read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, spec: ConvSpec, weights: Weights) -> Any:
        """The layer of that spec with those weights, evaluated."""
        key = (spec, weights.name, weights.bias, weights.dtype)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            layer = _layer(spec, weights)
            self._kept[key] = layer, weights.weight.nbytes
            while len(self._kept) > 1 and sum(nbytes for _, nbytes in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return layer

    def forget(self, names: list[int]) -> None:
        """Let go of layers with these weights."""
        with self._lock:
            for key in [key for key in self._kept if key[1] in names]:
                del self._kept[key]


def compute_box(
    layers: Layers, spec: ConvSpec, x: Floats, box: Box, weights: Weights, out: Floats, split: bool
) -> None:
    """A box of outputs of one batch item, written into ``out`` (d, h, w, O).

    Args:
        layers: where layers are kept.
        spec: the layer.
        x: (1, D, H, W, C).
        box: first and last output per axis, inclusive.
        weights: of the layer.
        out: float32, for the result.
        split: whether to split a dilated layer into phases.
    """
    import mlx.core as mx

    dtype = getattr(mx, weights.dtype)
    sizes = box_sizes(box)

    def evaluate(layer: Any, part: Floats) -> Floats:
        y = layer(mx.array(part).astype(dtype)).astype(mx.float32)
        mx.eval(y)
        outputs: Floats = np.asarray(y)[0]  # a view of MLX's memory, copied out at once
        return outputs

    if split:
        _, slab = cut_slab(spec, x, box)
        layer = layers.get(undilated(spec), weights)
        for reads, gives in phases(spec, sizes):
            out[gives] = evaluate(layer, slab[:, *reads])
    else:
        # Where an axis is whole MLX itself pads it: it copies the slab anyway.
        outputs = spec.output_shape(x.shape)[1:4]
        d, h, w = (
            None if last - first + 1 == size else (first, last)
            for (first, last), size in zip(box, outputs, strict=True)
        )
        cut, slab = cut_slab(spec, x, (d, h, w))
        out[...] = evaluate(layers.get(cut, weights), slab)


def gradient_box(
    layers: Layers, spec: ConvSpec, sizes: Triple, weights: Weights, factors: Floats | None = None
) -> Floats:
    """MLX's gradient of the sum of a box of outputs with respect to the slab that it reads, its padding included.

    Args:
        layers: where layers are kept.
        spec: the layer.
        sizes: outputs of the box along D, H, W.
        weights: of the layer.
        factors: (d, h, w, O), what each output is multiplied with before they are summed; None for ones.

    Returns:
        (d, h, w, C) float32.
    """
    import mlx.core as mx

    layer = layers.get(replace(spec, padding=(0, 0, 0)), weights)
    by = 1 if factors is None else mx.array(factors[None])
    gradient = mx.grad(lambda x: (layer(x) * by).sum())(mx.zeros((1, *gradient_slab(spec, sizes), spec.in_channels)))
    mx.eval(gradient)
    reached = (axis.window(0, size - 1) for axis, size in zip(spec.axes, sizes, strict=True))
    found: Floats = np.array(gradient)[0][tuple(slice(last - first + 1) for first, last in reached)]
    return found


def raw_times(spec: ConvSpec, x: Floats, weights: Weights, repeats: int) -> list[float]:
    """Milliseconds of MLX's own layer on the whole input at once, each evaluated, after one warm-up."""
    import mlx.core as mx

    layer, array = _layer(spec, weights), mx.array(x)
    mx.eval(array)
    return times_ms(lambda: mx.eval(layer(array)), repeats)


def times_ms(call: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each call after one warm-up; fewer calls where they are slow, and then the first counts, too."""
    times: list[float] = []
    while len(times) <= repeats and sum(times) < ENOUGH_MS:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times[1:] or times


def memory_bytes() -> dict[str, int]:
    """The most that MLX held at a time, what it holds now, and what of it are buffers kept for the next tile."""
    import mlx.core as mx

    return {"peak": mx.get_peak_memory(), "active": mx.get_active_memory(), "cached": mx.get_cache_memory()}


def initial_weights(spec: ConvSpec, seed: int) -> tuple[Floats, Floats | None]:
    """Weight and bias (or None) of a fresh layer, as ``mx.random.seed(seed); nn.Conv3d(...)`` gives them."""
    import mlx.core as mx
    import mlx.nn as nn

    # The random key is this thread's own; nothing of another request can come between.
    mx.random.seed(seed)
    layer = nn.Conv3d(**spec.to_dict())  # type: ignore[attr-defined]
    mx.eval(layer.parameters())
    return np.array(layer["weight"]), np.array(layer["bias"]) if "bias" in layer else None


def _layer(spec: ConvSpec, weights: Weights) -> Any:
    import mlx.core as mx
    import mlx.nn as nn

    layer = nn.Conv3d(**{**spec.to_dict(), "bias": weights.bias is not None})  # type: ignore[attr-defined]
    given = {"weight": weights.weight}
    if weights.bias is not None:
        given["bias"] = np.frombuffer(weights.bias, np.float32)
    for name, array in given.items():
        # Assignment takes any shape without a word.
        if layer[name].shape != array.shape:
            raise EngineError(name, f"shape {array.shape} is not {layer[name].shape}", "use the layer's own shape")
        layer[name] = mx.array(array).astype(getattr(mx, weights.dtype))
    mx.eval(layer.parameters())
    return layer
