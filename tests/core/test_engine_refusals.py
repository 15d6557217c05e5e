"""What the engine refuses, in words, before the worker is asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import Conv3dError, ConvSpec, EngineError, ShapeError, SpecError
from conv3d_core.engine import Content, Engine, memory
from conv3d_core.engine.memory import (
    budget_bytes,
    free_bytes,
    largest_crop,
    parse_bytes,
    total_bytes,
    whole_need,
)
from conv3d_core.spec import Shape, Triple
from tests.core.strategies import layers_and_inputs

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
        (
            lambda e: e.planes(SPEC, X, (0, 4, 0)),
            "height: output 4 is not among the 4 outputs; use 0 to 3.",
            "output",
        ),
        (
            lambda e: e.box(SPEC, X, ((0, 4), (1, 4), (0, 0))),
            "height: outputs 1 to 4 are not a box of the 4 outputs; use first <= last from 0 to 3.",
            "box",
        ),
        (lambda e: e.box(SPEC, X, ((1, 0), (0, 0), (0, 0))), "depth: outputs 1 to 0 are not a box", "box"),
        (lambda e: e.voxel(SPEC, X, (0, 0, -1)), "width: outputs -1 to -1 are not a box", "box"),
        (lambda e: e.voxel_gradient(SPEC, X.shape, (0, 0, 5)), "width: output 5 is not among the 5 outputs", "output"),
        (
            lambda e: e.voxel_gradient(SPEC, X.shape, (0, 0, 0), channel=4),
            "channel: output channel 4 is not in 0..3; use 0 to 3.",
            "channel",
        ),
        (lambda e: e.read_counts(SPEC, X.shape[1:]), "input: (5, 6, 7, 2) has 4 axes", "input"),
        (lambda e: e.raw_times_ms(SPEC, X[..., :1]), "in_channels: the layer takes 2", "in_channels"),
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


def test_a_type_that_no_layer_computes_in_is_refused() -> None:
    message = "dtype: 'float64' is none that a layer computes in here; use float32, float16, bfloat16."
    refused(lambda e: e.run(SPEC, X, weight=WEIGHT, dtype="float64"), EngineError, message, "dtype")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(EngineError, match=r"^device: 'tpu' is unknown; use auto, gpu, cpu\.$"):
        Engine(device="tpu")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), threading.TIMEOUT_MAX * 2, 3e6])
def test_a_time_limit_that_is_none_is_refused(timeout_s: float) -> None:
    message = r"^timeout_s: .* s is not a time that a request can be given; use seconds above 0, such as 300\.$"
    with pytest.raises(EngineError, match=message) as caught:
        Engine(timeout_s=timeout_s)
    assert caught.value.value is timeout_s


def test_a_check_refuses_what_a_run_would(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda e: e.check(SPEC, X.shape[1:]), ShapeError, "input: (5, 6, 7, 2) has 4 axes", "input")
    refused(lambda e: e.check(SPEC, [1, 5, 2, 7, 2]), ShapeError, "height: effective kernel 3 does", "kernel_size")
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "160MiB")
    shape = tuple(np.array([1, 200, 200, 200, 1]))  # NumPy's integers, as an array's slice of sizes may hold them
    refused(
        lambda e: e.check(ConvSpec(1, 1, 3), shape),
        EngineError,
        "memory: this layer on an input of (1, 200, 200, 200, 1) needs up to",
        "memory",
    )
    engine = Engine(device="cpu")
    engine.check(SPEC, X.shape)
    assert engine.worker_pid is None
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "100MiB")
    with pytest.raises(EngineError, match=r"100\.00 MiB; set CONV3D_MEMORY_BUDGET to more than 128\.00 MiB\.$"):
        engine.check(SPEC, X.shape)


def test_a_run_is_checked_before_its_weight_is_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1KiB")
    refused(lambda e: e.run(SPEC, X, weight=WEIGHT[0]), EngineError, "memory: this layer on an input", "memory")


def test_what_needs_more_memory_than_the_budget_is_refused_with_the_numbers_and_a_crop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "2GiB")
    x = np.broadcast_to(np.float32(1), (1, 512, 512, 256, 1))
    spec = ConvSpec(1, 8, 7, padding=3)
    refused(
        lambda e: e.run(spec, x),
        EngineError,
        "memory: this layer on an input of (1, 512, 512, 256, 1) needs up to 2.38 GiB "
        "(input 256.00 MiB, weights 21.50 KiB, output 2.00 GiB, tiles ",
        "memory",
    )
    with Engine(device="cpu") as engine:
        crop = engine.crop_that_fits(spec, x.shape)
        assert crop is not None
        with pytest.raises(
            EngineError, match=f"crop the input to {' x '.join(map(str, crop))}, use a larger stride, or"
        ):
            engine.check(spec, x.shape)
        engine.check(spec, (1, *crop, 1))
        d, h, w = crop
        assert (d, w) == (h, h // 2)
        with pytest.raises(EngineError, match=r"^memory: this layer"):
            engine.check(spec, (1, d + 2, h + 2, w + 1, 1))
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "130 MiB")
    refused(
        lambda e: e.initial_weights(ConvSpec(64, 64, 5), 0),
        EngineError,
        "memory: a weight of shape (64, 5, 5, 5, 64) needs up to 131.91 MiB (weights 3.91 MiB, MLX 128.00 MiB), "
        "and the budget is 130.00 MiB; use a smaller kernel_size or set CONV3D_MEMORY_BUDGET.",
        "memory",
    )


def test_where_not_even_one_output_fits_no_crop_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "150MiB")
    spec = ConvSpec(1, 1, 150)
    engine = Engine(device="cpu")
    assert engine.crop_that_fits(spec, (1, 200, 200, 200, 1)) is None
    refused(
        lambda e: e.check(spec, (1, 200, 200, 200, 1)),
        EngineError,
        "memory: this layer on an input of (1, 200, 200, 200, 1) needs up to",
        "memory",
    )
    with pytest.raises(EngineError, match="; use a smaller kernel_size or set CONV3D_MEMORY_BUDGET"):
        engine.check(spec, (1, 200, 200, 200, 1))


@given(layers_and_inputs(), st.integers(20, 40))
def test_a_crop_that_is_offered_fits_and_keeps_the_proportions(layer: tuple[ConvSpec, Shape], power: int) -> None:
    spec, (_, *sizes, _) = layer
    asked: list[Triple] = []

    def fits(crop: Triple) -> bool:
        asked.append(crop)
        return int(np.prod(crop)) <= power

    crop = largest_crop(spec, tuple(sizes), fits)
    for each in asked:
        assert all(1 <= n <= size for n, size in zip(each, sizes, strict=True))
        spec.output_shape((1, *each, spec.in_channels))
    if crop is None:
        assert not fits(min(asked))
    else:
        assert fits(crop)


def test_a_plane_runs_where_the_whole_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "144MiB")
    spec, x = ConvSpec(1, 32, 3, padding=1), np.ones((1, 64, 64, 64, 1))
    with Engine(device="cpu") as engine:
        with pytest.raises(EngineError, match=r"^memory: this layer on .*, output 32\.00 MiB, "):
            engine.run(spec, x)
        for given_x in (x, Content.of(x)):
            plane = engine.plane(spec, given_x, "D", 5, weight=np.ones(spec.weight_shape))
            assert plane[1, 1, 0] == 27
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "128MiB")
    refused(
        lambda e: e.plane(spec, x, "D", 5),
        EngineError,
        "memory: 1 part of nn.Conv3d(1, 32, kernel_size=3, padding=1) on (1, 3, 64, 64, 1) needs up to",
        "memory",
    )


def test_tiles_get_smaller_before_a_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, shape = ConvSpec(1, 1, 9), (1, 64, 64, 64, 1)
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "2GiB")
    ample = whole_need(spec, shape, lanes=2)
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "134MiB")
    tight = whole_need(spec, shape, lanes=2)
    assert tight.tilings[0].sizes == (1, 10, 56)
    assert ample.tilings[0].sizes == (1, 28, 56)
    assert tight.fits()
    assert not ample.fits()
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "130MiB")
    assert not whole_need(spec, shape, lanes=2).fits(), "a tile of one output would take for ever"


def test_the_budget_is_two_gib_or_half_of_the_free_memory_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONV3D_MEMORY_BUDGET", raising=False)
    assert 0 < free_bytes() <= total_bytes()
    for free, budget in ((64 * 2**30, 2 * 2**30), (3 * 2**30, 3 * 2**29)):
        monkeypatch.setattr("conv3d_core.engine.memory.free_bytes", lambda free=free: free)
        assert budget_bytes() == budget
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "3 MiB")
    assert budget_bytes() == 3 * 2**20


def test_free_memory_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes.cache_clear()
    monkeypatch.setattr("conv3d_core.engine.memory.MEMINFO", "/nowhere/meminfo")
    assert free_bytes() == total_bytes() // 2
    free_bytes.cache_clear()


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


def test_a_budget_that_is_no_size_is_told_to_whoever_asks_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "lots")
    with Engine(device="cpu") as engine:
        for call in (engine.memory, lambda: engine.run(SPEC, X), lambda: engine.initial_weights(SPEC)):
            with pytest.raises(EngineError, match=r"^CONV3D_MEMORY_BUDGET: 'lots' is no size; "):
                call()


@pytest.mark.parametrize(("limit", "free"), [("max", None), ("1073741824", 1073741824 - 300 * 2**20 + 100 * 2**20)])
def test_a_container_has_less_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int | None
) -> None:
    machine = free_bytes.__wrapped__()
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{300 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {100 * 2**20}\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes.__wrapped__() == free or (free is None and abs(free_bytes.__wrapped__() - machine) < 2**30)
