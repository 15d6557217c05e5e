"""Sound files damaged at random give a volume or a VolumeError, soon and for little memory; see `tests.core.fuzz`."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import fuzz
from tests.core.seeds import MAKERS, seed

# Of all seeds together; what is not reached on a slow machine is left out.
BUDGET_S = 45.0


@pytest.mark.parametrize("name", MAKERS)
def test_damage(name):
    deadline = time.monotonic() + BUDGET_S / len(MAKERS)

    @settings(max_examples=60)
    @given(st.randoms(use_true_random=False))
    def damage(random):
        # Always drawn, or Hypothesis would wonder where the numbers are.
        files = fuzz.damaged(random, name)
        if time.monotonic() < deadline:
            fuzz.check(files)

    damage()


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_is_sound(name):
    assert fuzz.check(list(seed(name))) == "read"


def test_every_way_of_damage_changes_a_file():
    import random

    name = "NRRD text"
    for way in fuzz.WAYS:
        content = seed(name)[0][1]
        assert any(way(random.Random(number), content) != content for number in range(20)), way


class TestWhatIsAFinding:
    @pytest.fixture
    def reading(self, monkeypatch):
        """Reading is something else."""

        def put(what):
            monkeypatch.setattr(fuzz, "inspect_volume", what)

        return put

    def test_another_error(self, reading):
        reading(lambda files: [][0])
        with pytest.raises(IndexError):
            fuzz.check([])

    def test_too_slow(self, reading, monkeypatch):
        monkeypatch.setattr(fuzz, "MOST_S", 0.01)

        def slow(files):
            start = time.process_time()
            while time.process_time() < start + 0.02:
                pass
            return []

        reading(slow)
        with pytest.raises(fuzz.FindingError, match=r"it took 0\.0 s"):
            fuzz.check([])

    @pytest.mark.skipif(not fuzz.peak_bytes(), reason="the system does not say what a process has held")
    def test_too_large(self, reading, monkeypatch):
        monkeypatch.setattr(fuzz, "MOST_BYTES", 50 * 2**20)
        reading(lambda files: [][: len(bytearray(b"1") * (100 * 2**20))])
        with pytest.raises(fuzz.FindingError, match="MiB"):
            fuzz.check([])

    def test_a_message_that_moves_the_cursor(self, reading):
        from conv3d_core.errors import VolumeError

        def refuse(files):
            raise VolumeError("file", "it is \x1b[31mred", "copy it again")

        reading(refuse)
        with pytest.raises(fuzz.FindingError, match="not fit to be shown"):
            fuzz.check([])


def test_what_a_process_died_of_is_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fuzz, "MODULE", "tests.core.strange_fuzz")
    assert fuzz.search(1.0, 1, "", tmp_path) > 0
    kept = min(tmp_path.iterdir())
    assert fuzz.kept_files(kept) == [("a.npy", b"hello")]
    said = capsys.readouterr().out
    assert "FINDING (SIGSEGV): python -m tests.core.fuzz" in said
    assert "the last words" in said
