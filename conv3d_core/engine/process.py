"""The worker process: started, spoken to, and explained when it ends.

Written here and not taken from pebble or loky, after a look at both (pebble 5.2, loky 3.7). Pebble starts its children
with `multiprocessing`, so under `streamlit run` each of them runs the page's script again, as ``__mp_main__``. Loky's
do not, but when one ends every pending request fails, and the pool with them; and with neither can one process have
several threads that share an input. `subprocess` with ``-m`` and a socket a lane can, in a few lines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import IO, Any

from conv3d_core.engine import blas
from conv3d_core.engine.blocks import Block
from conv3d_core.errors import EngineError
from conv3d_core.isolation import process_environment, status_in_words

MODULE = "conv3d_core.engine.worker"
GRACE_S = 1.0
TAIL_BYTES = 4096
OUT_OF_MEMORY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS)


class Ended(Exception):  # noqa: N818 - not a user's error: the supervisor makes one of it
    """The process is gone."""


class Expired(Ended):
    """It did not answer this request in time, and was killed for it."""


class WorkerProcess:
    """One worker process, a socket to it for each of its lanes and one to start it, and the file of what it prints.

    Args:
        lanes: requests that it can work on at a time.
        environment: of the process, see `worker_environment`.

    Attributes:
        dismissed: whether it was ended on purpose: a request that did nothing to deserve it can be asked again.
    """

    def __init__(self, lanes: int, environment: dict[str, str]) -> None:
        output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        pairs = [Pipe() for _ in range(lanes + 1)]
        descriptors = [theirs.fileno() for _, theirs in pairs]
        try:
            process = subprocess.Popen(
                # -P: a file of the user's working directory must not shadow a module of the standard library.
                [sys.executable, "-P", "-m", MODULE, *(str(descriptor) for descriptor in descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl+C in the terminal is for the parent; the worker ends when the parent's sockets close.
                start_new_session=True,
            )
        except OSError:
            for ours, _ in pairs:
                ours.close()
            output.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        self.process = process
        self.connections: list[Connection] = [ours for ours, _ in pairs]
        self.dismissed = False
        self._output = output
        self._mapped: set[int] = set()
        self._mapping = threading.Lock()
        # Runs when this object is collected, which is when no lane uses it any more, or when the interpreter ends:
        # no orphan stays.
        weakref.finalize(self, _end, process, self.connections, output)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process now; whoever waits for a reply sees the socket close."""
        self.process.kill()

    def ask(self, connection: int, operation: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """What the worker answers; the process is killed if it takes longer.

        Args:
            connection: 0 to start it, from 1 on its lanes; each is for one thread at a time.
            operation: the name of a function of the worker.
            arguments: small: arrays go in blocks.
            timeout_s: seconds until the process counts as hanging.

        Raises:
            EngineError: the worker says that it cannot be done.
            Expired: it did not answer in time.
            Ended: it is gone.
        """
        self._send(connection, operation, arguments)
        return self._receive(connection, timeout_s)

    def map(self, connection: int, blocks: Iterable[Block], timeout_s: float) -> None:
        """Let the worker see these blocks; those that it has are not sent again. Raises as `ask` does."""
        # One lane at a time: another must not use a block that is still on its way.
        with self._mapping:
            for block in blocks:
                if block.number not in self._mapped:
                    self._send(connection, "map", {"number": block.number, "nbytes": block.nbytes}, block.descriptor)
                    self._receive(connection, timeout_s)
                    self._mapped.add(block.number)

    def unmap(self, connection: int, numbers: Iterable[int], timeout_s: float) -> None:
        """Let the worker forget these blocks. Raises as `ask` does."""
        with self._mapping:
            known = self._mapped.intersection(numbers)
            if known:
                self.ask(connection, "unmap", {"numbers": sorted(known)}, timeout_s)
                self._mapped -= known

    def _send(self, connection: int, operation: str, arguments: dict[str, Any], descriptor: int | None = None) -> None:
        try:
            self.connections[connection].send((operation, arguments))
            if descriptor is not None:
                send_handle(self.connections[connection], descriptor, self.process.pid)
        except OSError as error:
            raise Ended from error

    def _receive(self, connection: int, timeout_s: float) -> Any:
        try:
            if not self.connections[connection].poll(timeout_s):
                self.dismissed = True
                self.kill()
                raise Expired
            outcome, value = self.connections[connection].recv()
        except (EOFError, OSError) as error:
            raise Ended from error
        if outcome == "error":
            raise EngineError(*value)
        return value

    def dismiss(self) -> None:
        """End the process on purpose, if it has not ended by itself. Who still waits for it sees its sockets close."""
        if self.alive():
            self.dismissed = True
            self.kill()
            self.process.wait()

    def printed_bytes(self) -> int:
        """How much the process has printed until now."""
        return os.fstat(self._output.fileno()).st_size

    def obituary(self, printed: int) -> EngineError:
        """Why the process ended, for whom it was working.

        Args:
            printed: `printed_bytes` when the request began: what came before says nothing of it.
        """
        status = self._exit_status()
        problem = f"the worker process ended with {status_in_words(status)}"
        line = self._last_line(printed)
        if line:
            # A semicolon stands between problem and remedy, and nowhere else.
            problem += f", its last line was {line.replace(';', ',')!r}"
        remedy = "and if it ends again, change the layer or crop the input"
        if -status in OUT_OF_MEMORY:
            remedy = "and memory may have run out, so crop the input or use a smaller kernel_size"
        return EngineError("engine", problem, f"the next request starts a new one, {remedy}", value=status)

    def _exit_status(self) -> int:
        """The exit status of a process whose socket has closed; negative is a signal."""
        try:
            return self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _last_line(self, since: int) -> str:
        """The last line printed after a byte position, or nothing."""
        # pread: a seek would move the position at which the process writes, which it shares with us.
        start = max(since, self.printed_bytes() - TAIL_BYTES)
        lines = os.pread(self._output.fileno(), TAIL_BYTES, start).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def worker_environment(accelerate: bool = True) -> dict[str, str]:
    """`process_environment`, and how MLX is to multiply.

    Args:
        accelerate: whether a faster BLAS may take the place of MLX's own, see `blas`.
    """
    # One thread for a BLAS: the lanes are the threads, each of them multiplies alone.
    environment = process_environment()
    # MLX's CUDA build multiplies in TF32 unless told otherwise, an error of 3e-4: the picture is the layer's float32.
    environment.setdefault("MLX_ENABLE_TF32", "0")
    # It also raises at the 257th new shape, believing that something is wrong; slabs, tiles and planes have many.
    environment.setdefault("MLX_ENABLE_CACHE_THRASHING_CHECK", "0")
    if not accelerate:
        environment[blas.VARIABLE] = blas.OFF
    return environment


def _end(process: subprocess.Popen[bytes], connections: list[Connection], output: IO[bytes]) -> None:
    for connection in connections:
        connection.close()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    output.close()
