"""The process that reads, watched from inside: how much it held, and what it did that no reader does.

It writes to memory that the test has mapped, because it may not write to a file, and so that what is known stays known
when it crashes.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from conv3d_core.volumes.reading_process import main
from tests.core.canaries import CANARY

REPORT_BYTES = 4096
# What Python says of itself as it starts a program, speaks to another machine, unpickles, or removes a file.
NEVER = re.compile(
    r"os\.(system|exec|posix_spawn|fork|remove|rename|link|symlink|mkdir|rmdir|chmod|truncate)|subprocess\..*"
    r"|socket\.(connect|getaddrinfo|gethostbyname|sendto|sendmsg)|urllib\..*|pickle\..*|shutil\..*|webbrowser\..*"
)
# What only a header can have named.
ELSEWHERE = re.compile(rf"{re.escape(CANARY)}|/etc/passwd|/hostile/[a-z_]+\.py$|win\.ini|/dev/zero")


def is_wrong(event: str, args: tuple[Any, ...]) -> bool:
    """Whether what Python is about to do is nothing that a reader does."""
    if event != "open":
        # h5py asks for the processor as it is imported.
        return NEVER.fullmatch(event) is not None and args[:1] != ("uname",)
    path, _, flags = args
    if path == os.devnull:
        return False
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) > 0
    return writes or (isinstance(path, str | bytes) and ELSEWHERE.search(os.fsdecode(path)) is not None)


class Watch:
    """Notes what is done, from the moment when the bytes are there."""

    def __init__(self, report: mmap.mmap) -> None:
        self._report = report
        self._done: list[str] = []
        self.write()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if is_wrong(event, args):
            self._done.append(f"{event} {args!r}"[:200])
            self.write()

    def write(self) -> None:
        """What is known now."""
        text = json.dumps({"peak": peak_bytes(), "done": self._done[:10]}).encode()
        self._report[:] = text.ljust(REPORT_BYTES)


def peak_bytes() -> int:
    """The most that this process has held at a time; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    with open(os.environ["MEASURED_REPORT"], "r+b") as file:
        watch = Watch(mmap.mmap(file.fileno(), REPORT_BYTES))
    try:
        main(Connection(int(sys.argv[1])), int(sys.argv[2]))
    finally:
        watch.write()
