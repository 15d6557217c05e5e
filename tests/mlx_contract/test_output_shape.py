"""`ConvSpec.output_shape` is MLX's own for every layer we accept, and we refuse exactly the others.

The others are those at which MLX raises, and one documented hole: it divides towards zero, so that a kernel which
exceeds its padded input by less than the stride passes as one output, and reads foreign memory.
"""

import itertools
from collections import Counter
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.spec import Shape
from tests.core.strategies import layers_and_inputs, specs
from tests.mlx_contract.reference import correlation, mlx_shape, random_arrays, run

RAISES = "raises"
UNFIT = "Spatial dimensions of input after padding cannot be smaller than weight spatial dimensions"


class Verdict(NamedTuple):
    ours: Shape | None  # None: refused
    mlx: Shape | str
    in_the_hole: bool


def judge(spec: ConvSpec, shape: Shape) -> Verdict:
    spans = [
        size + 2 * padding - (dilation * (kernel - 1) + 1)
        for size, kernel, padding, dilation in zip(
            shape[1:4], spec.kernel_size, spec.padding, spec.dilation, strict=True
        )
    ]
    too_small = [(span, stride) for span, stride in zip(spans, spec.stride, strict=True) if span < 0]
    in_the_hole = bool(too_small) and all(-stride < span for span, stride in too_small)
    try:
        ours = spec.output_shape(shape)
    except ShapeError:
        ours = None
    try:
        theirs: Shape | str = mlx_shape(spec, shape)
    except ValueError as error:
        theirs = RAISES if UNFIT in str(error) else repr(error)
    return Verdict(ours, theirs, in_the_hole)


def agree(spec: ConvSpec, shape: Shape) -> bool:
    """Whether both accept with the same shape, or both refuse, or we refuse what is in the hole."""
    ours, mlx, in_the_hole = judge(spec, shape)
    if ours is not None:
        return ours == mlx and not in_the_hole
    return (mlx != RAISES and all(size >= 1 for size in mlx)) if in_the_hole else mlx == RAISES


@given(layers_and_inputs())
def test_mlx_gives_our_shape_to_every_layer_we_accept(layer: tuple[ConvSpec, Shape]) -> None:
    spec, shape = layer
    assert spec.output_shape(shape) == mlx_shape(spec, shape)


@given(specs(kernel=5, padding=2), st.integers(1, 2), st.tuples(*[st.integers(1, 9)] * 3))
def test_we_refuse_exactly_the_others(spec: ConvSpec, batch: int, sizes: tuple[int, int, int]) -> None:
    assert agree(spec, (batch, *sizes, spec.in_channels)), judge(spec, (batch, *sizes, spec.in_channels))


# What the two other axes do meanwhile - (size, kernel_size, stride, padding, dilation) - and how the sweep then ends:
# accepted, refused by both, in the hole. A sweep that met no refusal and no hole would prove nothing.
FITTING = {"accepted": 468, "refused": 134, "hole": 46}
SWEEPS = [
    pytest.param(((1, 1, 1, 0, 1), (5, 3, 2, 1, 2)), FITTING, id="others fit tightly"),
    pytest.param(((6, 2, 3, 0, 1), (3, 1, 1, 2, 3)), FITTING, id="others fit loosely"),
    pytest.param(((6, 2, 3, 0, 1), (2, 3, 2, 0, 1)), {"refused": 134, "hole": 514}, id="another is in the hole"),
    pytest.param(((6, 2, 3, 0, 1), (1, 3, 2, 0, 1)), {"refused": 648}, id="another does not fit"),
]


