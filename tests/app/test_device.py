"""The device page through AppTest: where it runs and why, a measurement step by step, the log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from conv3d_core import EngineError
from conv3d_core.engine import Engine
from conv3d_core.engine.measure import STEPS
from pages._ui import cached
from tests.app.driver import IMPULSE, open_page, plain, run


def open_device(**link: str) -> AppTest:
    return open_page("device", **{"volume": IMPULSE, **link})


def words(app: AppTest) -> str:
    return "\n".join(plain(element.value) for element in (*app.markdown, *app.warning, *app.error))


def measured(app: AppTest) -> Any:
    (frame,) = (element.value for element in app.dataframe if "GMAC/s" in element.value.columns)
    return frame


def test_it_says_where_it_runs_and_why() -> None:
    app = open_device(k="5")
    info = cached.engine().info
    text = words(app)
    assert app.get_by_key("header").code[0].value == "nn.Conv3d(1, 8, kernel_size=5, stride=2, padding=1)"
    for fact in (info.device_name, info.mlx_version, f"Why: {info.reason}.", "Multiplies with MLX's own"):
        assert fact in text
    assert re.search(r"\*\*\d+(\.\d+)? GiB\*\*", text)
    assert not app.warning
    (bar,) = app.get("progress")
    assert re.fullmatch(r"The worker held at most [\d.]+ MiB; its budget is [\d.]+ GiB", bar.proto.text)


def test_it_measures_this_layer_and_keeps_what_it_found() -> None:
    app = open_device()
    assert not [element for element in app.dataframe if "GMAC/s" in element.value.columns]
    app.button(key="measure").click()
    run(app)
    frame = measured(app)
    assert frame["what"].tolist() == list(STEPS)
    assert frame["times sooner"].iloc[0] == 1
    assert (frame["GMAC/s"] > 0).all()
    assert "device" not in frame.columns
    assert not app.button(key="measure").disabled
    run(app)
    assert measured(app).equals(frame)
    app.number_input(key="k").set_value(5)
    run(app)
    assert not [element for element in app.dataframe if "GMAC/s" in element.value.columns], "of another layer"


def test_what_the_engine_did_is_in_the_log() -> None:
    app = open_device()
    app.button(key="measure").click()
    run(app)
    run(app)
    (frame,) = (element.value for element in app.dataframe if "event" in element.value.columns)
    assert {"done", "started"} <= set(frame["event"])
    assert re.match(
        r"\d+ ms, 1 part of nn\.Conv3d\(1, 8, kernel_size=3, stride=2, padding=1\) on ", frame["what"].iloc[0]
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d", frame["time"].iloc[0])


def test_a_gpu_that_was_left_is_in_sight_and_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    info = replace(cached.engine().info, fallback="the GPU failed: MLX raised there (out of memory)")
    asked: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "info", property(lambda engine: info))
        patch.setattr(Engine, "try_gpu_again", lambda engine: asked.append("again"))
        app = open_device()
        assert "The GPU failed: MLX raised there (out of memory); everything runs on the CPU." in words(app)
        (button,) = (button for button in app.button if button.label == "Try the GPU again")
        button.click()
        run(app)
    assert asked == ["again"]


def test_beside_a_gpu_the_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    real = Engine.info.fget
    assert real is not None
    taken = cached.engine()

    def info(engine: Engine) -> Any:
        found = real(engine)
        return replace(found, device="gpu", backend="metal", device_name="Fake GPU") if engine is taken else found

    monkeypatch.setattr(Engine, "info", property(info))
    plain_engine, asked = cached.plain_engine, []
    monkeypatch.setattr(cached, "plain_engine", lambda device: asked.append(device) or plain_engine("cpu"))
    app = open_device()
    app.button(key="measure").click()
    run(app)
    frame = measured(app)
    assert frame["what"].tolist() == [*STEPS, *STEPS]
    assert frame["device"].nunique() == 2
    assert set(asked) == {"gpu", "cpu"}
    assert frame["times sooner"].iloc[[0, 4]].tolist() == [1, 1], "each against its own device"


def test_an_impossible_layer_is_explained_here_too() -> None:
    app = open_device(k="200")
    assert "depth: effective kernel 200 does not fit the padded input of 19" in words(app)
    assert not [button for button in app.button if button.key == "measure"]


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"weights": "Random", "seed": "-1"}, "seed: -1 is not an integer from 0"),
        ({"weights": "Sobel D", "k": "1", "p": "0"}, "kernel_size: Sobel D compares voxels and needs 2 taps along D"),
    ],
)
def test_weights_that_do_not_exist_are_explained(link: dict[str, str], message: str) -> None:
    app = open_device(**link)
    app.button(key="measure").click()
    run(app)
    assert message in words(app)
    assert not app.button(key="measure").disabled


def test_a_worker_that_cannot_tell_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(engine: Engine) -> Any:
        raise EngineError("engine", "the worker process ended with SIGKILL", "the next request starts a new one")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "memory", ended)
        app = open_device()
    assert words(app).count("engine: the worker process ended with SIGKILL; ") == 1
