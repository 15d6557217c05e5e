"""The whole volume follows the planes: what the page shows meanwhile, how it is given up, and what is done then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from conv3d_core.engine import Job
from pages._ui import cached, progress
from tests.app.driver import BRAIN, DRAWN, FMRI, IMPULSE, Explorer, OpenExplorer

# Half a second of MLX's own multiplications at least, which nobody has asked for before.
SLOW = {"volume": BRAIN, "k": 7, "s": 1, "p": 3, "weights": "Random"}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page does not wait for the whole volume."""
    monkeypatch.setattr(progress, "GRACE_S", 0)


def has(page: Explorer, key: str) -> bool:
    return any(button.key == key for button in page.app.button)


def scope(page: Explorer) -> str:
    header, _ = page.message()
    return str(header["output"]["scope"])


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def idle() -> bool:
    return not cached.engine()._supervisor.schedule._works


@pytest.mark.usefixtures("at_once")
def test_the_planes_are_there_before_the_whole_volume_is(open_explorer: OpenExplorer) -> None:
    page = open_explorer(**SLOW, seed=1)
    assert page.errors == ([], [])
    assert page.drawn == [key for key in DRAWN if key != "histogram"]
    assert scope(page) == "these planes"
    assert "Known when the whole volume has run." in page.words
    assert {"input.npy", "maps.png", "reproduce.py"} <= set(page.files)
    assert not {"output.npy", "output.nii.gz"} & set(page.files)
    (bar,) = page.app.get("progress")
    assert bar.proto.text.startswith("The whole volume: ")
    assert has(page, "cancel")
    page.set(range="shared")
    assert scope(page) == "these planes of all maps"

    assert until(idle)
    page.run()
    assert page.drawn == DRAWN
    assert scope(page) == "all maps"
    assert page.array("output.npy").shape == (1, 94, 116, 98, 8)
    assert not page.app.get("progress")
    assert not has(page, "cancel")


