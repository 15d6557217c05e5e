"""Files made to hurt, read in this process: what bounds a reader must not be the process that it runs in."""

import io
import re
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import read_volume
from conv3d_core.volumes.limits import MIB
from tests.core.canaries import CANARY, SECRET, TOUCHED
from tests.core.hostile import CASES, Reads
from tests.core.measured_reader import is_wrong

MOST_BYTES = 256 * MIB
SAFE = [name for name, case in CASES.items() if not case.only_isolated]
heard: list[str] | None = None


def hear(event, args):
    if heard is not None and is_wrong(event, args):
        heard.append(f"{event} {args!r}"[:200])


# It cannot be taken away again, and so hears only while a file is read.
sys.addaudithook(hear)


@pytest.fixture
def listening(monkeypatch, tmp_path):
    """What is done that no reader does; canaries lie in the working directory and above it."""
    inside = tmp_path / "in"
    inside.mkdir()
    for place in (inside, tmp_path):
        (place / CANARY).write_bytes(SECRET * 1000)
    monkeypatch.chdir(inside)
    listened: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "heard", listened)
    yield listened
    assert not (inside / TOUCHED).exists()


@pytest.mark.parametrize("name", SAFE)
def test_here(listening, name):
    case = CASES[name]
    files = case.files
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume, error = read_volume(files, "file", raw=case.raw), ""
    except VolumeError as refused:
        volume, error = None, str(refused)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if isinstance(case.expect, Reads):
        assert volume is not None, error
        assert volume.shape == case.expect.shape
        assert case.expect.note in "; ".join(volume.notes)
    else:
        assert re.search(case.expect, error), error or "it was read"
    assert peak < MOST_BYTES + case.fair_bytes + (volume.nbytes if volume else 0)
    assert listening == []


def test_few_are_safe_in_a_process_of_their_own_only():
    assert len(CASES) - len(SAFE) <= 5


def test_the_watch_barks(listening):
    pickled = CASES["npy: pickled"].files[0][1]
    np.load(io.BytesIO(pickled), allow_pickle=True)
    assert {event.split()[0] for event in listening} == {"pickle.find_class", "open"}
    Path(TOUCHED).unlink()
    listening.clear()
    Path(CANARY).read_bytes()
    assert listening[0].startswith("open ")
