"""How much of its window an output answers to: by hand, and on MLX's own gradients."""

from __future__ import annotations

import numpy as np
import pytest

from conv3d_core import ConvSpec
from conv3d_core.effective_field import THRESHOLD, effective_field, gradient_macs, strength_of
from conv3d_core.engine import Engine
from conv3d_core.kernels import kernel_weights
from conv3d_core.receptive_field import receptive_field


def row(*numbers: float) -> np.ndarray:
    return np.array([[numbers]], np.float32)


def test_the_share_by_hand() -> None:
    assert pytest.approx(0.0455) == THRESHOLD
    found = effective_field([row(0.09, -0.0, 2, 0.1, 0.09)], ((0, 0), (0, 0), (-1, 4)), (1, 1, 5))
    # 4.55 % of 2 is 0.091.
    assert found.above[0, 0].tolist() == [False, False, True, True, False]
    assert (found.count, found.voxels, found.share, found.extent) == (2, 5, 0.4, (1, 1, 2))
    assert found.inside == ((0, 0), (0, 0), (0, 4))
    assert found.describe() == (
        "2 of the window's 5 voxels (40 %) have a gradient above 4.55 % of the largest, as many as a cube of 1.26 "
        "voxels; they span 1 x 1 x 2."
    )


def test_several_draws_are_averaged_before_they_are_held_against_the_largest() -> None:
    found = effective_field([row(1, 0, 0), row(0, 0.5, 0)], ((0, 0), (0, 0), (0, 2)), (1, 1, 3))
    assert found.strength[0, 0].tolist() == [1, 0.5, 0]


def test_channels_add_up_without_their_signs() -> None:
    gradient = np.array([[[[1, -2], [0, 0.5]]]], np.float32)
    assert strength_of(gradient).tolist() == [[[3, 0.5]]]


def test_where_there_is_no_gradient() -> None:
    nothing = effective_field([np.zeros((0, 0, 0), np.float32)], ((-3, -1), (0, 2), (0, 2)), (9, 9, 9))
    assert (nothing.count, nothing.share, nothing.extent) == (0, 0, (0, 0, 0))
    assert nothing.describe() == "The whole window lies in the padding: no voxel has a gradient."
    zeros = effective_field([row(0, 0)], ((0, 0), (0, 0), (0, 1)), (1, 1, 2))
    assert zeros.describe() == ("The gradient is 0 on all 2 voxels of the window: with these weights none matters.")


def test_of_smooth_layers_it_is_a_shrinking_share_of_the_window() -> None:
    # A row of Pascal's triangle of 2n + 1 numbers: its width grows as the root of n (Luo et al. 2016, section 2.2).
    spec = ConvSpec(1, 1, 3, padding=1)
    weight = kernel_weights("gaussian", spec)[0]
    shares = []
    with Engine(device="cpu") as engine:
        for layers in (1, 4, 8):
            specs, size = [spec] * layers, (33, 33, 33)
            gradient = engine.stack_gradient(specs, (1, *size, 1), (16, 16, 16), weights=[weight] * layers)
            window = receptive_field(specs).window((16, 16, 16))
            found = effective_field([strength_of(gradient.values)], window, size)
            assert found.inside == gradient.window
            assert found.strength[layers, layers, layers] == 1
            shares.append(found.share)
    assert shares[0] == 1
    assert shares[0] > shares[1] > shares[2] > 0.05


def test_work_by_hand() -> None:
    # One output reaches 27 outputs of the layer before, and those 125 voxels.
    assert gradient_macs([ConvSpec(1, 1, 3)] * 2, (1, 9, 9, 9, 1)) == 27 * 27 + 125 * 27
    layers = [ConvSpec(1, 4, 3, padding=1), ConvSpec(4, 2, 3)]
    assert gradient_macs(layers, (1, 3, 3, 3, 1)) == 27 * 27 * 4 + 125 * 27 * 4, "one channel of the last layer"
    layers = [ConvSpec(1, 1, 1), ConvSpec(1, 1, 3, padding=9)]
    assert gradient_macs(layers, (1, 2, 2, 2, 1)) == 27 * 27 + 8, "no more voxels than there are"
