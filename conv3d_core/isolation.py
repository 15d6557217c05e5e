"""What a process of our own needs: memory to share with it, an environment to start in, words for how it ended."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[1]


def anonymous_file() -> int:
    """The descriptor of a file in memory without a name: nothing can be left behind, and /dev/shm is not involved."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("conv3d", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:  # macOS: without a name, in the page cache unless memory is short
        return os.dup(file.fileno())


def seal(descriptor: int) -> None:
    """Let nobody change the size of such a file: who maps what another then cuts off is ended by the system."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


def process_environment() -> dict[str, str]:
    """This process' environment, with conv3d_core importable from any working directory, and one thread for a BLAS."""
    environment = dict(os.environ)
    paths = [str(SOURCE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["OPENBLAS_NUM_THREADS"] = "1"
    return environment


def status_in_words(status: int) -> str:
    """An exit status; below 0 it is a signal.

    >>> status_in_words(1), status_in_words(-11)
    ('exit status 1', 'SIGSEGV')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
