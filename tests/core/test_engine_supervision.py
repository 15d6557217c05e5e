"""The worker process: it dies, hangs, raises, is shared, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conv3d_core import ConvSpec, EngineError
from conv3d_core.engine import Engine
from conv3d_core.engine.supervisor import worker_environment

ROOT = Path(__file__).resolve().parents[2]
SPEC = ConvSpec(1, 1, 3)
X = np.ones((1, 4, 4, 4, 1), np.float32)
WEIGHT = np.ones(SPEC.weight_shape, np.float32)
# Some seconds of one evaluation: with a dilation MLX's CPU build is slow and needs little memory.
LONG_SPEC = ConvSpec(1, 16, 5, dilation=2)
LONG_X = np.ones((1, 96, 96, 96, 1), np.float32)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(device="cpu", timeout_s=60) as running:
        yield running


def works(engine: Engine) -> bool:
    return bool((engine.run(SPEC, X, weight=WEIGHT) == 27).all())


def pid_of(engine: Engine) -> int:
    pid = engine.worker_pid
    assert pid is not None
    return pid


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Killed, and its new parent has not yet asked how it went.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def gone(pid: int, within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while exists(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not exists(pid)


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start a call elsewhere; what is returned waits for it and gives its result or raises what it raised."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return lambda: future.result(30)


def test_a_worker_killed_in_the_middle_of_a_run(engine: Engine) -> None:
    pid = pid_of(engine)
    assert engine._supervisor._worker is not None
    os.write(engine._supervisor._worker._output.fileno(), b"printed before this request\n")
    wait = in_thread(lambda: engine.run(LONG_SPEC, LONG_X))
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(
        EngineError,
        match=r"^engine: the worker process ended with SIGKILL; the next request starts a new one, "
        r"and memory may have run out, so crop the input or use a smaller kernel_size\.$",
    ):
        wait()
    assert works(engine)
    assert pid_of(engine) != pid
    assert gone(pid)


def test_a_worker_killed_between_two_requests_costs_nothing(engine: Engine) -> None:
    pid = pid_of(engine)
    os.kill(pid, signal.SIGKILL)
    # A process of several threads can be waited for only once the last of them has ended.
    end = time.monotonic() + 10
    while engine.worker_pid is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert engine.worker_pid is None
    assert works(engine)


def test_a_layer_that_ends_mlx_is_an_error_and_not_a_crash(engine: Engine) -> None:
    raw = {**SPEC.to_dict(), "out_channels": 0}
    pid = pid_of(engine)
    with pytest.raises(
        EngineError,
        match=r"^engine: the worker process ended with exit status 0, its last line was [^;]*SGEMM[^;]*; [^;]*$",
    ):
        engine._supervisor.ask("run", {"spec": raw, "x": X, "weight": WEIGHT[:0], "bias": np.zeros(0, np.float32)})
    assert works(engine)
    assert pid_of(engine) != pid


def test_a_failed_allocation_is_an_error_and_not_a_crash(engine: Engine) -> None:
    raw = {**SPEC.to_dict(), "padding": (20_000, 20_000, 20_000)}
    with pytest.raises(EngineError, match=r"^engine: (the worker process ended with SIG|MLX raised )"):
        engine._supervisor.ask("run", {"spec": raw, "x": X, "weight": WEIGHT, "bias": np.zeros(1, np.float32)})
    assert works(engine)


def test_what_mlx_raises_is_quoted_and_the_worker_stays(engine: Engine) -> None:
    pid = pid_of(engine)
    raw = {"spec": {**SPEC.to_dict(), "stride": (1, 2)}, "x": X, "weight": WEIGHT, "bias": np.zeros(1, np.float32)}
    with pytest.raises(EngineError, match=r"^engine: MLX raised \w+: .+; change the layer or the input\.$"):
        engine._supervisor.ask("run", raw)
    raw = {"spec": SPEC.to_dict(), "x": X, "weight": WEIGHT[0], "bias": np.zeros(1, np.float32)}
    with pytest.raises(EngineError, match=re.escape("weight: shape (3, 3, 3, 1) is not (1, 3, 3, 3, 1)")):
        engine._supervisor.ask("run", raw)
    assert works(engine)
    assert pid_of(engine) == pid


@pytest.mark.parametrize("x", [X, np.ones((1, 128, 64, 128, 1), np.float32)], ids=["receiving", "sending"])
def test_a_worker_that_hangs_is_killed_at_the_time_limit(engine: Engine, x: np.ndarray) -> None:
    pid = pid_of(engine)
    os.kill(pid, signal.SIGSTOP)
    engine._supervisor._timeout_s = 0.5  # only now: starting may take longer on a busy machine
    began = time.monotonic()
    with pytest.raises(
        EngineError, match=r"^engine: no result after 0\.5 s, so the worker process was killed; crop .* timeout_s\.$"
    ):
        engine.run(SPEC, x, weight=WEIGHT)
    assert 0.4 < time.monotonic() - began < 10
    assert gone(pid)
    engine._supervisor._timeout_s = 60
    assert works(engine)


def test_a_run_past_the_time_limit_is_killed(engine: Engine) -> None:
    pid = pid_of(engine)
    engine._supervisor._timeout_s = 0.2
    with pytest.raises(EngineError, match=r"no result after 0\.2 s"):
        engine.run(LONG_SPEC, LONG_X, weight=np.ones(LONG_SPEC.weight_shape))
    assert gone(pid)


def test_a_caller_that_is_interrupted_leaves_no_reply_behind(engine: Engine) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    os.kill(pid_of(engine), signal.SIGSTOP)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Interrupted):
            engine.run(SPEC, X * 5, weight=WEIGHT)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert works(engine)


def test_a_reply_to_another_request_is_not_taken(engine: Engine) -> None:
    worker = engine._supervisor._worker
    assert worker is not None
    arguments = {"spec": SPEC.to_dict(), "x": X * 5, "weight": WEIGHT, "bias": np.zeros(1, np.float32)}
    worker.connection.send((-1, "run", arguments))
    assert works(engine)


def test_eight_threads_get_their_own_results(engine: Engine) -> None:
    start = threading.Barrier(8)

    def session(number: int) -> bool:
        start.wait()
        spec, x = ConvSpec(1, 1, 3, padding=number % 3), np.full((1, 4 + number, 4, 4, 1), number)
        results = [engine.run(spec, x, weight=WEIGHT * repeat) for repeat in range(10)]
        return all(
            y.shape == spec.output_shape(x.shape) and y.max() == 27 * number * repeat
            for repeat, y in enumerate(results)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(session, range(1, 9)))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_fresh_threads_cost_the_worker_nothing(engine: Engine) -> None:
    def threads() -> int:
        return len(list(Path(f"/proc/{pid_of(engine)}/task").iterdir()))

    assert works(engine)
    before, ours = threads(), threading.active_count()
    for _ in range(40):
        thread = threading.Thread(target=works, args=(engine,))
        thread.start()
        thread.join()
    assert threads() == before
    assert threading.active_count() == ours


def test_close_ends_the_worker_and_can_be_repeated() -> None:
    engine = Engine(device="cpu")
    engine.close()  # never started
    with pytest.raises(EngineError, match=r"^engine: it is closed; make a new Engine\.$"):
        _ = engine.info

    with Engine(device="cpu") as engine:
        pid = pid_of(engine)
    assert not exists(pid)
    engine.close()
    assert engine.info.device == "cpu"
    with pytest.raises(EngineError, match=r"^engine: it is closed"):
        engine.run(SPEC, X, weight=WEIGHT)
    assert engine.worker_pid is None


def test_close_ends_a_request_that_is_under_way() -> None:
    with Engine(device="cpu") as engine:
        pid = pid_of(engine)
        os.kill(pid, signal.SIGSTOP)
        wait = in_thread(lambda: works(engine))
        time.sleep(0.2)
    with pytest.raises(EngineError, match=r"^engine: it was closed while this request ran; make a new Engine\.$"):
        wait()
    assert not exists(pid)


def test_an_engine_that_is_dropped_takes_its_worker_along() -> None:
    engine = Engine(device="cpu")
    assert works(engine)
    assert engine._supervisor._worker is not None
    process = engine._supervisor._worker.process
    del engine
    gc.collect()
    assert process.returncode == 0  # it went by itself when its socket closed


PARENT = """
import sys
import time
import numpy as np
from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
engine = Engine(device="cpu")
engine.info
print(engine.worker_pid, flush=True)
if "long" in sys.argv:
    engine.run(ConvSpec(1, 16, 5, dilation=2), np.ones((1, 96, 96, 96, 1)))
