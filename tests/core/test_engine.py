"""The engine's numbers: those of nn.Conv3d, wherever they can be had another way."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from conv3d_core import ConvSpec
from conv3d_core.axis import AXES
from conv3d_core.engine import Content, Engine, EngineInfo
from conv3d_core.engine.blocks import Store, Stored
from conv3d_core.engine.worker import choose_backend, explain_import_error

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """MLX as its wheel is: with its own BLAS a tile has the same bits as the whole, whatever its size."""
    with Engine(device="cpu", accelerate=False) as running:
        yield running


@st.composite
def layers(draw: st.DrawFn) -> tuple[ConvSpec, np.ndarray, np.ndarray, np.ndarray | None]:
    """A layer, an input that fits it and tops it by up to four voxels an axis, its weight, its bias."""
    triple = lambda low, high: st.tuples(*[st.integers(low, high)] * 3)  # noqa: E731
    spec = ConvSpec(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(triple(1, 3)),
        stride=draw(triple(1, 3)),
        padding=draw(triple(0, 3)),
        dilation=draw(triple(1, 3)),
        bias=draw(st.booleans()),
    )
    smallest = (max(1, k - 2 * p) for k, p in zip(spec.effective_kernel_size, spec.padding, strict=True))
    sizes = [size + draw(st.integers(0, 4)) for size in smallest]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = random.normal(size=(draw(st.integers(1, 2)), *sizes, spec.in_channels)).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    bias = random.normal(size=spec.out_channels).astype(np.float32) if spec.bias else None
    return spec, x, weight, bias


def reference(spec: ConvSpec, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """SciPy's correlation in float64 with the holes of the dilation written into the kernel."""
    y = np.zeros(spec.output_shape(x.shape))
    padded = np.pad(x.astype(float), [(0, 0), *((p, p) for p in spec.padding), (0, 0)])
    kernel = np.zeros((spec.out_channels, *spec.effective_kernel_size, spec.in_channels))
    d, h, w = spec.dilation
    kernel[:, ::d, ::h, ::w] = weight
    d, h, w = spec.stride
    for n, o, c in itertools.product(range(len(x)), range(spec.out_channels), range(spec.in_channels)):
        y[n, ..., o] += correlate(padded[n, ..., c], kernel[o, ..., c], mode="valid", method="direct")[::d, ::h, ::w]
    return y if bias is None else y + bias


def close(got: np.ndarray, wanted: np.ndarray, relative: float) -> None:
    np.testing.assert_allclose(got, wanted, rtol=relative, atol=relative * max(1.0, float(np.abs(wanted).max())))


@given(layers())
def test_the_output_is_the_correlation(engine: Engine, layer: tuple[Any, ...]) -> None:
    spec, x, weight, bias = layer
    y = engine.run(spec, x, weight=weight, bias=bias)
    assert y.dtype == np.float32
    assert y.shape == spec.output_shape(x.shape)
    close(y, reference(spec, x, weight, bias), 1e-5)


