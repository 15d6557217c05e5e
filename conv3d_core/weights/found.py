"""The convolutions in a checkpoint, and in which of the two layouts they lie.

A file does not have to say whose it is, and where all sizes agree nothing can tell the layouts of one weight apart. So
all convolutions of a file speak together: kernels are small and alike along the axes, the channels that one layer puts
out are those that the next takes in, and some names are PyTorch's only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.chain.layer import NAMES, Framework
from conv3d_core.spec import Shape
from conv3d_core.volumes.members import natural
from conv3d_core.weights.checkpoint import Array, Checkpoint

LAYOUTS: tuple[Framework, Framework] = ("mlx", "torch")
# A number that PyTorch's norms alone keep.
BATCHES = "num_batches_tracked"
# The largest kernels in use have some 31 taps along an axis; channels come in hundreds.
LARGEST_KERNEL = 31
_TOLD, _JOINED, _LARGE, _UNEVEN = 8, 3, 4, 1


class Reading(NamedTuple):
    """A weight read in one of the layouts.

    Attributes:
        layout: "mlx" is (O, KD, KH, KW, I), "torch" is (O, I, KD, KH, KW).
        shape: (O, KD, KH, KW, I), whichever it is.
        plausible: whether it can be a convolution that somebody made.
        why: what speaks for it or against it.
    """

    layout: Framework
    shape: Shape
    plausible: bool
    why: tuple[str, ...]

    @property
    def kernel_size(self) -> tuple[int, int, int]:
        """Taps along D, H, W."""
        return self.shape[1:4]


@dataclass(frozen=True, slots=True, eq=False)
class Conv3dWeights:
    """One convolution of a checkpoint.

    Attributes:
        name: of the layer in the file.
        key: of its weight.
        bias_key: of its bias, or None.
        stored: float32, five axes as they lie in the file.
        bias: float32 (O,), or None.
        layout: the likelier reading.
        ambiguous: whether nothing tells the two readings apart, or all sizes agree in both.
        readings: both, MLX's first.
        digest: of the numbers.
    """

    name: str
    key: str
    bias_key: str | None
    stored: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    layout: Framework
    ambiguous: bool
    readings: tuple[Reading, Reading]
    digest: str

    def weight(self, layout: Framework | None = None) -> NDArray[np.float32]:
        """The weight in MLX's layout (O, KD, KH, KW, I), read in the given layout or in the likelier."""
        return self.stored.transpose(0, 2, 3, 4, 1) if (layout or self.layout) == "torch" else self.stored


def conv3d_layers(checkpoint: Checkpoint) -> tuple[Conv3dWeights, ...]:
    """The weights of five axes in natural order of their names, each with both readings.

    A transposed convolution, where its bias tells it, is left out.

    >>> (layer,) = conv3d_layers(Checkpoint({"conv.weight": np.zeros((16, 3, 3, 3, 1), np.float32)}))
    >>> layer.name, layer.layout, layer.weight().shape
    ('conv', 'mlx', (16, 3, 3, 3, 1))
    """
    keys = [key for key, array in checkpoint.arrays.items() if _is_weight(array) and not _transposed(checkpoint, key)]
    keys.sort(key=natural)
    told = _told(checkpoint)
    scores = {"mlx": 0, "torch": 0}
    readings: dict[str, dict[Framework, Reading]] = {key: {} for key in keys}
    for layout in LAYOUTS:
        shapes = [_shape(checkpoint.arrays[key], layout) for key in keys]
        if layout in told:
            scores[layout] += _TOLD
        for index, key in enumerate(keys):
            reading, score = _judge(layout, shapes, index, told.get(layout))
            readings[key][layout] = reading
            scores[layout] += score
    likelier: Framework = "mlx" if scores["mlx"] > scores["torch"] else "torch"
    undecided = scores["mlx"] == scores["torch"]
    return tuple(_found(checkpoint, key, likelier, undecided, readings[key]) for key in keys)


def _found(
    checkpoint: Checkpoint, key: str, layout: Framework, undecided: bool, readings: dict[Framework, Reading]
) -> Conv3dWeights:
    stored = checkpoint.arrays[key].astype(np.float32, copy=False)
    bias_key = _bias_key(checkpoint, key)
    bias = None if bias_key is None else checkpoint.arrays[bias_key].astype(np.float32, copy=False)
    digest = hashlib.blake2b(stored.tobytes(), digest_size=16)
    if bias is not None:
        digest.update(bias.tobytes())
    return Conv3dWeights(
        key.removesuffix(".weight"),
        key,
        bias_key,
        stored,
        bias,
        layout,
        undecided or len(set(stored.shape[1:])) == 1,
        (readings["mlx"], readings["torch"]),
        digest.hexdigest(),
    )


def _judge(layout: Framework, shapes: Sequence[Shape], index: int, told: str | None) -> tuple[Reading, int]:
    """One weight's reading, and how much speaks for it; what speaks against it counts below zero."""
    shape = shapes[index]
    kernel = shape[1:4]
    why = [told] if told else []
    score = 0
    if max(kernel) > LARGEST_KERNEL:
        why.append(f"a kernel of {_times(kernel)} would be very large")
        score -= _LARGE
    if len(set(kernel)) > 1:
        why.append(f"its kernel of {_times(kernel)} would be uneven")
        score -= _UNEVEN
    else:
        why.append(f"its kernel would be {_times(kernel)}")
    before = shapes[index - 1] if index else None
    if before and before[0] == shape[4]:
        why.append(f"it would take the {shape[4]} channels that the layer before it puts out")
        score += _JOINED
    elif before:
        why.append(f"it would take {shape[4]} channels, and the layer before it puts {before[0]} out")
    return Reading(layout, shape, max(kernel) <= LARGEST_KERNEL, tuple(why)), score


def _told(checkpoint: Checkpoint) -> dict[Framework, str]:
    """What the file itself says of its layout."""
    if checkpoint.framework:
        return {checkpoint.framework: f"the file says that it is {NAMES[checkpoint.framework]}'s"}
    if any(key.endswith(BATCHES) for key in checkpoint.arrays):
        return {"torch": f"{BATCHES} is a name that only PyTorch has"}
    return {}


def _is_weight(array: Array) -> bool:
    return array.ndim == 5 and array.dtype.kind == "f" and array.size > 0


def _bias_key(checkpoint: Checkpoint, key: str) -> str | None:
    bias_key = f"{key.removesuffix('weight')}bias"
    bias = checkpoint.arrays.get(bias_key)
    fits = bias is not None and bias_key != key and bias.shape == checkpoint.arrays[key].shape[:1]
    return bias_key if fits else None


def _transposed(checkpoint: Checkpoint, key: str) -> bool:
    """PyTorch's ConvTranspose3d has (I, O, KD, KH, KW) and a bias for each O."""
    bias = checkpoint.arrays.get(f"{key.removesuffix('weight')}bias") if key.endswith("weight") else None
    shape = checkpoint.arrays[key].shape
    return bias is not None and bias.shape != shape[:1] and bias.shape == shape[1:2]


def _shape(array: Array, layout: Framework) -> Shape:
    first, second, third, fourth, fifth = array.shape
    return (first, third, fourth, fifth, second) if layout == "torch" else (first, second, third, fourth, fifth)


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