if "idle" in sys.argv:
    time.sleep(60)
"""


def parent(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_no_orphan_of_a_script_that_never_closes() -> None:
    with parent() as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.wait(30) == 0
    assert gone(pid)


@pytest.mark.parametrize("state", ["idle", "long"])
def test_no_orphan_of_a_parent_that_is_killed(state: str) -> None:
    with parent(state) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(0.5)
        assert exists(pid)
        process.kill()
    assert gone(pid, within_s=2)  # the evaluation itself takes longer


def fake_mlx(folder: Path, core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another MLX for the worker alone."""
    (folder / "mlx").mkdir()
    (folder / "mlx" / "__init__.py").write_text("")
    (folder / "mlx" / "core.py").write_text(core)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("libmlx.so: cannot open shared object file", r"MLX is installed without a backend \(libmlx\.so"),
        ("libcuda.so.1: cannot open shared object file", r"this is MLX's CUDA build and there is no NVIDIA driver"),
        ("No module named 'mlx.core'", "MLX is not installed"),
    ],
)
def test_an_mlx_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, meaning: str
) -> None:
    fake_mlx(tmp_path, f"raise ImportError({message!r})", monkeypatch)
    engine = Engine()
    for _ in range(2):
        with pytest.raises(EngineError, match=rf"^device: {meaning}.*; install one build .*'mlx\[cpu\]'"):
            _ = engine.info
        assert engine.worker_pid is None
    monkeypatch.delenv("PYTHONPATH")  # installed meanwhile
    assert engine.info.backend in ("cpu", "metal", "cuda")
    engine.close()


