"""What MLX does today with a layer or an input that is wrong, and what we say instead, before MLX is reached.

When MLX changes, exactly these fail: then look whether our check can go. FACTS.md (MLX 2-6) lists the traps. Inputs of
another type or byte order are the engine's to convert and to refuse; here is only why it must.
"""

import os
import re
import subprocess
import sys
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.receptive_field import coverage
from conv3d_core.spec import Shape
from tests.mlx_contract.reference import correlation, mlx_shape, random_arrays, run

SHAPE: Shape = (1, 5, 5, 5, 1)
PAGE = "incompatible function arguments"  # the first words of some ten lines of signatures
UNFIT = "Spatial dimensions of input after padding cannot be smaller than weight spatial dimensions"


def call_mlx(**arguments: Any) -> Shape:
    """The shape that MLX announces for a layer with these arguments; nothing is evaluated."""
    return nn.Conv3d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 2, **arguments})(mx.zeros(SHAPE)).shape


def refusal(**arguments: Any) -> str:
    """What our SpecError says of the same arguments."""
    with pytest.raises(SpecError) as caught:
        ConvSpec(**{"in_channels": 1, "out_channels": 1, "kernel_size": 2, **arguments})
    return str(caught.value)


# --- it ends the process --------------------------------------------------------------------------------------------

PREAMBLE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import mlx.core as mx, mlx.nn as nn
mx.set_default_device(mx.cpu)
"""
in_a_child = pytest.mark.skipif(
    sys.platform != "linux" or mx.cuda.is_available(),
    reason="the child's memory can only be limited on Linux, without CUDA",
)


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Runs this in a process of its own that cannot take more than 4 GiB of addresses."""
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, timeout=60, check=False
    )


