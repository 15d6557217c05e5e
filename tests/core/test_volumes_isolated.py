"""Reading in a process of its own gives what reading gives, and survives what happens there."""

import fcntl
import gc
import gzip
import io
import os
import resource
import subprocess
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from conv3d_core.volumes import Part, isolated, read_volume
from conv3d_core.volumes.bundled import FOLDER
from conv3d_core.volumes.folder import listing
from conv3d_core.volumes.isolated import InFolder, Upload, read

EPI = FOLDER / "mri_nibabel_example4d.nii.gz"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def upload(content, name="a.npy"):
    return Upload(((name, content),))


def descriptors():
    gc.collect()  # of other tests
    return sorted(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else []


def assert_same(found, expected):
    assert found.digest == expected.digest
    assert (found.name, found.spacing_mm, found.dtype) == (expected.name, expected.spacing_mm, expected.dtype)
    assert (found.source, found.notes) == (expected.source, expected.notes)
    assert (found.affine is None) == (expected.affine is None)
    if expected.affine is not None:
        np.testing.assert_array_equal(found.affine, expected.affine)


class TestTheSame:
    @pytest.mark.parametrize("part", [Part(), Part(box=((2, 9), (0, 95), (10, 60)), reduce=2, channel=1)])
    def test_an_upload(self, part):
        before = descriptors()
        outcome = read(upload(EPI.read_bytes(), "epi.nii.gz"), "epi", part=part)
        assert outcome.error is None
        assert_same(outcome.volume, read_volume(EPI, "epi", part=part))
        (entry,) = outcome.entries
        assert (entry.sizes, entry.stored, entry.problem) == ((24, 96, 128, 2), "int16 (128, 96, 24, 2)", "")
        assert entry.nbytes == 4 * 24 * 96 * 128 * 2
        assert not outcome.volume.array.flags.writeable
        assert len(descriptors()) <= len(before) + 1, "that of the array"
        del outcome
        assert len(descriptors()) == len(before)

    def test_notes_on_what_is_not_finite(self):
        array = np.array([1, np.nan, np.inf, 2], np.float32).reshape(4, 1, 1)
        assert read(upload(npy(array)), "a").volume.notes == ("1 NaN value", "1 infinite value")

    def test_several_files_and_a_choice(self):
        given = Upload((("b.npy", npy(np.ones((2, 2, 2)))), ("a.npy", npy(np.zeros((3, 2, 2))))))
        outcome = read(given, "both")
        assert [entry.name for entry in outcome.entries] == ["a", "b"]
        assert (outcome.volume, outcome.error.field, outcome.error.value) == (None, "member", ("a", "b"))
        chosen = read(given, "both", member="b")
        assert (chosen.chosen, chosen.volume.shape) == ("b", (2, 2, 2, 1))

    def test_an_error_comes_over_with_its_fields(self):
        outcome = read(upload(npy(np.ones((2, 2, 2))), "a.npy"), "a", part=Part(box=((0, 5), (0, 1), (0, 1))))
        assert str(outcome.error) == (
            "depth: 0 to 5 is not inside 0 to 1; use 0 <= first, last <= 1 and at least 1 between them."
        )
        assert (outcome.error.field, outcome.error.axis) == ("box", "D")

    def test_what_is_too_large_is_listed_and_not_decoded(self, tmp_path):
        path = tmp_path / "large.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype="u1", shape=(1024, 1024, 1024)).flush()
        outcome = read(InFolder(tmp_path, "large.npy"), "large.npy")
        assert outcome.error.field == "size"
        assert outcome.entries[0].nbytes == 2**32
        part = read(InFolder(tmp_path, "large.npy"), "large.npy", part=Part(box=((7, 8), (0, 1023), (0, 1023))))
        assert part.volume.shape == (2, 1024, 1024, 1)


STRANGE = [
    ("crash", "its decoder did not survive it (it ended with SIGSEGV)"),
    ("exit", "its decoder did not survive it (it ended with exit status 3)"),
    ("hang", "reading it took too long and was stopped"),
    ("chatter", "reading it took too long and was stopped"),
    ("bloat", "it ended with exit status 7"),  # it got no more than it may have
    ("write", "it ended with exit status 8"),
    ("half", "reading it took too long and was stopped"),
    ("deep", "what it said made no sense"),
    ("odd", "what it said made no sense"),
    ("shrink", "it ended with exit status 9"),  # or we would be ended when we look
    ("pickle", "what it said made no sense"),
    ("greedy", "it asked for 1,099,511,627,776 bytes"),
    ("another shape", "its shape (20, 30, 40, 1) does not fit"),
    ("no spacing", "0 mm along depth is not a distance"),
    ("unknown", "what it said made no sense"),
    ("enormous", "its decoder did not survive it"),
]


@pytest.mark.parametrize(("how", "message"), STRANGE, ids=[how for how, _ in STRANGE])
def test_what_a_process_does_ends_there(monkeypatch, tmp_path, how, message):
    if how == "shrink" and not hasattr(fcntl, "F_ADD_SEALS"):
        pytest.skip("the system has no seals")
    if how == "bloat" and not Path("/proc/self/status").exists():
        pytest.skip("the system does not hold a process to a limit of memory")
    monkeypatch.setattr(isolated, "MODULE", "tests.core.strange_reader")
    monkeypatch.setattr(isolated, "BASE_S", 1.5)
    monkeypatch.setenv("STRANGE", how)
    monkeypatch.setenv("STRANGE_FILE", str(tmp_path / "written"))
    before = descriptors()
    outcome = read(upload(b"", "x"), "x")
    assert outcome.volume is None
    assert message in str(outcome.error)
    assert [entry.sizes for entry in outcome.entries] == [(2, 3, 4, 1)], "what was known before stays known"
    assert len(descriptors()) == len(before)
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_a_newer_wish_ends_the_process(monkeypatch):
    monkeypatch.setattr(isolated, "MODULE", "tests.core.strange_reader")
    monkeypatch.setenv("STRANGE", "hang")
    seen = []

    class NewerWish(Exception):  # noqa: N818 - as Streamlit's own
        pass

    def progress(done):
        seen.append(time.monotonic())
        raise NewerWish

    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    before = descriptors()
    with pytest.raises(NewerWish):
        read(upload(b"", "x"), "x", progress=progress)
    assert len(seen) == 1
    assert len(descriptors()) == len(before)
    (process,) = started
    assert process.returncode is not None, "it has ended, and was waited for"


def test_memory_is_looked_at_where_the_system_does_not_hold_to_it(monkeypatch):
    monkeypatch.setattr(isolated, "LIMITS", Path("/nonexistent"))
    monkeypatch.setattr(isolated, "SPARE_BYTES", 0)
    monkeypatch.setattr(isolated, "WATCH_S", 0.05)
    monkeypatch.setattr(isolated, "MODULE", "tests.core.strange_reader")
    monkeypatch.setenv("STRANGE", "hang")
    assert "more memory than its size explains" in str(read(upload(b"", "x"), "x").error)


def test_who_waits_for_a_turn_is_watched_too(monkeypatch):
    monkeypatch.setattr(isolated, "_turn", threading.BoundedSemaphore(1))
    isolated._turn.acquire()
    seen = []

    def progress(done):
        seen.append(done)
        if len(seen) == 3:
            isolated._turn.release()

    outcome = read(upload(npy(np.ones((2, 2, 2)))), "a", progress=progress)
    assert outcome.volume is not None
    assert seen[:3] == [0.0] * 3


def test_progress_is_told():
    rng = np.random.default_rng(0)
    image = nibabel.Nifti1Image(rng.integers(0, 99, (128, 128, 128)).astype(np.int16), np.eye(4))
    seen = []
    outcome = read(upload(gzip.compress(image.to_bytes(), 1), "a.nii.gz"), "a", progress=seen.append)
    assert outcome.error is None
    assert seen == sorted(seen)
    assert all(0 <= done <= 1 for done in seen)


class TestInAFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        inside, outside = tmp_path / "in", tmp_path / "out"
        (inside / "series").mkdir(parents=True)
        outside.mkdir()
        np.save(outside / "secret.npy", np.ones((2, 2, 2)))
        np.save(inside / "a.npy", np.zeros((3, 2, 2)))
        np.save(inside / "series" / "b.npy", np.zeros((4, 2, 2)))
        (inside / "link.npy").symlink_to(outside / "secret.npy")
        (inside / "out").symlink_to(outside)
        (inside / "series" / "link.npy").symlink_to(outside / "secret.npy")
        os.mkfifo(inside / "pipe.npy")
        os.mkfifo(inside / "series" / "pipe.npy")
        return inside

    def test_a_file_and_a_folder(self, folder):
        assert read(InFolder(folder, "a.npy"), "a").volume.shape == (3, 2, 2, 1)
        outcome = read(InFolder(folder, "series"), "series")
        assert outcome.volume.shape == (4, 2, 2, 1)
        assert len(outcome.entries) == 1, "links and pipes are no part of it"

    def test_more_files_than_a_process_may_open(self, tmp_path, monkeypatch):
        for number in range(400):
            np.save(tmp_path / f"{number}.npy", np.ones((1, 2, 2)))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        try:
            assert len(read(InFolder(tmp_path, "."), "all").entries) == 400
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    @pytest.mark.parametrize(
        "path",
        [
            "link.npy",
            "out/secret.npy",
            "../out/secret.npy",
            "series/../../out/secret.npy",
            "/etc/passwd",
            "none",
            "a\0b",
        ],
    )
    def test_nothing_outside_is_read(self, folder, path):
        outcome = read(InFolder(folder, path), "x")
        assert outcome.volume is None
        assert outcome.error.field == "folder"

    def test_a_pipe_does_not_hang(self, folder):
        assert read(InFolder(folder, "pipe.npy"), "pipe.npy").error.field == "folder"

    def test_what_can_be_chosen(self, folder):
        (folder / ".hidden").write_bytes(b"")
        (folder / ".git").mkdir()
        np.save(folder / ".git" / "secret.npy", np.ones((2, 2, 2)))
        (folder / os.fsdecode(b"caf\xe9.npy")).write_bytes(b"")  # no text that a page could show
        assert listing(folder) == ["a.npy", "pipe.npy", "series/", "series/b.npy", "series/pipe.npy"]
        assert listing(folder, most=1) == ["a.npy"]
        assert [entry.name for entry in read(InFolder(folder, "."), "all").entries] == ["a", "series/b"]

    def test_a_folder_that_is_not_there(self, tmp_path):
        assert read(InFolder(tmp_path / "gone", "a.npy"), "a").error.field == "folder"
