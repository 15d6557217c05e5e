"""Where it runs: a GPU that fails is left for the CPU and that is said; half precision; a faster BLAS."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, EngineError
from conv3d_core.engine import Content, Engine, blas
from conv3d_core.engine.memory import GPU_GRAIN
from tests.core.builds import without_cuda
from tests.core.strategies import layers_and_inputs

ROOT = Path(__file__).resolve().parents[2]
SPEC = ConvSpec(1, 1, 3)
X = np.ones((1, 4, 4, 4, 1), np.float32)
WEIGHT = np.ones(SPEC.weight_shape, np.float32)

# MLX in the worker believes that it has a Metal device. What "runs there" runs on the CPU, or fails as told.
GPU = """
import os
import signal
import mlx.core as mx
import mlx.nn as nn

mx.metal.is_available = lambda: True
on_gpu = []
set_default_device, call = mx.set_default_device, nn.Conv3d.__call__

def choose(device):
    on_gpu.append(device == mx.gpu)
    set_default_device(mx.cpu)

def layer(self, x):
    if on_gpu[-1]:
        {failure}
    return call(self, x)

mx.set_default_device = choose
mx.device_info = lambda device=None: {{"device_name": "Fake GPU" if on_gpu[-1] else "CPU"}}
nn.Conv3d.__call__ = layer
"""


def with_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    (folder / "sitecustomize.py").write_text(GPU.format(failure=failure))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def works(engine: Engine) -> bool:
    return bool((engine.run(SPEC, X, weight=WEIGHT) == 27).all())


def test_a_gpu_that_works_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(tmp_path, monkeypatch, "pass")
    with Engine(accelerate=False) as engine:
        assert works(engine)
        info = engine.info
        assert (info.device, info.backend, info.device_name) == ("gpu", "metal", "Fake GPU")
        assert (info.reason, info.fallback) == ("auto: MLX finds a Metal device", "")
        assert (info.lanes, info.blas) == (1, "")
        # Few and large tiles, and no splitting.
        plan = engine._dispatcher.plan_whole(ConvSpec(1, 8, 3, dilation=2), _given((1, 80, 80, 80, 1)), "float32")
        assert plan.need.tilings[0].sizes == (76, 76, 76)
        assert not plan.need.tilings[0].split
        assert plan.need.tiles <= GPU_GRAIN.nbytes
        engine.try_gpu_again()  # nothing to do
        assert engine.info == info


def _given(shape: tuple[int, ...]) -> Any:
    from conv3d_core.engine.operands import given_input

    return given_input(np.broadcast_to(np.float32(0), shape))


def test_a_gpu_that_raises_is_left_for_the_cpu_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(tmp_path, monkeypatch, "raise RuntimeError('[metal::malloc] out of memory')")
    with Engine(accelerate=False) as engine:
        assert engine.info.device == "gpu"
        assert works(engine), "the request itself is answered, too"
        info = engine.info
        failure = "the GPU failed: MLX raised there (engine: MLX raised RuntimeError: [metal::malloc] out of memory"
        assert (info.device, info.backend, info.device_name) == ("cpu", "cpu", "CPU")
        assert info.fallback.startswith(failure)
        assert info.reason == f"auto: {info.fallback}, so it runs on the CPU"
        assert ".)" not in info.reason
        assert any(event.kind == "fell back" and failure in event.text for event in engine.log)
        # It stays there, also in another process, until it is told otherwise.
        os.kill(engine.worker_pid, signal.SIGKILL)
        while engine.worker_pid is not None:
            pass
        assert works(engine)
        assert engine.info.fallback == info.fallback
        monkeypatch.delenv("PYTHONPATH")
        with_gpu(tmp_path, monkeypatch, "pass")  # repaired
        engine.try_gpu_again()
        assert works(engine)
        assert (engine.info.device, engine.info.fallback) == ("gpu", "")


def test_a_gpu_whose_process_dies_twice_is_left_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGABRT)")
    with Engine(accelerate=False) as engine:
        with pytest.raises(EngineError, match="the worker process ended with SIGABRT"):
            works(engine)
        assert engine.info.device == "gpu", "once may be the request's own fault"
        assert works(engine)
        assert engine.info.fallback.startswith("the GPU failed: its process ended again (engine: the worker process")


@without_cuda
def test_a_gpu_that_cannot_be_started_is_left_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real failure of the real MLX: its CPU build has no such device.
    (tmp_path / "sitecustomize.py").write_text("import mlx.core as mx\nmx.metal.is_available = lambda: True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Engine(accelerate=False) as engine:
        assert works(engine)
        assert engine.info.device == "cpu"
        assert engine.info.fallback.startswith("the GPU could not be started (engine: MLX raised ")
    with pytest.raises(EngineError, match=r"^engine: MLX raised "), Engine("gpu"):
        pass


def test_a_gpu_that_was_asked_for_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(tmp_path, monkeypatch, "raise RuntimeError('[metal::malloc] out of memory')")
    with Engine("gpu", accelerate=False) as engine:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"^engine: MLX raised RuntimeError: \[metal::malloc\] out of memory"):
                works(engine)
        assert engine.info.device == "gpu"


# Half precision


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu", accelerate=False) as running:
        yield running


REFERENCE = """
import sys
import mlx.core as mx
import mlx.nn as nn
import numpy as np
mx.set_default_device(mx.cpu)
files = np.load(sys.argv[1] + "/in.npz")
layer = {call}
layer.weight, layer.bias = mx.array(files["weight"]), mx.array(files["bias"])
layer.set_dtype(mx.{dtype})
np.save(sys.argv[1] + "/out.npy", np.array(layer(mx.array(files["x"]).astype(mx.{dtype})).astype(mx.float32)))
"""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_half_precision_is_that_of_the_layer_itself(engine: Engine, tmp_path: Path, dtype: str, dilation: int) -> None:
    spec = ConvSpec(3, 5, 3, stride=(1, 2, 1), padding=1, dilation=dilation)
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 40, 40, 40, 3)).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    bias = random.normal(size=5).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, weight=weight, bias=bias)
    script = REFERENCE.format(call=spec.to_mlx(), dtype=dtype)
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
    y = engine.run(spec, x, weight, bias, dtype=dtype)
    assert y.dtype == np.float32
    assert np.array_equal(y, np.load(tmp_path / "out.npy"))
    assert np.array_equal(engine.plane(spec, x, "H", 7, weight, bias, dtype=dtype), y[0, :, 7])
    exact = engine.run(spec, x, weight, bias)
    error = np.abs(y - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < {"float16": 3e-3, "bfloat16": 3e-2}[dtype]


# A faster BLAS


@pytest.fixture(scope="module")
def fast() -> Iterator[Engine]:
    with Engine(device="cpu") as running:
        if not running.info.blas.startswith("OpenBLAS"):
            pytest.skip(f"{running.info.blas}; `make test` installs one where it can")
        yield running


@settings(max_examples=150)
@given(layers_and_inputs(channels=5, kernel=5, slack=9), st.integers(0, 2**32 - 1))
def test_the_fast_paths_are_the_layer_to_float32_rounding(fast: Engine, engine: Engine, layer: Any, seed: int) -> None:
    spec, shape = layer
    random = np.random.default_rng(seed)
    x = random.normal(size=shape).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    wanted = engine.run(spec, x, weight)
    got = fast.run(spec, x, weight)
    # A sum of n products is rounded n times, whatever the order.
    bound = 2**-23 * np.sqrt(weight[0].size) * max(1.0, np.abs(wanted).max()) * 4
    assert np.abs(got - wanted).max() <= bound
    plane = fast.plane(spec, x, "D", 0, weight)
    assert np.abs(plane - wanted[0, 0]).max() <= bound


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (ConvSpec(8, 16, 3, padding=1), 40),
        (ConvSpec(1, 8, 5, padding=2), 64),
        (ConvSpec(2, 8, 3, padding=2, dilation=2), 48),
        (ConvSpec(1, 8, 3, stride=2, padding=3, dilation=3), 48),
        (ConvSpec(1, 4, (3, 5, 1), stride=(1, 2, 3), padding=(4, 0, 2), dilation=(4, 3, 1)), 64),
        (ConvSpec(1, 2, 3, dilation=20), 60),
    ],
)
def test_many_tiles_and_phases_are_the_layer_at_once(
    fast: Engine, engine: Engine, tmp_path: Path, spec: ConvSpec, size: int
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(2, size, size, size, spec.in_channels)).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    bias = random.normal(size=spec.out_channels).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, weight=weight, bias=bias)
    script = REFERENCE.format(call=spec.to_mlx(), dtype="float32")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=100)
    wanted = np.load(tmp_path / "out.npy")
    assert np.array_equal(engine.run(spec, x, weight, bias), wanted), "MLX's own BLAS: bit for bit"
    got = fast.run(spec, x, weight, bias)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


def test_the_blas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, words in (
        ("off", "MLX's own, CONV3D_BLAS=off"),
        ("/nowhere/libblas.so", "MLX's own, /nowhere/libblas.so has no cblas_sgemm or cannot be loaded"),
        ("libm.so.6", "MLX's own, libm.so.6 has no cblas_sgemm or cannot be loaded"),
    ):
        monkeypatch.setenv(blas.VARIABLE, value)
        with Engine(device="cpu") as engine:
            assert engine.info.blas == (words if sys.platform == "linux" or value == "off" else "MLX's own")
            assert works(engine)


def test_without_any_blas_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.setattr(blas, "NAMES", ("libnone.so.0",))
    monkeypatch.setattr(sys, "platform", "linux")
    assert blas.preload() == "MLX's own, no OpenBLAS found, apt-get install libopenblas0-pthread makes it faster"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.preload() == "MLX's own"


@pytest.mark.skipif(not shutil.which("gcc") or sys.platform != "linux", reason="builds a library")
def test_mlx_multiplies_with_the_library_that_is_preloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The linker's rule that the fast path stands on: a `cblas_sgemm` that gives 42 is what the layer then gives."""
    source = tmp_path / "answer.c"
    source.write_text(
        "void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,\n"
        "    const float *b, int ldb, float beta, float *c, int ldc)\n"
        "{ for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) c[i * ldc + j] = 42; }\n"
    )
    library = tmp_path / "libanswer.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    monkeypatch.setenv(blas.VARIABLE, str(library))
    with Engine(device="cpu") as engine:
        assert engine.info.blas == str(library)
        assert np.unique(engine.run(SPEC, X, weight=WEIGHT)).tolist() == [42]


