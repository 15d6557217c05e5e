"""Stands in for the process that damages and reads: dies of what it says it reads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.core.fuzz import keep

if __name__ == "__main__":
    keep([("a.npy", b"hello")], Path(sys.argv[sys.argv.index("--work") + 1]))
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