@pytest.mark.parametrize("axis", [0, 1, 2], ids="DHW")
@pytest.mark.parametrize(("others", "expected"), SWEEPS)
def test_every_small_layer_along_one_axis(
    axis: int, others: tuple[tuple[int, ...], ...], expected: dict[str, int]
) -> None:
    counts: Counter[str] = Counter()
    for one in itertools.product(range(1, 7), range(1, 5), range(1, 4), range(3), range(1, 4)):
        three = [*others[:axis], one, *others[axis:]]
        sizes, kernel_size, stride, padding, dilation = zip(*three, strict=True)
        spec, shape = ConvSpec(1, 2, kernel_size, stride, padding, dilation), (1, *sizes, 1)
        verdict = judge(spec, shape)
        assert agree(spec, shape), (spec, shape, verdict)
        counts["hole" if verdict.in_the_hole else "refused" if verdict.ours is None else "accepted"] += 1
    assert counts == expected


@settings(max_examples=60)
@given(layers_and_inputs(kernel=3), st.integers(0, 2**32 - 1))
def test_accepted_layers_compute_what_the_definition_says(layer: tuple[ConvSpec, Shape], seed: int) -> None:
    spec, shape = layer
    x, weight, bias = random_arrays(spec, shape, seed)
    out = run(spec, x, weight, bias)
    assert out.shape == spec.output_shape(shape)
    np.testing.assert_allclose(out, correlation(x, weight, bias if spec.bias else None, spec), rtol=1e-4, atol=1e-4)


# --- where we are stricter on purpose -------------------------------------------------------------------------------


def test_the_hole_is_as_wide_as_the_stride() -> None:
    spec, shape = ConvSpec(1, 1, 3, stride=2), (1, 2, 2, 2, 1)
    assert judge(spec, shape) == (None, (1, 1, 1, 1, 1), True)  # never evaluate this
    assert judge(ConvSpec(1, 1, 4, stride=2), shape) == (None, RAISES, False)
    assert judge(ConvSpec(1, 1, 3), shape) == (None, RAISES, False)


def test_mlx_takes_empty_inputs_and_we_do_not() -> None:
    spec = ConvSpec(1, 1, 3, padding=2)
    assert mlx_shape(spec, (0, 5, 5, 5, 1)) == (0, 7, 7, 7, 1)
    assert mlx_shape(spec, (1, 0, 5, 5, 1)) == (1, 2, 7, 7, 1)
    with pytest.raises(
        ShapeError, match=r"^input: size 0 along N in \(0, 5, 5, 5, 1\) is not an integer >= 1; use five"
    ):
        spec.output_shape((0, 5, 5, 5, 1))
    with pytest.raises(
        ShapeError, match=r"^input: size 0 along D in \(1, 0, 5, 5, 1\) is not an integer >= 1; use five"
    ):
        spec.output_shape((1, 0, 5, 5, 1))


def test_mlx_announces_outputs_that_it_cannot_index_and_we_do_not() -> None:
    spec = ConvSpec(1, 1, 1, padding=(2**15, 2**15, 0))
    assert mlx_shape(spec, (1, 6, 6, 6, 1)) == (1, 65542, 65542, 6, 1)  # 2.6e10 elements
    with pytest.raises(
        ShapeError, match=r"^padding: the padded input 1\*65542\*65542\*6\*1 = 25,774,522,584 elements is"
    ):
        spec.output_shape((1, 6, 6, 6, 1))
    with pytest.raises(OverflowError, match="outside the supported range"):
        nn.Conv3d(1, 1, 1, padding=2**30)(mx.zeros((1, 6, 6, 6, 1)))


def test_strides_and_dilations_up_to_the_limit_are_taken_by_both() -> None:
    spec, shape = ConvSpec(1, 1, 1, stride=2**31 - 1, dilation=2**31 - 1), (1, 3, 3, 3, 1)
    x, weight, _ = random_arrays(spec, shape, seed=0)
    assert spec.output_shape(shape) == mlx_shape(spec, shape) == (1, 1, 1, 1, 1)
    np.testing.assert_allclose(run(spec, x, weight)[0, 0, 0, 0], x[0, 0, 0, 0] * weight[0, 0, 0, 0], rtol=1e-6)