@in_a_child
def test_the_child_survives_a_right_layer() -> None:
    done = child("mx.eval(nn.Conv3d(1, 1, 3)(mx.zeros((1, 4, 4, 4, 1)))); print('alive')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


@in_a_child
def test_no_output_channels_end_the_process_without_an_exception() -> None:
    done = child("mx.eval(nn.Conv3d(1, 0, 3)(mx.zeros((1, 4, 4, 4, 1)))); print('alive')")
    assert done.returncode == 0
    assert "On entry to SGEMM parameter number 13 had an illegal value" in done.stdout + done.stderr
    assert "alive" not in done.stdout
    assert "Traceback" not in done.stderr


def test_no_output_channels_are_refused() -> None:
    assert refusal(out_channels=0) == "out_channels: 0 is below 1; use an integer >= 1."


@in_a_child
def test_a_failed_allocation_is_a_segmentation_fault() -> None:
    done = child(
        "y = nn.Conv3d(1, 1, 3, padding=1000)(mx.zeros((1, 4, 4, 4, 1))); print(y.shape, flush=True); mx.eval(y)"
    )
    assert done.stdout == "(1, 2002, 2002, 2002, 1)\n"
    assert done.returncode == -11


def test_giant_padding_is_refused() -> None:
    with pytest.raises(ShapeError) as caught:
        ConvSpec(1, 1, 3, padding=1000).output_shape((1, 4, 4, 4, 1))
    assert str(caught.value) == (
        "padding: the padded input 1*2004*2004*2004*1 = 8,048,096,064 elements is more than MLX can index;"
        " use a smaller padding or crop the input, to stay at or below 2,147,483,647."
    )


def test_giant_weights_are_made_without_a_word() -> None:
    layer = nn.Conv3d(1, 1, 1291)  # never evaluate this
    assert layer.weight.size > 2**31
    assert refusal(kernel_size=1291) == (
        "kernel_size: a weight of 1*1291*1291*1291*1 = 2,151,685,171 elements is more than MLX can index;"
        " keep the product at or below 2,147,483,647."
    )


def test_giant_outputs_are_announced_without_a_word() -> None:
    spec, shape = ConvSpec(1, 128, 1), (1, 256, 256, 256, 1)
    assert np.prod(mlx_shape(spec, shape), dtype=np.int64) == 2**31
    with pytest.raises(
        ShapeError, match=r"^out_channels: the output 1\*256\*256\*256\*128 = 2,147,483,648 elements is"
    ):
        spec.output_shape(shape)


# --- memory garbage -------------------------------------------------------------------------------------------------


def test_a_kernel_that_exceeds_its_input_by_less_than_the_stride_passes() -> None:
    spec, shape = ConvSpec(1, 1, 3, stride=2), (1, 2, 2, 2, 1)
    assert mlx_shape(spec, shape) == (1, 1, 1, 1, 1)  # garbage or SIGSEGV when evaluated: 14, -4.7e10, -6e21
    with pytest.raises(ShapeError) as caught:
        spec.output_shape(shape)
    assert str(caught.value) == (
        "depth: effective kernel 3 does not fit the padded input of 2 (2 + 2*0);"
        " use depth >= 3, padding >= 1 or kernel_size <= 2."
    )


# --- on CUDA --------------------------------------------------------------------------------------------------------

on_cuda = pytest.mark.skipif(not mx.cuda.is_available(), reason="MLX's CUDA build alone does this")


@on_cuda
def test_a_gradient_can_be_that_of_another_stride() -> None:
    mx.set_default_device(mx.gpu)
    right = []
    for stride in (1, 2, 3, 2, 1, 3):
        spec, sizes = ConvSpec(1, 1, 3, stride=stride, bias=False), (9 * stride + 3,) * 3  # ten outputs along each axis
        layer = nn.Conv3d(1, 1, 3, stride=stride, bias=False)
        layer.weight = mx.ones(spec.weight_shape)
        gradient = np.array(mx.grad(lambda x, layer=layer: layer(x).sum())(mx.zeros((1, *sizes, 1))))
        d, h, w = coverage([spec], sizes).along
        right.append(np.array_equal(gradient[0, ..., 0], np.einsum("i,j,k->ijk", d, h, w)))
    assert not all(right)


@on_cuda
@pytest.mark.parametrize("check", ["0", "1"])
def test_the_257th_shape_is_refused_unless_it_is_told_not_to(check: str) -> None:
    code = """
import mlx.core as mx
for n in range(1, 300):
    mx.eval(mx.conv3d(mx.ones((1, n, 1, 1, 1)), mx.ones((1, 1, 1, 1, 1))))
"""
    environment = {**os.environ, "MLX_ENABLE_CACHE_THRASHING_CHECK": check}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert ("Cache thrashing is happening" in done.stderr) == (done.returncode != 0) == (check == "1")


# --- accepted without a word ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["kernel_size", "stride", "dilation", "in_channels", "out_channels"])
def test_true_counts_as_one(field: str) -> None:
    assert call_mlx(**{field: True}) == call_mlx(**{field: 1})
    assert refusal(**{field: True}) == f"{field}: True is a truth value; use an integer >= 1."


def test_negative_padding_crops() -> None:
    x = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4, 1)
    layer = nn.Conv3d(1, 1, 1, padding=-1, bias=False)
    layer.weight = mx.ones((1, 1, 1, 1, 1))
    np.testing.assert_array_equal(np.array(layer(mx.array(x))), x[:, 1:3, 1:3, 1:3])
    assert refusal(padding=-1) == "padding: -1 is below 0; use an integer >= 0."


def test_same_is_taken_and_fails_at_the_call() -> None:
    layer = nn.Conv3d(1, 1, 3, padding="same")
    with pytest.raises(TypeError, match=PAGE):
        layer(mx.zeros(SHAPE))
    assert refusal(padding="same") == (
        "padding: 'same' is text; use an integer >= 0 or three (D, H, W);"
        " ConvSpec(...).same_padding() gives the numbers for 'same'."
    )


def test_bias_is_any_truth() -> None:
    assert "bias" in nn.Conv3d(1, 1, 1, bias="no")
    assert refusal(bias="no") == "bias: 'no' is not Python's True or False; use True or False."


def test_channels_first_cannot_be_told_where_sizes_agree() -> None:
    spec, shape = ConvSpec(3, 4, 2), (1, 3, 9, 8, 3)
    assert spec.output_shape(shape) == mlx_shape(spec, shape) == (1, 2, 8, 7, 4)


def test_channels_first_is_told_where_they_do_not() -> None:
    spec, shape = ConvSpec(3, 4, 2), (1, 3, 9, 8, 7)
    with pytest.raises(ValueError, match=r"Expect the input channels in the input and weight array to match"):
        mlx_shape(spec, shape)
    with pytest.raises(ShapeError) as caught:
        spec.output_shape(shape)
    assert str(caught.value) == (
        "in_channels: the layer takes 3 and the input (1, 3, 9, 8, 7) has 7;"
        " use in_channels=7, or an input whose last axis is 3;"
        " (N, C, D, H, W) is PyTorch's order: move axis 1 last to get (1, 9, 8, 7, 3)."
    )


