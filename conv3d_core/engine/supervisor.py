"""Starts the worker process, times each request, and replaces the process when it dies or hangs.

Written here and not taken from pebble or loky: both start their children through `multiprocessing`, which runs the
page's script again inside every child when `__main__` is a Streamlit page. `subprocess` with ``-m`` does not.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from conv3d_core.errors import EngineError

MODULE = "conv3d_core.engine.worker"
SOURCE_ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 1.0
TAIL_BYTES = 4096
OUT_OF_MEMORY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Where the layer runs.

    Attributes:
        device: "cpu" or "gpu".
        backend: "metal", "cuda" or "cpu".
        device_name: as the device calls itself.
        mlx_version: such as "0.32.4".
        reason: why this device was taken.
        memory_bytes: memory of the device; of the machine for the CPU.
    """

    device: str
    backend: str
    device_name: str
    mlx_version: str
    reason: str
    memory_bytes: int


class WorkerProcess:
    """One worker process, the socket to it, and the file that catches what it prints."""

    def __init__(self) -> None:
        output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        ours, theirs = Pipe()
        try:
            process = subprocess.Popen(
                # -P: a file of the user's working directory must not shadow a module of the standard library.
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=worker_environment(),
                # Ctrl+C in the terminal is for the parent; the worker ends when the parent's socket closes.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            output.close()
            raise
        finally:
            theirs.close()
        self.process = process
        self.connection: Connection = ours
        self._output = output
        # Runs when this object is collected or the interpreter ends, whichever is first: no orphan stays.
        self.end = weakref.finalize(self, _end, process, ours, output)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process now; whoever waits for its reply sees the socket close."""
        self.process.kill()

    def exit_status(self) -> int:
        """The exit status of a process whose socket has closed; negative is a signal."""
        try:
            return self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def printed_bytes(self) -> int:
        """How much the process has printed until now."""
        return os.fstat(self._output.fileno()).st_size

    def last_line(self, since: int) -> str:
        """The last line printed after a byte position, or nothing."""
        # pread: a seek would move the position at which the process writes, which it shares with us.
        start = max(since, self.printed_bytes() - TAIL_BYTES)
        lines = os.pread(self._output.fileno(), TAIL_BYTES, start).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Supervisor:
    """Asks the worker, one request at a time, from any thread; starts it when it is needed and not there.

    Args:
        device: "auto", "gpu" or "cpu".
        timeout_s: seconds that one request may take before its process is killed.
    """

    def __init__(self, device: str, timeout_s: float) -> None:
        self._device = device
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._identities = itertools.count(1)
        self._worker: WorkerProcess | None = None
        self._info: EngineInfo | None = None
        self._closed = False

    def info(self) -> EngineInfo:
        """What the worker runs on; starts it if none ever ran."""
        if self._info is None:
            with self._lock:
                self._ready()
        assert self._info is not None
        return self._info

    def pid(self) -> int | None:
        """Process id of the worker, None where none runs."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.alive() else None

    def ask(self, operation: str, arguments: dict[str, Any]) -> Any:
        """What the worker answers.

        Raises:
            EngineError: MLX raised, the process died or took too long, or the engine is closed.
        """
        with self._lock:
            return self._exchange(self._ready(), operation, arguments)

    def close(self) -> None:
        """End the worker, also under a request, which then raises. Closing twice is fine."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.kill()  # without the lock: the thread that holds it may be waiting for this very process
        with self._lock:
            self._drop()

    def _ready(self) -> WorkerProcess:
        self._refuse_closed()
        if self._worker is not None and not self._worker.alive():
            self._drop()  # it died between two requests: nobody's result is lost
        if self._worker is None:
            try:
                self._worker = WorkerProcess()
            except OSError as error:
                remedy = "free memory, processes or open files"
                raise EngineError("engine", f"the worker process cannot be started ({error})", remedy) from error
            started = False
            try:
                self._info = EngineInfo(**self._exchange(self._worker, "start", {"device": self._device}))
                started = True
            finally:
                if not started:
                    self._drop()
        return self._worker

    def _exchange(self, worker: WorkerProcess, operation: str, arguments: dict[str, Any]) -> Any:
        self._refuse_closed()
        identity = next(self._identities)
        printed = worker.printed_bytes()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            worker.kill()

        # A thread of its own and not a timeout of recv: sending, too, blocks on a process that hangs.
        timer = threading.Timer(self._timeout_s, expire)
        timer.daemon = True
        timer.start()
        answered = False
        try:
            worker.connection.send((identity, operation, arguments))
            replied, outcome, value = worker.connection.recv()
            while replied != identity:
                replied, outcome, value = worker.connection.recv()
            answered = True
        except (EOFError, OSError) as error:
            raise self._obituary(worker, printed, expired.is_set()) from error
        finally:
            timer.cancel()
            timer.join()
            # Also when this thread was interrupted half-way through a message, or the reply came with the last second.
            if not answered or expired.is_set():
                self._drop()
        if outcome == "error":
            raise EngineError(*value)
        return value

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise EngineError("engine", "it is closed", "make a new Engine")

    def _obituary(self, worker: WorkerProcess, printed: int, expired: bool) -> EngineError:
        status = worker.exit_status()
        if self._closed:
            return EngineError("engine", "it was closed while this request ran", "make a new Engine")
        if expired:
            return EngineError(
                "engine",
                f"no result after {self._timeout_s:g} s, so the worker process was killed",
                "crop the input, use a smaller kernel_size or a larger stride, or give Engine a larger timeout_s",
                value=self._timeout_s,
            )
        problem = f"the worker process ended with {_status_in_words(status)}"
        line = worker.last_line(printed)
        if line:
            # A semicolon stands between problem and remedy, and nowhere else.
            problem += f", its last line was {line.replace(';', ',')!r}"
        remedy = "and if it ends again, change the layer or crop the input"
        if -status in OUT_OF_MEMORY:
            remedy = "and memory may have run out, so crop the input or use a smaller kernel_size"
        return EngineError("engine", problem, f"the next request starts a new one, {remedy}", value=status)


def worker_environment() -> dict[str, str]:
    """This process' environment, with conv3d_core importable from any working directory."""
    environment = dict(os.environ)
    paths = [str(SOURCE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # MLX's CUDA build multiplies in TF32 unless told otherwise, an error of 3e-4: the picture is the layer's float32.
    environment.setdefault("MLX_ENABLE_TF32", "0")
    return environment


def _status_in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _end(process: subprocess.Popen[bytes], connection: Connection, output: IO[bytes]) -> None:
    connection.close()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    output.close()
