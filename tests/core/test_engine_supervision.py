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
from conv3d_core.engine import Cancelled, Content, Engine
from conv3d_core.engine.blocks import Block
from conv3d_core.engine.memory import Need
from conv3d_core.engine.process import worker_environment
from conv3d_core.engine.supervisor import Supervisor
from tests.core.builds import without_cuda

ROOT = Path(__file__).resolve().parents[2]
SPEC = ConvSpec(1, 1, 3)
X = np.ones((1, 4, 4, 4, 1), np.float32)
WEIGHT = np.ones(SPEC.weight_shape, np.float32)
# Some seconds in a hundred tiles, of some ten milliseconds each.
LONG_SPEC = ConvSpec(8, 32, 5)
LONG_X = np.ones((1, 64, 64, 64, 8), np.float32)
LONG_WEIGHT = np.ones(LONG_SPEC.weight_shape, np.float32)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(device="cpu", timeout_s=60, accelerate=False) as running:
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


def until(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def gone(pid: int, within_s: float = 10.0) -> bool:
    return until(lambda: not exists(pid), within_s)


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start a call elsewhere; what is returned waits for it and gives its result or raises what it raised."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return lambda: future.result(30)


def long_job(engine: Engine, **options: Any) -> Any:
    return engine.submit(LONG_SPEC, LONG_X, LONG_WEIGHT, **options)


def under_way(engine: Engine, **options: Any) -> Any:
    """A long job of which some tiles are done."""
    job = long_job(engine, **options)
    assert until(lambda: job.progress > 0.02)
    assert not job.done
    return job


def unchecked(engine: Engine, x: np.ndarray = X, weight: np.ndarray = WEIGHT, repeats: int = 1, **values: Any) -> Any:
    """A layer that no check has seen, straight to MLX."""
    spec = ConvSpec(1, 1, 3)
    for name, value in values.items():
        object.__setattr__(spec, name, value)
    store = engine._supervisor.store
    stored = store.put(x), store.put(weight)
    arguments = {
        "spec": spec,
        "x": stored[0].reference,
        "weight": stored[1].reference,
        "bias": None,
        "repeats": repeats,
    }
    return engine._dispatcher.call("raw_times", arguments, Need(), "unchecked", stored)


def kill(pid: int) -> None:
    """End it in the middle of what it does: between two steps nobody would notice."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)


def kinds(engine: Engine) -> list[str]:
    return [event.kind for event in engine.log]


def test_a_worker_killed_in_the_middle_of_a_run(engine: Engine) -> None:
    pid = pid_of(engine)
    worker = engine._supervisor._worker
    assert worker is not None
    os.write(worker._output.fileno(), b"printed before this request\n")
    job = under_way(engine)
    kill(pid)
    with pytest.raises(
        EngineError,
        match=r"^engine: the worker process ended with SIGKILL; the next request starts a new one, "
        r"and memory may have run out, so crop the input or use a smaller kernel_size\.$",
    ):
        job.result()
    assert works(engine)
    assert pid_of(engine) != pid
    assert gone(pid)
    assert kinds(engine)[:4].count("ended") == 1
    assert {"ended", "failed", "started", "done"} <= set(kinds(engine))


def test_requests_that_wait_are_served_by_the_next_worker(engine: Engine) -> None:
    """Only what the process was working on is lost: at most one request a lane."""
    lanes = engine.info.lanes
    jobs = [long_job(engine) for _ in range(lanes)]
    assert until(lambda: all(job.progress > 0 for job in jobs))
    waiting = [engine.submit(SPEC, X * number, WEIGHT) for number in range(1, 6)]
    kill(pid_of(engine))
    values, died = [], 0
    for job in waiting:
        try:
            values.append(float(job.result()[0].max()))
        except EngineError:
            died += 1
    assert died <= lanes
    assert len(values) == len(waiting) - died
    assert set(values) <= {27.0 * number for number in range(1, 6)}
    for job in jobs:
        job.cancel()


def test_a_worker_killed_between_two_requests_costs_nothing(engine: Engine) -> None:
    pid = pid_of(engine)
    os.kill(pid, signal.SIGKILL)
    # A process of several threads can be waited for only once the last of them has ended.
    end = time.monotonic() + 10
    while engine.worker_pid is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert engine.worker_pid is None
    assert works(engine)


def test_a_worker_killed_between_two_steps_costs_a_run_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, killed = Supervisor._ask, []

    def kill_first(supervisor: Supervisor, worker: Any, *rest: Any) -> None:
        ask(supervisor, worker, *rest)
        if not killed and engine.info.lanes == 1:
            killed.append(worker)
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()

    monkeypatch.setattr("conv3d_core.engine.client.MOST_LANES", 1)
    with Engine(device="cpu", accelerate=False) as engine:
        monkeypatch.setattr(Supervisor, "_ask", kill_first)
        (output,) = long_job(engine).result()
        assert (output == 1000).all()
        assert len(killed) == 1
        assert kinds(engine).count("ended") == 1
        assert "failed" not in kinds(engine)


def test_a_layer_that_ends_mlx_is_an_error_and_not_a_crash(engine: Engine) -> None:
    pid = pid_of(engine)
    with pytest.raises(
        EngineError,
        match=r"^engine: the worker process ended with exit status 0, its last line was [^;]*SGEMM[^;]*; [^;]*$",
    ):
        unchecked(engine, weight=WEIGHT[:0], out_channels=0)
    assert works(engine)
    assert pid_of(engine) != pid


def test_a_failed_allocation_is_an_error_and_not_a_crash(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"^engine: (the worker process ended with SIG|MLX raised )"):
        unchecked(engine, padding=(20_000, 20_000, 20_000))
    assert works(engine)


def test_what_mlx_raises_is_quoted_and_the_worker_stays(engine: Engine) -> None:
    pid = pid_of(engine)
    with pytest.raises(EngineError, match=r"^engine: MLX raised \w+: .+; change the layer or the input\.$"):
        unchecked(engine, stride=(1, 2))
    with pytest.raises(EngineError, match=re.escape("weight: shape (3, 3, 3, 1) is not (1, 3, 3, 3, 1)")):
        unchecked(engine, weight=WEIGHT[0])
    assert works(engine)
    assert pid_of(engine) == pid


def test_a_fault_of_the_worker_itself_ends_it_and_is_quoted(engine: Engine) -> None:
    with pytest.raises(
        EngineError, match=r"ended with exit status 1, its last line was .*AttributeError: .*'nonsense'.*; the next"
    ):
        engine._dispatcher.call("nonsense", {}, Need(), "nonsense")
    assert works(engine)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_engine_itself_is_told_and_costs_no_lane(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(Supervisor, "_ask", broken)
        for _ in range(engine.info.lanes + 1):
            with pytest.raises(EngineError, match="met a fault of the engine itself; see the server's log"):
                works(engine)
    assert works(engine)


def test_a_worker_that_hangs_is_killed_at_the_time_limit(engine: Engine) -> None:
    pid = pid_of(engine)
    os.kill(pid, signal.SIGSTOP)
    engine._supervisor._timeout_s = 0.5  # only now: starting may take longer on a busy machine
    began = time.monotonic()
    with pytest.raises(
        EngineError, match=r"^engine: no result after 0\.5 s, so the worker process was killed; crop .* timeout_s\.$"
    ):
        engine.run(SPEC, X, weight=WEIGHT)
    assert 0.4 < time.monotonic() - began < 10
    assert gone(pid)
    engine._supervisor._timeout_s = 60
    assert works(engine)


def test_the_time_limit_is_of_one_step_and_not_of_a_long_run(engine: Engine) -> None:
    first = long_job(engine)
    first.result()
    engine._supervisor._timeout_s = first.elapsed_ms / 3000
    again = long_job(engine)
    assert again.result()[0].shape == (1, 60, 60, 60, 32)
    assert again.elapsed_ms / 1000 > engine._supervisor._timeout_s
    engine._supervisor._timeout_s = 0.3
    pid = pid_of(engine)
    with pytest.raises(EngineError, match=r"no result after 0\.3 s"):
        unchecked(engine, repeats=10**6)
    assert gone(pid)


def test_who_worked_beside_a_request_that_hangs_is_served_by_the_next_worker(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.info.lanes < 2:
        pytest.skip("one core has one lane")
    job = under_way(engine)
    engine._supervisor._timeout_s = 2.0
    pid = pid_of(engine)
    wait = in_thread(lambda: unchecked(engine, repeats=10**6))
    with pytest.raises(EngineError, match=r"no result after 2 s"):
        wait()
    assert gone(pid)
    assert np.array_equal(job.result()[0], np.full((1, 60, 60, 60, 32), 1000))


def test_a_caller_that_is_interrupted_leaves_no_reply_behind(engine: Engine) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Interrupted):
            engine.run(LONG_SPEC, LONG_X, LONG_WEIGHT)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert works(engine)
    assert "cancelled" in kinds(engine)


def test_a_cancel_is_answered_at_once_and_the_worker_is_free_after_one_tile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = under_way(engine)
    served: list[str] = []
    serve = Supervisor._serve

    def listen(supervisor: Supervisor, lane: int, work: Any, step: Any, reply: Any) -> None:
        serve(supervisor, lane, work, step, reply)
        served.append(work.words)

    monkeypatch.setattr(Supervisor, "_serve", listen)
    pid = pid_of(engine)
    job.cancel()
    assert job.done
    with pytest.raises(Cancelled, match=r"^engine: it was cancelled; ask again if it is still wanted\.$"):
        job.result()
    assert works(engine)
    assert until(lambda: engine._supervisor.schedule._holding == [])
    assert sum("(8, 32" in words for words in served) <= engine.info.lanes, "what was under way, and nothing more"
    assert pid_of(engine) == pid, "nobody was killed for it"


def test_the_latest_request_of_a_session_wins(engine: Engine) -> None:
    jobs = [under_way(engine, session="anna")] + [long_job(engine, session="anna") for _ in range(5)]
    other = engine.submit(SPEC, X, WEIGHT, session="ben")
    last = engine.submit(SPEC, X * 2, WEIGHT, session="anna")
    for job in jobs:
        with pytest.raises(Cancelled, match="a newer request of the same session took its place"):
            job.result()
    assert last.result()[0].max() == 54
    assert other.result()[0].max() == 27
    assert kinds(engine).count("superseded") == len(jobs)


def test_a_plane_does_not_wait_for_a_whole_volume(engine: Engine) -> None:
    job = under_way(engine)
    planes = engine.planes(LONG_SPEC, Content.of(LONG_X), (1, 2, 3), LONG_WEIGHT)
    assert not job.done
    assert all((plane == 1000).all() for plane in planes)
    job.cancel()


def test_a_content_is_sent_once_and_its_results_are_remembered(engine: Engine) -> None:
    content = Content.of(np.random.default_rng(0).normal(size=(1, 20, 20, 20, 1)))
    whole = engine.run(SPEC, content, WEIGHT)
    worker = engine._supervisor._worker
    assert worker is not None
    known = set(worker._mapped)
    engine._dispatcher._cache.clear()
    again = engine.run(SPEC, content, WEIGHT)
    assert np.array_equal(again, whole)
    assert again is not whole
    # A result takes the way back through its lane's block; the input and the weight were there.
    assert len(set(worker._mapped) - known) <= engine.info.lanes
    done = kinds(engine).count("done")
    assert engine.run(SPEC, content, WEIGHT) is again
    assert np.shares_memory(engine.plane(SPEC, content, "H", 3, WEIGHT), again)
    assert kinds(engine).count("done") == done
    with pytest.raises(ValueError, match="read-only"):
        again[:] = 0
    for other in (
        engine.run(SPEC, content, WEIGHT * 2),
        engine.run(SPEC, content, WEIGHT, bias=[1]),
        engine.run(ConvSpec(1, 1, 3, padding=1), content, WEIGHT),
        engine.run(SPEC, content, WEIGHT, dtype="float16"),
        engine.run(SPEC, Content.of(content.array * 2), WEIGHT),
    ):
        assert other.shape != whole.shape or not np.array_equal(other, whole)
    assert kinds(engine).count("done") == done + 5


def test_two_sessions_that_ask_for_the_same_wait_for_one_result(engine: Engine) -> None:
    content = Content.of(LONG_X)
    first = engine.submit(LONG_SPEC, content, LONG_WEIGHT, session="anna")
    second = engine.submit(LONG_SPEC, content, LONG_WEIGHT, session="ben")
    assert first.work is second.work
    first.cancel()
    (output,) = second.result()
    assert (output == 1000).all()
    assert kinds(engine).count("done") == 1


def test_what_the_worker_sees_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "176MiB")
    spec, one = ConvSpec(1, 1, 1), np.ones((1, 1, 1, 1, 1))
    for number in range(12):
        assert engine.run(spec, np.full((1, 128, 128, 128, 1), number), one).max() == number
        assert engine.voxel(spec, Content.of(np.full((1, 128, 128, 64, 1), number)), (0, 0, 0), one) == number
    blocks = [*engine._supervisor.store._idle.values(), *engine._supervisor.store._pinned.values()]
    assert sum(block.nbytes for block in blocks) < 48 * 2**20
    worker = engine._supervisor._worker
    assert worker is not None
    assert len(worker._mapped) <= len(blocks) + engine.info.lanes + len(engine._supervisor.store._retired)


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


@without_cuda
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_fresh_threads_cost_neither_process_anything(engine: Engine) -> None:
    def threads(pid: int) -> int:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))

    # Every lane has evaluated once, and has the thread that MLX keeps for it; so has the worker's main thread.
    assert until(lambda: works(engine) and threads(pid_of(engine)) == 2 + 2 * engine.info.lanes)
    pids = pid_of(engine), os.getpid()
    before = [threads(pid) for pid in pids]
    for _ in range(200):
        thread = threading.Thread(target=works, args=(engine,))
        thread.start()
        thread.join()
    # A thread that was joined can be seen for a moment still.
    assert until(lambda: [threads(pid) for pid in pids] == before)


def test_eight_sessions_at_once_get_what_each_would_get_alone(engine: Engine) -> None:
    """Whole volumes, planes and voxels of eight sessions, interleaved tile by tile, bit for bit."""
    random = np.random.default_rng(0)
    specs = [ConvSpec(1 + n % 2, 4, 3 + n % 3, stride=1 + n % 2, padding=n % 3, dilation=1 + n // 4) for n in range(8)]
    inputs = [random.normal(size=(1, 40, 36, 32 + n, 1 + n % 2)).astype(np.float32) for n in range(8)]
    weights = [random.normal(size=spec.weight_shape).astype(np.float32) for spec in specs]

    def ask(number: int) -> list[np.ndarray]:
        spec, x, weight = specs[number], Content.of(inputs[number]), weights[number]
        job = engine.submit(spec, x, weight, session=number)
        found = list(engine.planes(spec, x, (3, 4, 5), weight, session=number))
        found.append(engine.voxel(spec, inputs[number], (1, 2, 3), weight))
        return [*found, *job.result()]

    alone = [ask(number) for number in range(8)]
    engine._dispatcher._cache.clear()
    start = threading.Barrier(8)

    def session(number: int) -> list[np.ndarray]:
        start.wait()
        return ask(number)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session, range(8)))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


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
    worker = engine._supervisor._worker
    assert worker is not None
    process = worker.process
    del engine, worker
    gc.collect()
    assert until(lambda: process.poll() is not None)


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
    engine.raw_times_ms(ConvSpec(8, 16, 3), np.ones((1, 64, 64, 64, 8)), repeats=100)
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
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert worker_environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/mine"]
    for name in ("MLX_ENABLE_TF32", "MLX_ENABLE_CACHE_THRASHING_CHECK"):
        monkeypatch.delenv(name, raising=False)
        assert worker_environment()[name] == "0"
        monkeypatch.setenv(name, "1")
        assert worker_environment()[name] == "1"


@without_cuda
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_the_worker_holds_only_its_own_sockets(engine: Engine) -> None:
    with open(ROOT / "pyproject.toml") as held:
        os.set_inheritable(held.fileno(), True)
        with Engine(device="cpu") as second:
            targets = [os.readlink(fd) for fd in Path(f"/proc/{pid_of(second)}/fd").iterdir()]
    # One to start it, and one a lane.
    assert sum(target.startswith("socket:") for target in targets) == 1 + engine.info.lanes
    assert not [target for target in targets if "pyproject" in target]


def test_shared_memory_that_cannot_be_had_is_an_error_and_the_lane_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(engine)
    threads = set(engine._supervisor._threads)
    spec = ConvSpec(1, 8, 1)
    x, weight = np.ones((1, 9, 64, 64, 1), np.float32), np.ones(spec.weight_shape, np.float32)

    def no_more() -> Any:
        raise OSError(24, "Too many open files")

    def no_reply(nbytes: int) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("conv3d_core.engine.blocks.anonymous_file", no_more)
            return Block(nbytes)

    for name, instead in (("blocks.anonymous_file", no_more), ("supervisor.Block", no_reply)):
        with monkeypatch.context() as patch:
            patch.setattr(f"conv3d_core.engine.{name}", instead)
            ask = in_thread(lambda: engine.run(spec, x, weight))
            with pytest.raises(
                EngineError,
                match=r"^engine: shared memory cannot be had \(\[Errno 24\] Too many open files\); "
                r"free memory, processes or open files\.$",
            ):
                ask()
    assert engine._supervisor._threads == threads
    assert (engine.run(spec, x, weight) == 1).all()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_that_ends_by_a_fault_of_ours_is_replaced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert works(engine)
    threads = set(engine._supervisor._threads)

    def fault(*_: Any) -> None:
        raise RuntimeError("a fault of the engine")

    with monkeypatch.context() as patch:
        patch.setattr(Supervisor, "_serve", fault)
        with pytest.raises(EngineError, match=r"^engine: this request met a fault of the engine itself; "):
            works(engine)
    assert until(lambda: engine._supervisor._threads == threads)
    assert works(engine)