def test_weights_in_pytorch_order_cannot_be_told_where_sizes_agree() -> None:
    spec, shape = ConvSpec(3, 3, 3, bias=False), (1, 3, 3, 3, 3)
    x, weight, _ = random_arrays(spec, shape, seed=0)
    torch_order = weight.transpose(0, 4, 1, 2, 3)
    assert torch_order.shape == weight.shape
    right, wrong = run(spec, x, weight), run(spec, x, np.ascontiguousarray(torch_order))
    assert not np.allclose(right, wrong)
    np.testing.assert_allclose(right, correlation(x, torch_order.transpose(0, 2, 3, 4, 1), None, spec), rtol=1e-4)


def test_not_a_number_and_infinity_go_through() -> None:
    x = np.array([1, np.nan, 2, np.inf], np.float32).reshape(1, 1, 1, 4, 1)
    spec = ConvSpec(1, 1, 1, bias=False)
    np.testing.assert_array_equal(run(spec, x, np.ones(spec.weight_shape, np.float32)), x)


def test_weights_of_any_shape_are_taken() -> None:
    layer = nn.Conv3d(1, 1, 3)
    layer.update({"weight": mx.zeros((2, 2))})
    assert layer.weight.shape == (2, 2)
    layer = nn.Conv3d(1, 1, 3)
    layer.load_weights([("weight", mx.zeros((2, 2)))], strict=False)
    assert layer.weight.shape == (2, 2)
    with pytest.raises(ValueError, match="Expected shape"):
        nn.Conv3d(1, 1, 3).load_weights([("weight", mx.zeros((2, 2))), ("bias", mx.zeros((1,)))])


# --- messages that do not help --------------------------------------------------------------------------------------

NUMBERS = "use one integer >= 1 or three (D, H, W)."
BELOW = "use an integer >= 1."
UNHELPFUL = [
    ({"kernel_size": (3, 3)}, IndexError, "tuple index out of range", f"kernel_size: (3, 3) has 2 numbers; {NUMBERS}"),
    (
        {"kernel_size": (3, 3, 3, 3)},
        ValueError,
        "Invalid weight array with 6 dimensions for 3D convolution",
        f"kernel_size: (3, 3, 3, 3) has 4 numbers; {NUMBERS}",
    ),
    ({"kernel_size": 0}, ZeroDivisionError, "division by zero", f"kernel_size: 0 is below 1; {BELOW}"),
    ({"kernel_size": (3, 0, 3)}, ZeroDivisionError, "division by zero", f"kernel_size: 0 along H is below 1; {BELOW}"),
    ({"kernel_size": -1}, ValueError, "math domain error", f"kernel_size: -1 is below 1; {BELOW}"),
    (
        {"kernel_size": 3.0},
        TypeError,
        "'float' object is not subscriptable",
        f"kernel_size: 3.0 is not an integer; {BELOW}",
    ),
    (
        {"kernel_size": "3"},
        IndexError,
        "string index out of range",
        "kernel_size: '3' is text; use an integer >= 1 or three (D, H, W).",
    ),
    ({"in_channels": 0}, ZeroDivisionError, "division by zero", f"in_channels: 0 is below 1; {BELOW}"),
    ({"in_channels": -1}, ValueError, "math domain error", f"in_channels: -1 is below 1; {BELOW}"),
    ({"out_channels": -1}, ValueError, "Negative dimensions not allowed", f"out_channels: -1 is below 1; {BELOW}"),
    ({"stride": 0}, ValueError, "Stride sizes must be positive", f"stride: 0 is below 1; {BELOW}"),
    ({"stride": (1, 2)}, TypeError, PAGE, f"stride: (1, 2) has 2 numbers; {NUMBERS}"),
    ({"stride": 1.5}, TypeError, PAGE, f"stride: 1.5 is not an integer; {BELOW}"),
    ({"padding": (1, 2)}, TypeError, PAGE, "padding: (1, 2) has 2 numbers; use one integer >= 0 or three (D, H, W)."),
    ({"dilation": 0}, ValueError, "Kernel dilation sizes must be positive", f"dilation: 0 is below 1; {BELOW}"),
    ({"dilation": (2, 2)}, TypeError, PAGE, f"dilation: (2, 2) has 2 numbers; {NUMBERS}"),
]