# Memory


@without_cuda
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("accelerate", [False, True])
def test_the_worker_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch, accelerate: bool) -> None:
    """One process through layers of every kind: kernels that unfold 100 times the input, many channels, strides."""
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "256MiB")
    layers = [
        (ConvSpec(8, 16, 3, padding=1), 48),
        (ConvSpec(1, 8, 9, padding=4), 48),
        (ConvSpec(1, 8, 3, padding=2, dilation=2), 96),
        (ConvSpec(16, 16, 3), 40),
        (ConvSpec(1, 1, 1), 160),
        (ConvSpec(1, 2, 3, stride=4), 200),
        (ConvSpec(1, 1, 40), 60),
        (ConvSpec(64, 64, 5), 8),
    ]
    with Engine(device="cpu", accelerate=accelerate) as engine:
        for spec, size in layers:
            x = Content.of(np.random.default_rng(0).normal(size=(1, size, size, size, spec.in_channels)))
            engine.run(spec, x)
            engine.planes(spec, x, (0, 0, 0))
            engine.voxel_gradient(spec, x.array.shape, (0, 0, 0)) if spec.kernel_size[0] < 20 else None
            status = Path(f"/proc/{engine.worker_pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) * 2**10
            assert peak <= 256 * 2**20, (spec, peak / 2**20)


def test_lanes_are_the_cores_that_this_process_may_use(engine: Engine) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert engine.info.lanes == min(cores, 8)
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("engine lane")]
    assert len(names) >= engine.info.lanes


def test_a_gpu_that_is_tried_again_has_one_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(tmp_path, monkeypatch, "raise RuntimeError('[metal::malloc] out of memory')")
    monkeypatch.setattr("conv3d_core.engine.client._cores", lambda: 3)
    with Engine(accelerate=False) as engine:
        assert works(engine)
        assert works(engine)
        assert (engine.info.lanes, engine._supervisor._threads) == (3, {1, 2, 3})
        with_gpu(tmp_path, monkeypatch, "pass")
        engine.try_gpu_again()
        for _ in range(12):  # each lane finds out when it is given something to do
            assert works(engine)
        assert engine._supervisor._threads == {1}
