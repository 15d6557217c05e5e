"""Files made to hurt: each read in a process of its own, which is watched; see `tests.core.hostile`."""

import json
import os
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conv3d_core.volumes import isolated
from conv3d_core.volumes.isolated import InFolder, Upload, read
from conv3d_core.volumes.limits import MIB
from tests.core.canaries import CANARY, SECRET, TOUCHED
from tests.core.hostile import CASES, Case, Reads
from tests.core.measured_reader import REPORT_BYTES

# A reader's own limit, and here the only one that is asserted: a machine that is busy takes its time.
MOST_S = 10.0
MOST_BYTES = 256 * MIB
MOST_FILE_BYTES = 5_000_000
# An interpreter with NumPy and the libraries of a format.
BASE_BYTES = 150 * MIB
# Of cases that differ in a number or a word, so many are read in a process, unless every one is asked for
# (HOSTILE=every); all of them are read in `test_hostile_here`.
OF_A_KIND = 2


def chosen():
    """Names of cases, of each kind the first ones: those whose names begin with the same two words."""
    kinds = Counter()
    for name in CASES:
        format_name, _, rest = name.partition(": ")
        kind = (format_name, rest.split()[0])
        kinds[kind] += 1
        if kinds[kind] <= OF_A_KIND or os.environ.get("HOSTILE") == "every":
            yield name


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """A working directory with canaries in it and above it, and the report of the process that reads."""
    inside = tmp_path / "in"
    inside.mkdir()
    for place in (inside, tmp_path):
        (place / CANARY).write_bytes(SECRET * 1000)
    report = tmp_path / "report"
    report.write_bytes(bytes(REPORT_BYTES))
    monkeypatch.chdir(inside)
    monkeypatch.setattr(isolated, "MODULE", "tests.core.measured_reader")
    monkeypatch.setenv("MEASURED_REPORT", str(report))
    return report


def said(report):
    return json.loads(report.read_bytes().rstrip(b"\0 "))


def assert_came_of_it(case: Case, volume, error):
    if isinstance(case.expect, Reads):
        assert error is None
        assert volume.shape == case.expect.shape
        assert case.expect.note in "; ".join(volume.notes)
        # SECRET's bytes as numbers, of whatever type.
        assert volume.array[0, 0, 0, 0] not in (np.frombuffer(SECRET[:1], "u1"), np.frombuffer(SECRET[:2], "<u2"))
    else:
        assert volume is None
        assert re.search(case.expect, str(error)), str(error)
        assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e]", str(error)), "it goes to a terminal as it is"
        assert len(str(error)) < 2000
        assert SECRET.decode().split()[0] not in str(error)


@pytest.mark.parametrize("name", list(chosen()))
def test_in_a_process(watched, name):
    case = CASES[name]
    files = case.files
    assert sum(len(content) for _, content in files) <= MOST_FILE_BYTES
    before = sorted(watched.parent.rglob("*"))
    start = time.monotonic()
    outcome = read(Upload(tuple(files)), "file", raw=case.raw)
    took = time.monotonic() - start
    assert_came_of_it(case, outcome.volume, outcome.error)
    assert took < MOST_S
    found = said(watched)
    assert found["done"] == []
    result = outcome.volume.nbytes if outcome.volume else 0
    assert found["peak"] < BASE_BYTES + MOST_BYTES + result + case.fair_bytes
    assert sorted(watched.parent.rglob("*")) == before
    assert not Path(TOUCHED).exists()


def test_there_are_many():
    assert len(list(chosen())) >= 120


def test_what_a_process_holds_to_begin_with(watched):
    outcome = read(Upload((("a.npy", CASES["npy: integers above 2**24"].files[0][1]),)), "a")
    assert outcome.error is None
    found = said(watched)
    assert found["done"] == []
    # An interpreter alone has ten MiB; where the system says nothing of it, nothing is known.
    assert 10 * MIB < found["peak"] < BASE_BYTES or not Path("/proc/self/status").exists()


class TestFolders:
    """Of what lies in a folder, links and what they lead to are no part."""

    def read(self, watched, path="."):
        outcome = read(InFolder(watched.parent / "in", path), "folder")
        found = said(watched)
        assert found["done"] == []
        assert found["peak"] < BASE_BYTES + MOST_BYTES
        return outcome

    @pytest.fixture
    def inside(self, watched):
        folder = watched.parent / "in"
        (folder / CANARY).unlink()
        (folder / "a.npy").write_bytes(CASES["npy: integers above 2**24"].files[0][1])
        return folder

    @pytest.mark.parametrize("target", ["b.npy", ".", "..", f"../{CANARY}", "/etc/passwd", "/dev/zero", "nowhere"])
    def test_a_link(self, watched, inside, target):
        (inside / "b.npy").symlink_to(target)
        assert len(self.read(watched).entries) == 1
        assert self.read(watched, "b.npy").error.field == "folder"

    def test_two_links_in_a_circle(self, watched, inside):
        (inside / "b").symlink_to("c")
        (inside / "c").symlink_to("b")
        (inside / "d").mkdir()
        (inside / "d" / "up").symlink_to("..")
        assert len(self.read(watched).entries) == 1

    def test_two_hundred_folders_deep(self, watched, inside):
        deep = inside.joinpath(*["d"] * 200)
        deep.mkdir(parents=True)
        (inside / "a.npy").rename(deep / "a.npy")
        assert self.read(watched).volume.shape == (3, 4, 5, 1)

    def test_names(self, watched, inside):
        for name in ("\x1b[31m.npy", "a\nb.npy", "<script>.npy", "\u202e.npy"):
            (inside / name).write_bytes((inside / "a.npy").read_bytes())
        outcome = self.read(watched)
        assert outcome.error.field == "member"
        assert not re.search(r"[\x00-\x1f\u202e]", str(outcome.error))
