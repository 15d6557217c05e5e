"""A result back out as NIfTI, in its place in the world."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np

from conv3d_core.axis import Axis
from conv3d_core.errors import VolumeError
from conv3d_core.volumes.volume import DEFAULT_AFFINE, Float32, Float64

MOST_NIFTI_1 = 2**15 - 1


def write_nifti(array: Float32, affine: Float64 | None = None) -> bytes:
    """A .nii.gz of the array, which `read_volume` and every viewer put where ``affine`` says.

    The spacing in its header is that of the affine. One channel makes a 3-D image, more a 4-D one. The same array
    gives the same bytes.

    Args:
        array: (D, H, W, C) float32.
        affine: 4x4, (d, h, w, 1) -> mm in RAS+ world, as `Volume.affine`; 1 mm per voxel without.

    Raises:
        VolumeError: an array without four sizes >= 1.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    if np.ndim(array) != 4 or 0 in np.shape(array):
        problem = f"{np.shape(array)} is not a volume"
        raise VolumeError("array", problem, "use four sizes (D, H, W, C), each >= 1", value=np.shape(array))
    values = np.asarray(array, dtype=np.float32).transpose(2, 1, 0, 3)
    if values.shape[3] == 1:
        values = values[..., 0]
    world = (DEFAULT_AFFINE if affine is None else np.asarray(affine, dtype=np.float64))[:, [2, 1, 0, 3]]
    # NIfTI-1 counts in 16 bits. nibabel is typed in part only.
    kind: Any = Nifti1Image if max(values.shape) <= MOST_NIFTI_1 else Nifti2Image
    image = kind(values, world)
    image.header.set_xyzt_units("mm")
    image.set_qform(world, code=0)
    image.set_sform(world, code=2)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def output_affine(affine: Float64, axes: Sequence[Axis]) -> Float64:
    """The affine of a layer's output: output o lies where the middle of its window is.

    Along each axis that is input index ``o * stride - padding + dilation * (kernel_size - 1) / 2``.

    Args:
        affine: 4x4, of the input.
        axes: the layer's D, H and W.

    Returns:
        4x4 float64, (d, h, w, 1) of the output -> mm.

    >>> output_affine(np.eye(4), [Axis(3, stride=2, padding=1)] * 3)[0].tolist()
    [2.0, 0.0, 0.0, 0.0]
    """
    grid = np.eye(4)
    for index, axis in enumerate(axes):
        grid[index, index] = axis.stride
        grid[index, 3] = (axis.effective_kernel_size - 1) / 2 - axis.padding
    return np.asarray(affine, dtype=np.float64) @ grid
