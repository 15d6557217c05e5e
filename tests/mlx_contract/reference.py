"""What the tests hold MLX against: the definition of the layer in NumPy, and MLX's own layer for a spec."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from conv3d_core import ConvSpec
from conv3d_core.spec import Shape


def layer_of(spec: ConvSpec) -> nn.Conv3d:
    """MLX's layer. Seeded, or the unevaluated random keys of thousands of layers would hang on each other."""
    mx.random.seed(0)
    return nn.Conv3d(**spec.to_dict())


def mlx_shape(spec: ConvSpec, shape: Shape) -> Shape:
    """The shape that MLX announces; nothing is evaluated."""
    return layer_of(spec)(mx.zeros(shape)).shape


def correlation(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32] | None, spec: ConvSpec
) -> NDArray[np.float64]:
    """The definition, in float64: every window of the padded input times the kernel as it stands, not flipped."""
    padded = np.pad(x.astype(np.float64), ((0, 0), *((p, p) for p in spec.padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spec.effective_kernel_size, axis=(1, 2, 3))
    (sd, sh, sw), (dd, dh, dw) = spec.stride, spec.dilation
    taps = windows[:, ::sd, ::sh, ::sw, :, ::dd, ::dh, ::dw]
    out = np.einsum("ndhwcijk,oijkc->ndhwo", taps, weight.astype(np.float64))
    return out if bias is None else out + bias


def random_arrays(spec: ConvSpec, shape: Shape, seed: int) -> tuple[NDArray[np.float32], ...]:
    """Input, weight and bias from a normal distribution."""
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=size).astype(np.float32) for size in (shape, spec.weight_shape, spec.out_channels))


def run(
    spec: ConvSpec, x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """MLX's layer with these weights on this input, evaluated here and now, as a copy."""
    layer = layer_of(spec)
    layer.weight = mx.array(weight)
    if spec.bias:
        layer.bias = mx.zeros(spec.out_channels) if bias is None else mx.array(bias)
    return np.array(layer(mx.array(x)))