def test_an_mlx_that_ends_the_process_at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = "import os\nprint('what(): no such device; none', flush=True)\nos.abort()"
    fake_mlx(tmp_path, core, monkeypatch)
    with (
        pytest.raises(EngineError, match=r"ended with SIGABRT, its last line was 'what\(\): no such device") as caught,
        Engine(),
    ):
        pass
    assert str(caught.value).count("; ") == 1, "one problem, one remedy"


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = "class metal: is_available = staticmethod(lambda: False)\ncuda = metal\n"
    fake_mlx(tmp_path, core, monkeypatch)
    with (
        pytest.raises(EngineError, match=r"^device: 'gpu' was asked for, and MLX finds no Metal and no CUDA"),
        Engine("gpu"),
    ):
        pass


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        pytest.raises(EngineError, match=r"^engine: the worker process cannot be started \(.*/nowhere/python"),
        Engine(),
    ):
        pass


def test_the_workers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert worker_environment()["MLX_ENABLE_TF32"] == "0"
    assert worker_environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/mine"]
    monkeypatch.setenv("MLX_ENABLE_TF32", "1")
    assert worker_environment()["MLX_ENABLE_TF32"] == "1"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_the_worker_holds_only_its_own_socket(engine: Engine) -> None:
    with open(ROOT / "pyproject.toml") as held:
        os.set_inheritable(held.fileno(), True)
        with Engine(device="cpu") as second:
            targets = [os.readlink(fd) for fd in Path(f"/proc/{pid_of(second)}/fd").iterdir()]
    assert sum(target.startswith("socket:") for target in targets) == 1
    assert not [target for target in targets if "pyproject" in target]