@pytest.mark.usefixtures("at_once")
def test_the_planes_are_planes_of_the_whole(open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[cached.Planes] = []
    planes = cached.planes
    monkeypatch.setattr(cached, "planes", lambda run, voxel: shown.append(planes(run, voxel)) or shown[-1])
    page = open_explorer(**SLOW, seed=2, od=3, oh=110, ow=97)
    assert until(idle)
    page.run()
    whole = page.array("output.npy")[0]
    for found in shown:
        for plane, wanted in zip(found, (whole[3], whole[:, 110], whole[:, :, 97]), strict=True):
            np.testing.assert_allclose(plane, wanted, rtol=0, atol=1e-6 * np.abs(whole).max())
    assert len(shown) == 2


@pytest.mark.usefixtures("at_once")
def test_a_cancelled_volume_is_not_begun_again_by_itself(open_explorer: OpenExplorer) -> None:
    page = open_explorer(**SLOW, seed=3)
    page.app.button(key="cancel").click()
    page.run()
    assert until(idle)
    page.set(od=10)
    assert idle()
    assert "The whole volume: cancelled at" in page.words
    assert not has(page, "cancel")
    assert "viewer" in page.drawn, "the planes go on"
    page.app.button(key="go_on").click()
    page.run()
    assert has(page, "cancel")
    assert "cancelled" not in page.words
    page.set(od=11)
    assert until(idle)
    page.run()
    assert page.drawn == DRAWN
    # Another layer is another matter.
    page.app.session_state["_stopped"] = ("something else", "cancelled at 3%.")
    page.set(seed=4)
    assert has(page, "cancel")
    assert until(idle)


@pytest.mark.usefixtures("at_once")
def test_another_layer_takes_the_place_of_the_one_that_runs(open_explorer: OpenExplorer) -> None:
    page = open_explorer(**SLOW, seed=5)
    page.set(seed=6)
    kinds = [event.kind for event in cached.engine().log[:6]]
    assert "superseded" in kinds
    assert until(idle)
    page.run()
    assert page.drawn == DRAWN
    assert page.errors == ([], [])


def test_a_worker_that_dies_is_told_and_the_next_try_works(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "GRACE_S", 0)
    page = open_explorer(**SLOW, seed=7)
    pid = cached.engine().worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert until(idle)
    monkeypatch.setattr(progress, "GRACE_S", 60)
    page.run()
    # What died with the worker was told to nobody who waited: the page asks again, and gets it.
    assert page.errors == ([], [])
    assert page.drawn == DRAWN

    wait = Job.wait

    def dies(job: Job, timeout_s: float) -> bool:
        pid = cached.engine().worker_pid
        if not job.done and pid is not None:
            # Stopped first: it ends in the middle of a step, since between two nobody would notice.
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
        return wait(job, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "wait", dies)
        page.set(seed=8)
    assert "The whole volume: engine: the worker process ended with SIGKILL; the next request starts a new one" in (
        page.words
    )
    assert "viewer" in page.drawn
    page.set(od=20)
    assert has(page, "go_on"), "what kills the worker is not tried again by itself"
    page.app.button(key="go_on").click()
    page.run()
    assert page.drawn == DRAWN


def test_what_does_not_fit_as_a_whole_is_offered_as_a_crop_and_its_planes_are_shown(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "160 MiB")
    page = open_explorer(volume=BRAIN, s=1, out=20, weights="Random", seed=9)
    (message,) = page.errors[0]
    assert message.startswith("memory: this layer on an input of (1, 94, 116, 98, 1) needs up to ")
    assert message.endswith(", use a larger stride, or set CONV3D_MEMORY_BUDGET.")
    assert page.drawn == [key for key in DRAWN if key != "histogram"]
    (offer,) = (button for button in page.app.button if button.key == "offer_crop")
    sizes = [int(size) for size in offer.label.removeprefix("Crop to the middle ").split(" × ")]
    assert f"crop the input to {sizes[0]} x {sizes[1]} x {sizes[2]}" in message
    offer.click()
    page.run()
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, *sizes, 1)
    assert page.drawn == DRAWN
    first, last = page.value("cd")
    assert (last - first + 1, first) == (sizes[0], (94 - sizes[0]) // 2)


def test_a_crop_that_is_offered_lies_in_the_crop_that_is_there(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "150 MiB")
    page = open_explorer(volume=BRAIN, s=1, out=20, weights="Random", crop=True, cd=(20, 60), ch=(10, 109))
    assert page.shapes[0] == (1, 41, 100, 98, 1)
    page.app.button(key="offer_crop").click()
    page.run()
    for key, (low, high) in {"cd": (20, 60), "ch": (10, 109), "cw": (0, 97)}.items():
        first, last = page.value(key)
        assert low < first <= last < high
        assert abs((first - low) - (high - last)) <= 1, "it is the middle"
    assert page.errors == ([], [])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_says_how_far_it_is_from_float32(open_explorer: OpenExplorer, dtype: str) -> None:
    page = open_explorer(volume=FMRI, weights="Random", seed=1)
    assert "differs from float32" not in page.words
    exact = page.array("output.npy")
    page.set(dtype=dtype)
    assert page.errors == ([], [])
    half = page.array("output.npy")
    difference = np.abs(half - exact).max()
    assert 0 < difference < 0.05 * np.abs(exact).max()
    (line,) = (text for text in page.words.splitlines() if "differs from float32" in text)
    assert line.startswith(f":small[{dtype} differs from float32 by up to **")
    assert float(line.split("**")[1]) <= difference * 1.001
    assert f"layer.set_dtype(mx.{dtype})" in page.program


def test_a_visitor_who_leaves_waits_for_nothing(open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "GRACE_S", 0)
    page = open_explorer(**SLOW, seed=10)
    assert not idle()
    identity = page.app.session_state["_identity"]
    cached.engine().leave(identity)
    assert until(idle)
    assert any(event.kind == "superseded" for event in cached.engine().log[:3])
    other = open_explorer(volume=IMPULSE)
    assert other.app.session_state["_identity"] != identity


@pytest.mark.usefixtures("at_once")
def test_a_result_that_the_engine_does_not_remember_is_computed_once(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached.engine()._dispatcher, "_remember", lambda key, known: None)
    page = open_explorer(**SLOW, seed=21)
    assert until(idle)
    done = sum(event.kind == "done" and " part" not in event.text for event in cached.engine().log)
    page.run()
    assert page.drawn == DRAWN
    page.set(od=3)
    assert page.drawn == DRAWN
    assert idle()
    assert sum(event.kind == "done" and " part" not in event.text for event in cached.engine().log) == done