@pytest.mark.parametrize(
    ("arguments", "kind", "theirs", "ours"), UNHELPFUL, ids=[" ".join(map(str, *a.items())) for a, *_ in UNHELPFUL]
)
def test_a_wrong_parameter(arguments: dict[str, Any], kind: type[Exception], theirs: str, ours: str) -> None:
    with pytest.raises(kind, match=re.escape(theirs)):
        call_mlx(**arguments)
    assert refusal(**arguments) == ours


def test_a_numpy_integer_is_a_number_to_us() -> None:
    with pytest.raises(IndexError, match="invalid index to scalar variable"):
        nn.Conv3d(1, 1, np.int64(3))
    spec = ConvSpec(1, 1, np.int64(3))
    assert mlx_shape(spec, SHAPE) == spec.output_shape(SHAPE) == (1, 3, 3, 3, 1)


def test_a_volume_without_batch_is_called_a_problem_of_the_weight() -> None:
    spec = ConvSpec(1, 1, 3)
    with pytest.raises(ValueError, match=r"Invalid weight array with 5 dimensions for 2D convolution"):
        mlx_shape(spec, (5, 5, 5, 1))  # type: ignore[arg-type]
    with pytest.raises(ShapeError) as caught:
        spec.output_shape((5, 5, 5, 1))
    assert str(caught.value) == (
        "input: (5, 5, 5, 1) has 4 axes (is the batch axis missing?); use five sizes (N, D, H, W, C)."
    )


def test_a_dilated_kernel_that_does_not_fit_is_shown_without_its_dilation() -> None:
    spec = ConvSpec(1, 1, 3, dilation=4)
    with pytest.raises(ValueError, match=UNFIT) as theirs:
        mlx_shape(spec, SHAPE)
    assert "weight of shape (1,3,3,3,1)" in str(theirs.value)
    assert "dilation" not in str(theirs.value)
    with pytest.raises(ShapeError) as ours:
        spec.output_shape(SHAPE)
    assert str(ours.value) == (
        "depth: effective kernel 9 does not fit the padded input of 5 (5 + 2*0);"
        " use depth >= 9, padding >= 2 or dilation <= 2."
    )


# --- inputs that the engine must convert or refuse ------------------------------------------------------------------


def test_a_numpy_input_is_refused_with_a_page() -> None:
    with pytest.raises(TypeError, match=PAGE):
        nn.Conv3d(1, 1, 3)(np.zeros(SHAPE, np.float32))


@pytest.mark.parametrize("dtype", [mx.int32, mx.uint8, mx.bool_])
def test_integers_are_refused(dtype: mx.Dtype) -> None:
    with pytest.raises(ValueError, match="Convolution currently only supports floating point types"):
        nn.Conv3d(1, 1, 3)(mx.zeros(SHAPE, dtype))


def test_half_precision_is_promoted() -> None:
    assert nn.Conv3d(1, 1, 3)(mx.zeros(SHAPE, mx.float16)).dtype == mx.float32


def test_double_precision_is_a_label_only() -> None:
    x = mx.array(np.full(SHAPE, 1 + 1e-12), dtype=mx.float64)
    layer = nn.Conv3d(1, 1, 1, bias=False)
    layer.weight = mx.ones((1, 1, 1, 1, 1))
    out = layer(x)
    assert out.dtype == mx.float64
    assert np.array(x)[0, 0, 0, 0, 0] != 1
    assert (np.array(out) == 1).all()  # computed in float32
    dilated = nn.Conv3d(1, 1, 2, dilation=2)(x)
    with pytest.raises(ValueError, match="unsupported data type"):
        mx.eval(dilated)


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.zeros((2, 2), np.float32)[::-1], ValueError, "negative strides"),
        (np.zeros((2, 2), ">f4"), RuntimeError, "std::bad_cast"),
        pytest.param(
            np.zeros((2, 2), np.longdouble),
            RuntimeError,
            "std::bad_cast",
            marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here"),
        ),
    ],
    ids=["negative strides", "big-endian", "long double"],
)
def test_arrays_that_mlx_cannot_take_over(array: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mx.array(array)


def test_numpy_doubles_become_singles() -> None:
    assert mx.array(np.zeros(3)).dtype == mx.float32
