"""Damage sound files at random and read them: a volume or a VolumeError has to come out, soon and for little memory.

Run as ``python -m tests.core.fuzz --seconds 600``. Reading happens in a process of its own, which says beforehand what
it is about to read, so that a crash is found too. ``python -m tests.core.fuzz FILE`` reads what a finding has left.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import json
import logging
import math
import os
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from conv3d_core.errors import VolumeError
from conv3d_core.isolation import process_environment, status_in_words
from conv3d_core.volumes import Entry, Part, inspect_volume, read_volume
from conv3d_core.volumes.limits import MIB
from tests.core.hostile.case import Files
from tests.core.hostile.packed import gzipped, zipped
from tests.core.measured_reader import peak_bytes
from tests.core.seeds import MAKERS, seed

# Of the processor; a machine that is busy takes its time.
MOST_S = 5.0
HANGS_S = 60.0
MOST_BYTES = 256 * MIB
MOST_READ = 3
MODULE = "tests.core.fuzz"
INTERESTING = (0, 1, 2, 7, 8, 255, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    b"0",
    b"-1",
    b"1",
    b"2147483647",
    b"4294967296",
    b"9223372036854775807",
    b"nan",
    b"inf",
    b"1e999",
    b"../a",
    b"",
)
NUMBER = re.compile(rb"-?[0-9]+")
PNG = b"\x89PNG\r\n\x1a\n"


class FindingError(AssertionError):
    """A file that does more than it may."""


# ---- damage


def damaged(random: Random, name: str) -> Files:
    """The files of a seed, hurt in one to four ways; sometimes packed once more."""
    files = list(seed(name))
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        at = random.randrange(len(files))
        own, content = files[at]
        files[at] = (own, random.choice(WAYS)(random, content))
    if random.random() < 0.7:
        files = [(own, _checked_again(content)) for own, content in files]
    if len(files) > 1 and random.random() < 0.1:
        del files[random.randrange(len(files))]
    if random.random() < 0.1:
        files.append(random.choice(seed(random.choice(list(MAKERS)))))
    return _packed(random, files)


def _packed(random: Random, files: Files) -> Files:
    how = random.random()
    if how < 0.06:
        return [(f"{own}.gz", gzipped(content)) for own, content in files]
    if how < 0.08:
        return [(f"{own}.bz2", bz2.compress(content)) for own, content in files]
    # Of two members of one name zipfile warns.
    return [("all.zip", zipped(*dict(files).items()))] if how < 0.16 else files


def _flipped(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        if changed:
            changed[_place(random, len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _place(random: Random, size: int) -> int:
    """Mostly in the header."""
    return random.randrange(min(size, random.choice((16, 64, 256, 1024, size))))


def _numbered(random: Random, content: bytes) -> bytes:
    """An integer somewhere in the header is another one."""
    form = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(content) < size:
        return content
    at = _place(random, len(content) - size + 1)
    at -= at % random.choice((1, size))
    return content[:at] + struct.pack(form, random.choice(INTERESTING) % 256**size) + content[at + size :]


def _worded(random: Random, content: bytes) -> bytes:
    """A number that is written as text is another word."""
    found = list(NUMBER.finditer(content, 0, 4096))
    if not found:
        return content
    start, end = random.choice(found).span()
    return content[:start] + random.choice(WORDS) + content[end:]


def _cut(random: Random, content: bytes) -> bytes:
    return content[: _place(random, len(content) + 1)] if content else content


def _without(random: Random, content: bytes) -> bytes:
    start = _place(random, len(content) + 1)
    return content[:start] + content[start + random.choice((1, 2, 4, 8, 50)) :]


def _with_more(random: Random, content: bytes) -> bytes:
    at = _place(random, len(content) + 1)
    piece = random.choice((bytes(8), b"\xff" * 8, random.randbytes(random.randint(1, 40)), content[:at][-64:]))
    return content[:at] + piece * random.choice((1, 1, 3, 200)) + content[at:]


def _spliced(random: Random, content: bytes) -> bytes:
    """A piece of another file."""
    _, other = random.choice(seed(random.choice(list(MAKERS))))
    start, length = random.randrange(len(other) + 1), random.choice((2, 8, 32, 256, len(other)))
    at = _place(random, len(content) + 1)
    return content[:at] + other[start : start + length] + content[at + length * random.randint(0, 1) :]


def _blanked(random: Random, content: bytes) -> bytes:
    at, length = _place(random, len(content) + 1), random.choice((4, 16, 100))
    return (
        content[:at] + random.choice((b"\0", b"\xff", b" ")) * min(length, len(content) - at) + content[at + length :]
    )


WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flipped, _flipped, _numbered, _numbered, _numbered, _worded, _worded, _cut, _without, _with_more, _spliced,
    _blanked,
)  # fmt: skip


def _checked_again(content: bytes) -> bytes:
    """A PNG whose checksums are right again: else nothing behind them is ever looked at."""
    if not content.startswith(PNG):
        return content
    result, at = bytearray(PNG), len(PNG)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">L", content, at)
        piece = content[at + 4 : at + 8 + length]
        result += content[at : at + 4] + piece + struct.pack(">L", zlib.crc32(piece))
        at += 12 + length
    return bytes(result)


# ---- reading


def check(files: Files) -> str:
    """Read everything that is in some files; what came of it, in a word.

    Raises:
        FindingError: it took too long or too much memory.
        Exception: anything else that came out of a reader and is no VolumeError.
    """
    start = time.process_time()
    result = _reset_peak()
    outcome = "refused"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            entries = inspect_volume(files)
            outcome = "listed"
            for entry in entries[:MOST_READ]:
                # Of a large one no more than a corner: what it would take is not the file's fault.
                volume = read_volume(files, member=entry.name if len(entries) > 1 else None, part=_part(entry))
                result = max(result, volume.nbytes)
                outcome = "read"
        except VolumeError as error:
            if not str(error).isprintable() or len(str(error)) > 2000:
                raise FindingError(f"its message is not fit to be shown: {str(error)[:300]!r}") from error
    took, peak = time.process_time() - start, peak_bytes() - _base
    if took > MOST_S:
        raise FindingError(f"it took {took:.1f} s")
    if peak > MOST_BYTES + result:
        raise FindingError(f"it took {peak / MIB:,.0f} MiB")
    return outcome


_base = 0


def _reset_peak() -> int:
    """From now on the kernel counts anew, where it can."""
    global _base
    try:
        Path("/proc/self/clear_refs").write_text("5")
        _base = peak_bytes()
    except OSError:
        _base = peak_bytes()
    return 0


def _part(entry: Entry) -> Part:
    if entry.refusal or 4 * math.prod(entry.sizes) < 64 * MIB:
        return Part()
    d, h, w = ((0, min(size, 8) - 1) for size in entry.sizes[:3])
    return Part(box=(d, h, w), channel=0)


# ---- for as long as is wanted


def search(seconds: float, number: int, chosen: str, folder: Path) -> int:
    """Start processes that damage and read, until the time is up; how many findings there are."""
    deadline = time.monotonic() + seconds
    folder.mkdir(parents=True, exist_ok=True)
    findings = 0
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() < deadline:
            current = Path(place) / "current"
            asked = [sys.executable, "-m", MODULE, "--work", str(current), "--seed", str(number)]
            asked += ["--seconds", str(deadline - time.monotonic()), "--only", chosen]
            number += 1
            with subprocess.Popen(asked, env=process_environment(), text=True, stderr=subprocess.PIPE) as process:
                said = _watch(process, current)
            if process.returncode == 0:
                continue
            findings += 1
            kept = folder / f"finding-{number}-{findings}.json"
            kept.write_bytes(current.read_bytes())
            how = status_in_words(process.returncode)
            print(f"\nFINDING ({how}): python -m tests.core.fuzz {kept}\n{said[-3000:]}", flush=True)
    return findings


def _watch(process: subprocess.Popen[str], current: Path) -> str:
    """Wait for its end; kill it if it stays with one file for too long."""
    while True:
        try:
            return process.communicate(timeout=5)[1]
        except subprocess.TimeoutExpired:
            if current.exists() and time.time() - current.stat().st_mtime > HANGS_S:
                process.kill()
                return process.communicate()[1] + f"it hung for {HANGS_S:.0f} s"


def work(seconds: float, number: int, chosen: str, current: Path) -> None:
    """Damage and read until the time is up, or something is found."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    names = [name for name in MAKERS if re.search(chosen, name)]
    deadline = time.monotonic() + seconds
    chance = random.Random(number)
    counts: dict[str, int] = {}
    while time.monotonic() < deadline:
        files = damaged(chance, chance.choice(names))
        keep(files, current)
        try:
            outcome = check(files)
        except Exception:  # noqa: BLE001 - what should not come out is what is looked for
            traceback.print_exc()
            sys.exit(1)
        counts[outcome] = counts.get(outcome, 0) + 1
    print(f"{sum(counts.values()):,} files: {counts}", flush=True)


def keep(files: Files, path: Path) -> None:
    """Write them down."""
    path.write_text(json.dumps([[name, base64.b64encode(content).decode()] for name, content in files]))


def kept_files(path: Path) -> Files:
    """What a finding has left."""
    return [(name, base64.b64decode(content)) for name, content in json.loads(path.read_text())]


def main() -> None:
    """Search, or show a finding again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a finding, to be read once more")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="a regular expression for names of seeds")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        files = kept_files(options.file)
        print([(name, len(content)) for name, content in files])
        print(check(files))
    elif options.work:
        work(options.seconds, options.seed, options.only, options.work)
    else:
        print(f"{len(MAKERS)} seeds, random seed {options.seed}", flush=True)
        findings = search(options.seconds, options.seed, options.only, options.folder)
        print(f"{findings} findings" if findings else "nothing found")
        sys.exit(findings > 0)


if __name__ == "__main__":
    os.umask(0o077)
    main()