@settings(max_examples=60)
@given(layers())
def test_a_plane_is_that_plane_of_the_whole(engine: Engine, layer: tuple[Any, ...]) -> None:
    spec, x, weight, bias = layer
    whole = engine.run(spec, x, weight=weight, bias=bias)[0]
    for position, axis in enumerate(AXES):
        for index in {0, 1, whole.shape[position] // 2, whole.shape[position] - 1} & set(range(whole.shape[position])):
            plane = engine.plane(spec, x, axis=axis, index=index, weight=weight, bias=bias)
            close(plane, np.take(whole, index, axis=position), 1e-6)


@settings(max_examples=40)
@given(layers(), st.data())
def test_a_box_and_a_voxel_are_those_of_the_whole(engine: Engine, layer: tuple[Any, ...], data: st.DataObject) -> None:
    spec, x, weight, bias = layer
    whole = engine.run(spec, x, weight=weight, bias=bias)[0]
    box, inside = [], []
    for size in whole.shape[:3]:
        first = data.draw(st.integers(0, size - 1))
        last = data.draw(st.integers(first, size - 1))
        box.append((first, last))
        inside.append(slice(first, last + 1))
    for given_x in (x, Content.of(x)):
        close(engine.box(spec, given_x, tuple(box), weight=weight, bias=bias), whole[tuple(inside)], 1e-6)
        corner = tuple(first for first, _ in box)
        close(engine.voxel(spec, given_x, corner, weight=weight, bias=bias), whole[corner], 1e-6)


@settings(max_examples=40)
@given(layers(), st.data())
def test_three_planes_meet_in_a_voxel(engine: Engine, layer: tuple[Any, ...], data: st.DataObject) -> None:
    spec, x, weight, bias = layer
    whole = engine.run(spec, x, weight=weight, bias=bias)[0]
    d, h, w = (data.draw(st.integers(0, size - 1)) for size in whole.shape[:3])
    for given_x in (x, Content.of(x)):
        planes = engine.planes(spec, given_x, (d, h, w), weight=weight, bias=bias)
        for plane, wanted in zip(planes, (whole[d], whole[:, h], whole[:, :, w]), strict=True):
            close(plane, wanted, 1e-6)


def test_a_plane_in_the_padding_alone_is_the_bias(engine: Engine) -> None:
    spec = ConvSpec(1, 2, 1, padding=(2, 0, 0))
    x, weight = np.ones((1, 3, 4, 5, 1)), np.ones((2, 1, 1, 1, 1))
    for index in (0, 1, 5, 6):
        plane = engine.plane(spec, x, axis="D", index=index, weight=weight, bias=[3, 4])
        assert plane.shape == (4, 5, 2)
        assert np.array_equal(plane, np.broadcast_to(np.float32([3, 4]), (4, 5, 2)))


def test_a_plane_is_of_the_first_batch_item(engine: Engine) -> None:
    x = np.stack([np.zeros((3, 3, 3, 1)), np.ones((3, 3, 3, 1))])
    assert not engine.plane(ConvSpec(1, 1, 3), x, axis="W", index=0).any()


def test_a_plane_sends_only_its_slab(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[tuple[int, ...]] = []
    put = Store.put

    def listen(store: Store, array: np.ndarray, key: str | None = None) -> Stored:
        if key is None:
            stored.append(array.shape)
        return put(store, array, key)

    monkeypatch.setattr(Store, "put", listen)
    spec, x = ConvSpec(1, 1, 3, stride=2, dilation=2), np.ones((2, 40, 30, 20, 1))
    weight = np.ones(spec.weight_shape)
    for axis, index in (("D", 3), ("H", 0), ("W", 7)):
        engine.plane(spec, x, axis=axis, index=index, weight=weight)
    assert stored == [(1, 5, 30, 20, 1), (1, 40, 5, 20, 1), (1, 40, 30, 5, 1)]


def test_ones_in_give_the_sum_of_the_weight(engine: Engine) -> None:
    spec = ConvSpec(2, 3, (3, 2, 1), padding=1, dilation=(1, 2, 1))
    weight, _ = engine.initial_weights(spec, 1)
    y = engine.run(spec, np.ones((1, 8, 8, 8, 2)), weight=weight)
    interior = y[0, 1:-1, 1:-1, 1:-1]
    close(interior, np.broadcast_to(weight.sum((1, 2, 3, 4), dtype=float), interior.shape), 1e-6)
    assert not np.allclose(y[0, 0], interior[0, 0, 0])  # the zeros of the padding show


def test_an_impulse_in_gives_the_kernel_mirrored(engine: Engine) -> None:
    # A cross-correlation: output o reads input o - p + t with tap t, so tap t of an impulse at q lands at q + p - t.
    spec = ConvSpec(1, 2, (3, 4, 5), padding=(2, 3, 4))
    weight, _ = engine.initial_weights(spec, 7)
    x = np.zeros((1, 9, 9, 9, 1), np.float32)
    q = (4, 3, 5)
    x[0, *q, 0] = 1
    y = engine.run(spec, x, weight=weight)
    for o in range(2):
        for tap in itertools.product(range(3), range(4), range(5)):
            landed = tuple(at + p - t for at, p, t in zip(q, spec.padding, tap, strict=True))
            assert y[0, *landed, o] == weight[o, *tap, 0]
    assert np.count_nonzero(y) == np.count_nonzero(weight)


@settings(max_examples=30)
@given(layers(), st.permutations(range(3)))
def test_the_axes_permute_together(engine: Engine, layer: tuple[Any, ...], order: list[int]) -> None:
    spec, x, weight, bias = layer
    turn = [0, *(axis + 1 for axis in order), 4]
    turned = replace(
        spec,
        **{
            name: tuple(getattr(spec, name)[axis] for axis in order)
            for name in ("kernel_size", "stride", "padding", "dilation")
        },
    )
    y = engine.run(turned, x.transpose(turn), weight=weight.transpose(turn), bias=bias)
    close(y, engine.run(spec, x, weight=weight, bias=bias).transpose(turn), 1e-5)


FRESH = """
import sys
import mlx.core as mx
import mlx.nn as nn
import numpy as np
mx.set_default_device(mx.cpu)
mx.random.seed({seed})
layer = {call}
x = mx.array(np.load(sys.argv[1] + "/x.npy"))
np.savez(sys.argv[1] + "/fresh.npz", y=np.array(layer(x)), **dict(layer.parameters()))
"""


@pytest.mark.parametrize("seed", [0, 5, 2**64 - 1])
def test_weights_and_output_are_those_of_a_fresh_interpreter(engine: Engine, tmp_path: Path, seed: int) -> None:
    spec = ConvSpec(2, 3, (3, 1, 2), stride=2, padding=(1, 0, 1))
    x = np.random.default_rng(0).normal(size=(1, 6, 7, 8, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    script = FRESH.format(seed=seed, call=spec.to_mlx())
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
    fresh = np.load(tmp_path / "fresh.npz")
    engine.initial_weights(spec, 1)  # whatever was drawn before
    weight, bias = engine.initial_weights(spec, seed)
    assert np.array_equal(weight, fresh["weight"])
    assert np.array_equal(bias, fresh["bias"])
    assert np.array_equal(engine.run(spec, x, weight=weight, bias=bias), fresh["y"])
    if seed == 0:
        assert np.array_equal(engine.run(spec, x), fresh["y"])
        assert np.array_equal(engine.plane(spec, x, axis="D", index=1), fresh["y"][0, 1])


def test_seeds_differ_and_no_bias_is_none(engine: Engine) -> None:
    spec = ConvSpec(1, 2, 3, bias=False)
    weight, bias = engine.initial_weights(spec, 1)
    assert bias is None
    assert weight.shape == spec.weight_shape
    assert weight.dtype == np.float32
    assert not np.array_equal(weight, engine.initial_weights(spec, 2)[0])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", ">i2", "int64", "float16", "float64", ">f4", "longdouble"])
def test_any_real_dtype_is_cast_to_float32(engine: Engine, dtype: str) -> None:
    spec = ConvSpec(1, 2, 2)
    x = (np.arange(64).reshape(1, 4, 4, 4, 1) % 5).astype(dtype)
    assert np.array_equal(engine.run(spec, x), engine.run(spec, x.astype(np.float32)))
    assert np.array_equal(engine.plane(spec, x, "H", 1), engine.plane(spec, x.astype(np.float32), "H", 1))


def test_any_strides_lists_and_read_only_arrays(engine: Engine) -> None:
    spec = ConvSpec(1, 2, (1, 2, 3))
    base = np.random.default_rng(0).normal(size=(1, 4, 10, 6, 1)).astype(np.float32)
    odd = base[:, ::-1, ::2, ::-1]
    plain = np.ascontiguousarray(odd)
    plain.setflags(write=False)
    wanted = engine.run(spec, plain)
    assert np.array_equal(engine.run(spec, odd), wanted)
    assert np.array_equal(engine.run(spec, odd.tolist()), wanted)
    assert np.array_equal(engine.run(spec, np.asfortranarray(plain)), wanted)


def test_nan_and_infinity_pass_through_and_too_big_numbers_become_infinite(engine: Engine) -> None:
    spec, weight = ConvSpec(1, 1, 1), np.ones((1, 1, 1, 1, 1))
    x = np.array([np.nan, np.inf, -np.inf, 1e300, 1.0]).reshape(1, 1, 1, 5, 1)
    y = engine.run(spec, x, weight=weight).ravel()
    assert np.array_equal(y, [np.nan, np.inf, -np.inf, np.inf, 1.0], equal_nan=True)


def test_results_are_the_callers_own(engine: Engine) -> None:
    spec, x = ConvSpec(1, 1, 1), np.ones((1, 2, 2, 2, 1), np.float32)
    first = engine.run(spec, x)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(engine.run(spec, x), kept)
    plane = engine.plane(spec, x, "D", 0)
    plane[:] = 0
    assert np.array_equal(engine.run(spec, x), kept)
    assert x.all()


def test_a_missing_bias_is_zeros_and_a_lone_bias_is_taken(engine: Engine) -> None:
    spec, x = ConvSpec(1, 2, 1), np.zeros((1, 1, 1, 1, 1))
    assert engine.run(spec, x, weight=np.ones((2, 1, 1, 1, 1))).ravel().tolist() == [0, 0]
    assert engine.run(spec, x, bias=[3, 4]).ravel().tolist() == [3, 4]


def test_info_says_where_it_runs_and_why(engine: Engine) -> None:
    info = engine.info
    assert (info.device, info.backend, info.reason) == ("cpu", "cpu", "the CPU was asked for")
    assert info.device_name
    assert info.mlx_version.split(".") >= ["0", "32", "4"]
    assert info.memory_bytes > 2**28
    assert isinstance(info, EngineInfo)
    with pytest.raises(AttributeError):
        info.device = "gpu"  # type: ignore[misc]


def test_auto_takes_metal_then_cuda_then_the_cpu() -> None:
    assert choose_backend("auto", {"metal": True, "cuda": True}) == ("metal", "auto: MLX finds a Metal device")
    assert choose_backend("auto", {"metal": False, "cuda": True}) == ("cuda", "auto: MLX finds a CUDA device")
    assert choose_backend("gpu", {"metal": False, "cuda": True}) == (
        "cuda",
        "a GPU was asked for: MLX finds a CUDA device",
    )
    assert choose_backend("cpu", {"metal": True, "cuda": True}) == ("cpu", "the CPU was asked for")
    assert choose_backend("auto", {"metal": False, "cuda": False})[0] == "cpu"


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("libmlx.so: cannot open shared object file: No such file or directory", "MLX is installed without a backend"),
        ("libcuda.so.1: cannot open shared object file", "there is no NVIDIA driver"),
        ("No module named 'mlx'", "MLX is not installed"),
        ("symbol not found", "MLX cannot be loaded"),
    ],
)
def test_an_import_error_is_explained(message: str, meaning: str) -> None:
    assert meaning in explain_import_error(message)
    assert message in explain_import_error(message)


@pytest.mark.parametrize(
    "statement", ["import conv3d_core", "import conv3d_core.engine", "import conv3d_core.engine.worker"]
)
def test_importing_never_imports_mlx(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert not [name for name in sys.modules if name.split('.')[0] == 'mlx']"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


SCRIPT = """
import sys
import threading
import numpy as np
sys.path.insert(0, {root!r})
from conv3d_core import ConvSpec
from conv3d_core.engine import Engine

print("once")
# No guard around this: a child that runs __main__ again, as spawn does, would print twice or never end.
def work():
    with Engine(device="auto") as engine:
        spec = ConvSpec(1, 8, 3, stride=2, padding=1)
        x = np.ones((1, 8, 8, 8, 1))
        w, b = engine.initial_weights(spec, 3)
        y = engine.run(spec, x, weight=w, bias=b)
        p = engine.plane(spec, x, axis="D", index=2, weight=w, bias=b)
        print(y.shape, p.shape, np.allclose(y[0, 2], p), "mlx" in sys.modules, engine.info.reason)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_a_script_in_a_fresh_interpreter_and_any_directory(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(root=str(ROOT)))
    (tmp_path / "queue.py").write_text("raise ImportError('a file of the user, not the standard library')")
    run = subprocess.run(
        # -P only so that this interpreter survives queue.py, too: the child starts in the same directory.
        [sys.executable, "-P", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    first, second = run.stdout.splitlines()
    assert first == "once"
    assert second.startswith("(1, 4, 4, 4, 8) (4, 4, 8) True False auto: MLX finds")
    assert run.stderr == ""
