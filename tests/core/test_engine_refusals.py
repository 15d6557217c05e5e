"""What the engine refuses, in words, before the worker is asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conv3d_core import Conv3dError, ConvSpec, EngineError, ShapeError, SpecError
from conv3d_core.engine import Engine
from conv3d_core.engine.memory import budget_bytes, free_bytes, parse_bytes, total_bytes

SPEC = ConvSpec(2, 4, (1, 3, 3))
X = np.ones((1, 5, 6, 7, 2), np.float32)
WEIGHT = np.ones(SPEC.weight_shape, np.float32)

Call = Callable[[Engine], Any]


def refused(call: Call, kind: type[Conv3dError], message: str, field: str) -> None:
    """It raises this message, and no worker was started for it."""
    engine = Engine(device="cpu")
    with pytest.raises(kind, match=f"^{re.escape(message)}") as caught:
        call(engine)
    assert type(caught.value) is kind
    assert caught.value.field == field
    assert engine.worker_pid is None
    engine.close()


@pytest.mark.parametrize(
    ("call", "message", "field"),
    [
        (lambda e: e.run(SPEC, X[0]), "input: (5, 6, 7, 2) has 4 axes (is the batch axis missing?)", "input"),
        (
            lambda e: e.run(SPEC, X[..., :1]),
            "in_channels: the layer takes 2 and the input (1, 5, 6, 7, 1)",
            "in_channels",
        ),
        (
            lambda e: e.run(SPEC, X[:, :, :2]),
            "height: effective kernel 3 does not fit the padded input of 2",
            "kernel_size",
        ),
        (lambda e: e.run(SPEC, X[:0]), "input: size 0 along N in (0, 5, 6, 7, 2) is not an integer >= 1", "input"),
        (
            lambda e: e.run(SPEC, X.astype(complex)),
            "input: dtype complex128 is not real numbers; use integers",
            "input",
        ),
        (lambda e: e.run(SPEC, X.astype(object)), "input: dtype object is not real numbers", "input"),
        (lambda e: e.run(SPEC, X.astype(str)), "input: dtype <U32 is not real numbers", "input"),
        (
            lambda e: e.run(SPEC, [[1, 2], [3]]),
            "input: it cannot be read as an array (setting an array element",
            "input",
        ),
        (lambda e: e.run(SPEC, None), "input: dtype object is not real numbers", "input"),
        (lambda e: e.plane(SPEC, X[..., :1], "D", 0), "in_channels: the layer takes 2", "in_channels"),
        (lambda e: e.plane(SPEC, X, "D", 5), "depth: there is no output plane 5; use an integer from 0 to 4.", "index"),
        (lambda e: e.plane(SPEC, X, "W", 5), "width: there is no output plane 5; use an integer from 0 to 4.", "index"),
        (
            lambda e: e.plane(SPEC, X, "H", 4),
            "height: there is no output plane 4; use an integer from 0 to 3.",
            "index",
        ),
        (lambda e: e.plane(SPEC, X, "D", -1), "depth: there is no output plane -1", "index"),
        (lambda e: e.plane(SPEC, X, "D", 1.0), "depth: there is no output plane 1.0", "index"),
        (lambda e: e.plane(SPEC, X, "D", True), "depth: there is no output plane True", "index"),
        (lambda e: e.plane(SPEC, X, "depth", 0), "axis: 'depth' is no axis; use D, H, W.", "axis"),
        (
            lambda e: e.run(SPEC, X, weight=WEIGHT.transpose(0, 4, 1, 2, 3)),
            "weight: shape (4, 2, 1, 3, 3) is not (O, KD, KH, KW, I) = (4, 1, 3, 3, 2) "
            "but PyTorch's (O, I, KD, KH, KW); use weight.transpose(0, 2, 3, 4, 1), "
            "which is permute(0, 2, 3, 4, 1) in PyTorch.",
            "weight",
        ),
        (
            lambda e: e.run(SPEC, X, weight=WEIGHT[:2]),
            "weight: shape (2, 1, 3, 3, 2) is not (O, KD, KH, KW, I) = (4, 1, 3, 3, 2); use shape (4, 1, 3, 3, 2).",
            "weight",
        ),
        (lambda e: e.plane(SPEC, X, "D", 0, weight=WEIGHT[0]), "weight: shape (1, 3, 3, 2) is not", "weight"),
        (lambda e: e.run(SPEC, X, weight=WEIGHT * 1j), "weight: dtype complex", "weight"),
        (
            lambda e: e.run(SPEC, X, weight=WEIGHT, bias=[1, 2]),
            "bias: shape (2,) is not (O,) = (4,); use shape (4,).",
            "bias",
        ),
        (lambda e: e.run(SPEC, X, bias=np.ones((4, 1))), "bias: shape (4, 1) is not (O,) = (4,)", "bias"),
        (lambda e: e.run(SPEC, X, bias=["a"] * 4), "bias: dtype <U1 is not real numbers", "bias"),
        (
            lambda e: e.run(ConvSpec(2, 4, 1, bias=False), X, bias=np.ones(4)),
            "bias: one is given to a layer with bias=False; leave it out, or use bias=True.",
            "bias",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Call, message: str, field: str) -> None:
    refused(call, ShapeError, message, field)


def test_a_transposed_pytorch_weight_is_taken() -> None:
    torch_layout = WEIGHT.transpose(0, 4, 1, 2, 3)
    with Engine(device="cpu") as engine:
        y = engine.run(SPEC, X, weight=torch_layout.transpose(0, 2, 3, 4, 1))
    assert np.array_equal(y, np.full((1, 5, 4, 5, 4), 18))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1", None])
def test_a_seed_that_mlx_does_not_take_is_refused(seed: Any) -> None:
    refused(lambda e: e.initial_weights(SPEC, seed), SpecError, f"seed: {seed!r} is not an integer from 0", "seed")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(EngineError, match=r"^device: 'tpu' is unknown; use auto, gpu, cpu\.$"):
        Engine(device="tpu")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), threading.TIMEOUT_MAX * 2])
def test_a_time_limit_that_is_none_is_refused(timeout_s: float) -> None:
    message = r"^timeout_s: .* s is not a time that a request can be given; use seconds above 0, such as 300\.$"
    with pytest.raises(EngineError, match=message) as caught:
        Engine(timeout_s=timeout_s)
    assert caught.value.value is timeout_s


def test_a_check_refuses_what_a_run_would(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda e: e.check(SPEC, X.shape[1:]), ShapeError, "input: (5, 6, 7, 2) has 4 axes", "input")
    refused(lambda e: e.check(SPEC, [1, 5, 2, 7, 2]), ShapeError, "height: effective kernel 3 does", "kernel_size")
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1MiB")
    shape = tuple(np.array([1, 64, 64, 64, 1]))  # NumPy's integers, as an array's slice of sizes may hold them
    refused(
        lambda e: e.check(ConvSpec(1, 1, 3), shape),
        EngineError,
        "memory: this layer on an input of (1, 64, 64, 64, 1) needs up to",
        "memory",
    )
    engine = Engine(device="cpu")
    engine.check(SPEC, X.shape)
    assert engine.worker_pid is None


def test_a_run_is_checked_before_its_weight_is_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1KiB")
    refused(lambda e: e.run(SPEC, X, weight=WEIGHT[0]), EngineError, "memory: this layer on an input", "memory")


def test_what_needs_more_memory_than_the_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "2GiB")
    x = np.broadcast_to(np.float32(1), (1, 128, 128, 128, 1))
    refused(
        lambda e: e.run(ConvSpec(1, 8, 7, padding=3), x),
        EngineError,
        "memory: this layer on an input of (1, 128, 128, 128, 1) needs up to 2.82 GiB, and the budget is 2.00 GiB; "
        "crop the input, use a smaller kernel_size or a larger stride, or set CONV3D_MEMORY_BUDGET.",
        "memory",
    )
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1 MiB")
    refused(
        lambda e: e.initial_weights(ConvSpec(64, 64, 5), 0),
        EngineError,
        "memory: a weight of shape (64, 5, 5, 5, 64) needs up to 3.91 MiB, and the budget is 1.00 MiB",
        "memory",
    )


def test_a_plane_runs_where_the_whole_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "8MiB")
    spec, x = ConvSpec(1, 1, 3, padding=1), np.ones((1, 64, 64, 64, 1))
    with Engine(device="cpu") as engine:
        with pytest.raises(EngineError, match=r"^memory: this layer on .* needs up to 31\.\d\d MiB"):
            engine.run(spec, x)
        plane = engine.plane(spec, x, "D", 5, weight=np.ones((1, 3, 3, 3, 1)))
    assert plane[1, 1, 0] == 27


def test_the_budget_is_half_of_the_free_memory_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONV3D_MEMORY_BUDGET", raising=False)
    assert 0 < free_bytes() <= total_bytes()
    assert budget_bytes() == pytest.approx(free_bytes() / 2, rel=0.2)
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "3 MiB")
    assert budget_bytes() == 3 * 2**20


def test_free_memory_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conv3d_core.engine.memory.MEMINFO", "/nowhere/meminfo")
    assert free_bytes() == total_bytes() // 2


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("1024", 1024), ("7B", 7), ("2kib", 2048), ("1.5GiB", 3 * 2**29), (" 2 MiB ", 2**21)]
)
def test_a_budget_is_read_with_or_without_a_unit(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["much", "-1", "2GB", "1e9", "2 GiB each", ""])
def test_a_budget_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(
        EngineError, match=r"^CONV3D_MEMORY_BUDGET: .* is no size; use bytes, or a number with KiB"
    ) as caught:
        parse_bytes(text)
    assert caught.value.field == "memory"
