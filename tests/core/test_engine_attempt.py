"""What MLX says of layers, asked in the worker: word for word what it says here, and nothing large is allocated."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import Conv3dError, ConvSpec, EngineError, ShapeError, SpecError
from conv3d_core.chain import KINDS, Layer
from conv3d_core.chain.layer import REQUIRED
from conv3d_core.engine import Attempt, Engine

SHAPE = (1, 5, 5, 5, 1)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu") as engine:
        yield engine


def conv(**arguments: Any) -> Layer:
    return Layer("Conv3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 2, **arguments})


def real(layer: Layer, x: mx.array) -> Any:
    """What MLX does with the layer here: its output, or the exception."""
    arguments: Any = layer.arguments
    try:
        if layer.kind == "Flatten":
            return mx.flatten(x, arguments["start_dim"], arguments["end_dim"])
        if layer.kind == "Transpose":
            return mx.transpose(x, arguments["axes"])
        if layer.kind == "ExpandDims":
            return mx.expand_dims(x, arguments["axis"])
        if layer.kind in ("Mean", "Max"):
            return (mx.mean if layer.kind == "Mean" else mx.max)(x, **arguments)
        return getattr(nn, layer.kind)(**arguments)(x)
    except (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError) as error:
        return error


def expected(layers: list[Layer], shape: tuple[int, ...], dtype: str = "float32") -> Attempt:
    x = mx.zeros(shape, getattr(mx, dtype))
    shapes = []
    for index, layer in enumerate(layers):
        x = real(layer, x)
        if isinstance(x, Exception):
            return Attempt(tuple(shapes), index, type(x).__name__, str(x))
        shapes.append(x.shape)
    return Attempt(tuple(shapes))


# FACTS.md, MLX 5: what a user meets.
TRAPS = [
    ({"kernel_size": (3, 3)}, "IndexError", "tuple index out of range"),
    ({"kernel_size": (3, 3, 3, 3)}, "ValueError", "6 dimensions for 3D convolution"),
    ({"kernel_size": 0}, "ZeroDivisionError", "division by zero"),
    ({"kernel_size": -1}, "ValueError", "math domain error"),
    ({"kernel_size": 3.0}, "TypeError", "'float' object is not subscriptable"),
    ({"kernel_size": "3"}, "IndexError", "string index out of range"),
    ({"kernel_size": None}, "TypeError", "'NoneType' object is not subscriptable"),
    ({"kernel_size": np.int64(3)}, "IndexError", "invalid index to scalar variable"),
    ({"kernel_size": np.float64(3)}, "IndexError", "invalid index to scalar variable"),
    ({"in_channels": 0}, "ZeroDivisionError", "division by zero"),
    ({"in_channels": -1}, "ValueError", "math domain error"),
    ({"in_channels": 1.5}, "TypeError", "incompatible function arguments"),
    ({"out_channels": -1}, "ValueError", "Negative dimensions not allowed"),
    ({"out_channels": 2**31}, "OverflowError", "outside the supported range"),
    ({"stride": 0}, "ValueError", "Stride sizes must be positive"),
    ({"stride": (1, 2)}, "TypeError", "incompatible function arguments"),
    ({"stride": 1.5}, "TypeError", "incompatible function arguments"),
    ({"padding": "same"}, "TypeError", "incompatible function arguments"),
    ({"padding": (1, 2)}, "TypeError", "incompatible function arguments"),
    ({"padding": 2**31 - 1}, "OverflowError", "outside the supported range"),
    ({"dilation": 0}, "ValueError", "Kernel dilation sizes must be positive"),
    ({"dilation": 9}, "ValueError", "weight of shape (1,2,2,2,1)"),
    ({"groups": 2}, "TypeError", "unexpected keyword argument 'groups'"),
    ({"padding_mode": "zeros"}, "TypeError", "unexpected keyword argument 'padding_mode'"),
    ({"in_channels": 3}, "ValueError", "Expect the input channels in the input and weight array to match"),
    ({"kernel_size": 2000}, "ValueError", "cannot be smaller than weight spatial dimensions"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"), TRAPS, ids=[" ".join(map(str, *a.items())) for a, *_ in TRAPS]
)
def test_a_wrong_convolution_gets_mlxs_own_words(
    engine: Engine, arguments: dict[str, Any], error: str, message: str
) -> None:
    found = engine.attempt([conv(**arguments)], SHAPE)
    assert found == expected([conv(**arguments)], SHAPE)
    assert (found.shapes, found.failed, found.error) == ((), 0, error)
    assert message in found.message


OTHERS = [
    (Layer("Conv3d", {"in_channels": 1}), SHAPE),
    (conv(), SHAPE[1:]),
    (conv(), (5, 1)),
    (conv(), (1, 0, 5, 5, 1)),
    (Layer("BatchNorm", {"num_features": 1}), SHAPE),
    (Layer("BatchNorm", {"num_features": 8.0}), SHAPE),
    (Layer("LayerNorm", {"dims": 7}), SHAPE),
    (Layer("LayerNorm", {"dims": (5, 1)}), SHAPE),
    (Layer("GroupNorm", {"num_groups": 3, "dims": 8}), (1, 5, 5, 5, 8)),
    (Layer("GroupNorm", {"num_groups": 3, "dims": 9}), (1, 5, 5, 5, 8)),
    (Layer("InstanceNorm", {"dims": 7, "affine": True}), (1, 5, 5, 5, 8)),
    (Layer("MaxPool3d", {"kernel_size": 0}), SHAPE),
    (Layer("MaxPool3d", {"kernel_size": (2, 2)}), SHAPE),
    (Layer("MaxPool3d", {"kernel_size": 2, "ceil_mode": True}), SHAPE),
    (Layer("AvgPool3d", {"kernel_size": 2}), SHAPE[1:]),
    (Layer("ConvTranspose3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "padding": 9}), SHAPE),
    (Layer("Upsample", {"scale_factor": (2, 2)}), SHAPE),
    (Layer("Upsample", {"scale_factor": 2, "mode": "trilinear"}), SHAPE),
    (Layer("Linear", {"input_dims": 8, "output_dims": 4}), SHAPE),
    (Layer("Linear", {"input_dims": 0, "output_dims": 4}), SHAPE),
    (Layer("Dropout", {"p": 1.0}), SHAPE),
    (Layer("GELU", {"approx": "foo"}), SHAPE),
    (Layer("Flatten", {"start_dim": 2, "end_dim": 1}), SHAPE),
    (Layer("Transpose", {"axes": (0, 1)}), SHAPE),
    (Layer("ExpandDims", {"axis": 9}), SHAPE),
    (Layer("Mean", {"axis": (1, 2, 5)}), SHAPE),
    (Layer("Max", {"axis": (1, 1)}), SHAPE),
]


@pytest.mark.parametrize(("layer", "shape"), OTHERS, ids=[f"{layer.kind} {layer.arguments} {s}" for layer, s in OTHERS])
def test_any_wrong_layer_gets_mlxs_own_words(engine: Engine, layer: Layer, shape: tuple[int, ...]) -> None:
    found = engine.attempt([layer], shape)
    assert found == expected([layer], shape)
    assert found.message


def test_integers_are_refused_by_mlx_and_not_by_us(engine: Engine) -> None:
    found = engine.attempt([conv()], SHAPE, "int32")
    assert found == expected([conv()], SHAPE, "int32")
    assert "Convolution currently only supports floating point types" in found.message


def test_where_mlx_says_nothing_its_shapes_are_the_answer(engine: Engine) -> None:
    """The stride hole, negative padding, no output channels, a pool larger than its input."""
    for layer, shape, output in (
        (conv(kernel_size=3, stride=2), (1, 2, 2, 2, 1), (1, 1, 1, 1, 1)),
        (conv(padding=-1), SHAPE, (1, 2, 2, 2, 1)),
        (conv(out_channels=0), SHAPE, (1, 4, 4, 4, 0)),
        (conv(stride=True), SHAPE, (1, 4, 4, 4, 1)),
        (Layer("MaxPool3d", {"kernel_size": 6}), SHAPE, (1, 0, 0, 0, 1)),
    ):
        assert engine.attempt([layer], shape) == Attempt((output,)) == expected([layer], shape)


CHAIN = [
    conv(out_channels=4, kernel_size=3, padding=1),
    Layer("InstanceNorm", {"dims": 4}),
    Layer("ReLU", {}),
    Layer("MaxPool3d", {"kernel_size": 2}),
    Layer("ExpandDims", {"axis": 0}),
    Layer("Transpose", {"axes": (1, 0, 2, 3, 4, 5)}),
    Layer("Flatten", {"start_dim": 1, "end_dim": -1}),
    Layer("Linear", {"input_dims": 32, "output_dims": 3}),
    Layer("Softmax", {}),
    Layer("Linear", {"input_dims": 32, "output_dims": 3}),
]


def test_a_chain_is_followed_up_to_the_layer_that_raises(engine: Engine) -> None:
    found = engine.attempt(CHAIN, SHAPE)
    assert found == expected(CHAIN, SHAPE)
    assert found.failed == 9
    assert found.shapes[3:] == ((1, 2, 2, 2, 4), (1, 1, 2, 2, 2, 4), (1, 1, 2, 2, 2, 4), (1, 32), (1, 3), (1, 3))


def minimal(kind: str) -> Layer:
    """A layer of the kind that takes (1, 4, 4, 4, 1)."""
    if kind == "Transpose":
        return Layer(kind, {"axes": (0, 3, 2, 1, 4)})
    if kind in ("ExpandDims", "Mean", "Max"):
        return Layer(kind, {"axis": 0})
    signature = KINDS[kind].mlx
    required = [name for name, default in signature.parameters.items() if default == REQUIRED] if signature else []
    return Layer(kind, dict.fromkeys(required, 1) if signature else {"start_dim": 1, "end_dim": -1})


NOT_MLX = ("AdaptiveAvgPool3d", "AdaptiveMaxPool3d")


@pytest.mark.parametrize("kind", NOT_MLX)
def test_what_mlx_has_not_it_says_itself(engine: Engine, kind: str) -> None:
    found = engine.attempt([Layer(kind, {"output_size": 1})], SHAPE)
    assert found == Attempt((), 0, "AttributeError", f"module 'mlx.nn' has no attribute '{kind}'")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NOT_MLX])
def test_every_kind_of_layer_can_be_asked_about(engine: Engine, kind: str) -> None:
    shape = (2, 4, 4, 1) if kind == "BatchNorm" else (1, 4, 4, 4, 1)
    found = engine.attempt([minimal(kind)], shape)
    assert found == expected([minimal(kind)], shape)
    assert found.failed is None


def test_nothing_of_the_size_is_allocated(engine: Engine) -> None:
    engine.attempt([conv()], SHAPE)
    before = engine.memory()
    began = time.perf_counter()
    huge = (1, 2000, 2000, 2000, 1)
    assert engine.attempt([conv(out_channels=8, kernel_size=3)], huge).shapes == ((1, 1998, 1998, 1998, 8),)
    wide = conv(in_channels=10**5, out_channels=10**5, kernel_size=3)  # a weight of 10 ** 12 bytes
    assert engine.attempt([wide], (*SHAPE[:4], 10**5)).failed is None
    assert engine.attempt([conv(kernel_size=1000)], huge).failed is None
    assert engine.attempt([conv(padding=10**5)], SHAPE).failed is None
    assert engine.attempt([Layer("Linear", {"input_dims": 10**5, "output_dims": 10**9})], (1, 10**5)).failed is None
    for layer in (
        Layer("MaxPool3d", {"kernel_size": 2}),
        Layer("LayerNorm", {"dims": 1}),
        Layer("Dropout", {}),
        Layer("GELU", {}),
        Layer("Softmax", {}),
        Layer("Upsample", {"scale_factor": 2, "mode": "cubic"}),
    ):
        assert engine.attempt([layer], huge).failed is None, layer.kind
    took = time.perf_counter() - began
    after = engine.memory()
    assert took < 2  # 0.05 s on an idle machine
    assert after.mlx_active - before.mlx_active < 2**16
    assert after.mlx_peak < 2**20
    assert after.process_peak - before.process_peak < 16 * 2**20


def test_the_most_that_may_be_asked_is_soon_answered(engine: Engine) -> None:
    began = time.perf_counter()
    cubic = Layer("Upsample", {"scale_factor": 1, "mode": "cubic"})
    assert engine.attempt([cubic], (1,) * 8).shapes == ((1,) * 8,)
    assert len(engine.attempt([conv(kernel_size=1)] * 1000, SHAPE).shapes) == 1000
    assert time.perf_counter() - began < 10
    assert engine.memory().mlx_active < 2**20


def test_asking_does_not_change_what_comes_after(engine: Engine) -> None:
    spec = ConvSpec(1, 2, 3)
    first, _ = engine.initial_weights(spec, seed=5)
    engine.attempt(CHAIN, SHAPE)
    again, _ = engine.initial_weights(spec, seed=5)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("layers", "shape", "dtype", "kind", "message"),
    [
        ([conv(stride=object())], SHAPE, "float32", SpecError, "stride: <object object at"),
        ([conv(stride=np.ones(3))], SHAPE, "float32", SpecError, "stride: array([1., 1., 1.]) is nothing that"),
        ([conv(stride=[[1] * 40] * 40)], SHAPE, "float32", SpecError, "stride: [[1, 1, 1"),
        ([conv(stride=2**63)], SHAPE, "float32", SpecError, "stride: 9223372036854775808 is nothing"),
        ([conv(stride="1" * 201)], SHAPE, "float32", SpecError, "stride: '1111"),
        (
            [conv(in_channels="ab", kernel_size=2000)],
            SHAPE,
            "float32",
            SpecError,
            "in_channels: Python would repeat it in 'ab'",
        ),
        ([conv(in_channels=[1], kernel_size=[10**9, 1, 1])], SHAPE, "float32", SpecError, "in_channels: Python would"),
        ([conv(kernel_size=("ab", 10**9, 1))], SHAPE, "float32", SpecError, "in_channels: Python would"),
        (
            [Layer("GroupNorm", {"num_groups": 3, "dims": "%999999999d"})],
            SHAPE,
            "float32",
            SpecError,
            "dims: '%999999999d' is nothing",
        ),
        ([Layer("LSTM", {})], SHAPE, "float32", SpecError, "layer: 'LSTM' is not known here; use Conv3d, "),
        ([conv()] * 1001, SHAPE, "float32", SpecError, "layers: 1,001 are too many; use at most 1,000."),
        ([minimal("ExpandDims")] * 4, SHAPE, "float32", SpecError, "layers: they make 9 axes; stay at or below 8."),
        ([conv()], (1,) * 9, "float32", ShapeError, "input: (1, 1, 1, 1, 1, 1, 1, 1, 1) is no shape"),
        ([conv()], (), "float32", ShapeError, "input: () is no shape of an MLX array; use one to 8 integers from 0"),
        ([conv()], (1, -1), "float32", ShapeError, "input: (1, -1) is no shape"),
        ([conv()], (1, 2.0), "float32", ShapeError, "input: (1, 2.0) is no shape"),
        ([conv()], (1, 2**31), "float32", ShapeError, "input: (1, 2147483648) is no shape"),
        ([conv()], SHAPE, "eval", SpecError, "dtype: 'eval' is none of MLX's here; use float32"),
    ],
)
def test_what_is_no_layer_is_refused_before_the_worker_hears_of_it(
    layers: list[Layer], shape: Any, dtype: str, kind: type[Conv3dError], message: str
) -> None:
    engine = Engine(device="cpu")
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        engine.attempt(layers, shape, dtype)
    assert engine.worker_pid is None
    engine.close()


literals = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 9), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=3)
    ),
    lambda parts: st.lists(parts, max_size=4) | st.lists(parts, max_size=4).map(tuple),
    max_leaves=5,
)


@given(st.data(), st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_no_arguments_end_the_worker(data: st.DataObject, kind: str, shape: list[int]) -> None:
    signature = KINDS[kind].mlx
    names = list(signature.parameters) if signature else ["start_dim", "end_dim", "axis", "axes", "keepdims"]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    layer = Layer(kind, {name: data.draw(literals) for name in chosen})
    engine = _shared()
    pid = engine.worker_pid
    try:
        found = engine.attempt([layer], shape)
    except SpecError:
        return
    assert (found.failed is None) == (len(found.shapes) == 1) == (not found.error)
    assert engine.worker_pid == pid


ENGINES: list[Engine] = []


def _shared() -> Engine:
    """Of a property's examples; the fixture is made anew for none of them."""
    if not ENGINES:
        ENGINES.append(Engine(device="cpu"))
        assert ENGINES[0].info
    return ENGINES[0]


def test_a_worker_that_dies_costs_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(device="cpu", timeout_s=20) as engine:
        pid = engine.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(EngineError, match=r"^engine: the worker process ended with SIGKILL; the next request"):
            engine.attempt([conv()], SHAPE)
        assert engine.attempt([conv()], SHAPE).shapes == ((1, 4, 4, 4, 1),)
        assert engine.worker_pid not in (None, pid)
