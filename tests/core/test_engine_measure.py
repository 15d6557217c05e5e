"""Measurements are of the real layer, and say what could not be measured."""

from __future__ import annotations

import time

import numpy as np
import pytest

from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
from conv3d_core.engine.layer import times_ms
from conv3d_core.engine.measure import RAW, STEPS, timings
from conv3d_core.shapes import macs
from tests.core.builds import without_cuda


def test_every_way_is_timed_and_counted() -> None:
    spec = ConvSpec(2, 4, 3, padding=1)
    x = np.ones((1, 12, 10, 8, 2), np.float32)
    weight = np.ones(spec.weight_shape, np.float32)
    with Engine("cpu") as engine, Engine("cpu", accelerate=False) as plain:
        found = list(timings(engine, plain, spec, x, weight, np.zeros(4, np.float32), repeats=2))
        assert [row.what for row in found] == list(STEPS)
        assert all(row.ms is not None and row.ms > 0 and row.note == "" for row in found)
        assert {row.device for row in found} == {engine.info.device_name}
        assert any("timing nn.Conv3d(2, 4" in event.text for event in plain.log), "MLX's own is timed without a BLAS"
        assert not any("timing" in event.text for event in engine.log)
    whole = macs(spec, x.shape)
    assert [row.macs for row in found] == [whole, whole, whole // 12 + whole // 10 + whole // 8, whole // 12]
    assert found[0].gmacs_per_s == pytest.approx(whole / found[0].ms / 1e6)


def test_what_does_not_fit_the_memory_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "160MiB")
    spec = ConvSpec(1, 8, 7, padding=3)
    with Engine("cpu") as engine:
        found = list(timings(engine, engine, spec, np.ones((1, 40, 40, 40, 1)), np.ones(spec.weight_shape), None, 1))
    assert (found[0].what, found[0].ms, found[0].gmacs_per_s) == (RAW, None, None)
    assert found[0].note.startswith("memory: nn.Conv3d at once on an input of (1, 40, 40, 40, 1) needs up to")
    assert all(row.ms for row in found[1:]), "in tiles it does"


def test_a_slow_call_is_not_repeated_and_then_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(times_ms(lambda: None, 5)) == 5
    monkeypatch.setattr("conv3d_core.engine.layer.ENOUGH_MS", 20)
    assert len(times_ms(lambda: time.sleep(0.03), 5)) == 1
    assert len(times_ms(lambda: time.sleep(0.008), 5)) in (1, 2)


@without_cuda
def test_memory_in_use_is_told() -> None:
    with Engine("cpu") as engine:
        before = engine.memory()
        assert 2**23 < before.process_peak < 2**28, "of the worker alone, not of who started it"
        assert before.budget > 0
        engine.run(ConvSpec(1, 8, 5), np.ones((1, 60, 60, 60, 1)))
        after = engine.memory()
        assert after.mlx_peak > before.mlx_peak
        assert after.process_peak > before.process_peak
        assert after.mlx_cached > 0
        assert "memory" not in [event.text for event in engine.log]
