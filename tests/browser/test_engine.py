"""The engine behind the page, under `streamlit run`: one process for all, replaced, watched, cancelled."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server
from tests.browser.driver import (
    VIEWER,
    by_key,
    plot_data,
    ready,
    set_number,
    viewer_canvas,
    viewer_plane,
    viewer_state,
    visit,
)
from tests.browser.test_explorer import sentence, violations

# Half a minute of work and more: nobody waits for it.
ENDLESS = {"volume": "Brain, MRI, 1 mm", "k": 15, "s": 1, "p": 7, "out": 16, "weights": "Random"}


def open_endless(page: Page, **changes: object) -> Locator:
    """Open it and wait for its planes; the line that says how far the whole volume is."""
    page.goto(f"/?{urlencode(ENDLESS | changes)}")
    line = by_key(page, "whole")
    expect(line).to_contain_text(re.compile(r"The whole volume: \d+%"), timeout=60_000)
    return line


def cancel(page: Page) -> None:
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(by_key(page, "whole")).to_contain_text("The whole volume: cancelled at")
    ready(page)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_one_process_serves_all_visitors_and_is_replaced_when_it_dies(
    open_page: Callable[..., Page], server: Server
) -> None:
    first, second = open_page(), open_page()
    visit(first, "/?volume=Impulse")
    visit(second, "/?volume=Impulse&k=5")
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    set_number(first, "kernel_size", 2)
    expect(by_key(first, "header").locator("code")).to_contain_text(
        "kernel_size=2"
    )  # a loaded machine is slow to begin
    ready(first)
    assert viewer_plane(first, "output", "D")
    assert first.get_by_test_id("stAlert").count() == 0
    (other,) = server.worker_pids()
    assert other != pid

    line = open_endless(second, seed=1)
    # Stopped first: it ends in the middle of a step, since between two nobody would notice.
    os.kill(other, signal.SIGSTOP)
    second.wait_for_timeout(500)
    os.kill(other, signal.SIGKILL)
    expect(line).to_contain_text("the worker process ended with SIGKILL", timeout=30_000)
    assert viewer_plane(second, "output", "D"), "the planes stay"
    set_number(first, "kernel_size", 4)
    assert viewer_plane(first, "output", "D")
    assert len(server.worker_pids()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_another_pin_keeps_the_viewer_its_zoom_and_the_focus(page: Page, server: Server) -> None:
    open_endless(page, seed=3)
    cancel(page)
    viewer_canvas(page, "output", "D").focus()
    page.keyboard.press("+")
    zoom = page.evaluate(f"Object.assign({VIEWER}, {{mark: 1}}).zoom.output")
    with server.worker_stopped():  # meanwhile the page waits for the other planes
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        assert page.evaluate(f"{VIEWER}?.mark") == 1
        assert page.evaluate(f"{VIEWER}.layer.pin[2]") == 98
    page.wait_for_function(f"{VIEWER}?.layer.pin[2] === 99")
    ready(page)
    assert page.evaluate(f"[{VIEWER}.mark, {VIEWER}.zoom.output]") == [1, zoom]
    assert page.evaluate(f"{VIEWER}.root.activeElement.ariaLabel").startswith("Output 0")


def test_planes_follow_the_hand_while_the_whole_volume_runs_and_it_can_be_cancelled(page: Page) -> None:
    line = open_endless(page, seed=2)
    expect(sentence(page)).to_contain_text("Output (94, 116, 98) of channel 0")
    page.get_by_role("slider", name="Output D (depth)").press("ArrowRight")
    expect(sentence(page)).to_contain_text("Output (95, 116, 98) of channel 0")
    assert viewer_state(page)["shown"]["output"] == [95, 116, 98]
    expect(line).to_contain_text("The whole volume:")
    assert violations(page, ".st-key-whole") == []
    cancel(page)
    expect(page.get_by_role("button", name="Compute it")).to_be_visible()
    page.get_by_role("tab", name="Channels").click()
    expect(page.get_by_role("tabpanel", name="Channels")).to_contain_text("Known when the whole volume has run.")
    page.get_by_role("slider", name="Output D (depth)").press("ArrowRight")
    expect(sentence(page)).to_contain_text("Output (96, 116, 98) of channel 0")
    expect(line).to_contain_text("cancelled at")


def test_a_closed_tab_waits_for_nothing(open_page: Callable[..., Page]) -> None:
    leaving, staying = open_page(), open_page()
    open_endless(leaving, seed=3)
    visit(staying, "/device?volume=Impulse")
    leaving.close()
    log = staying.locator("[data-testid=stDataFrame]").last
    # The table is drawn on a canvas; what it holds for a screen reader is in the cells beneath.
    expect(log).to_contain_text(re.compile("superseded|cancelled"), timeout=60_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_device_page_measures_this_layer(open_page: Callable[..., Page], theme: str) -> None:
    page = open_page(color_scheme=theme)
    visit(page, "/?volume=Impulse&k=2")
    page.get_by_role("link", name="Device", exact=True).click()
    expect(page.get_by_text("Why: auto: MLX finds")).to_be_visible()
    expect(by_key(page, "header").locator("code")).to_have_text("nn.Conv3d(1, 8, kernel_size=2, stride=2, padding=1)")
    page.get_by_role("button", name="Measure", exact=True).click()
    bars = by_key(page, "timings").locator(".js-plotly-plot")
    expect(bars.locator(".bartext")).to_have_count(4, timeout=60_000)
    expect(page.get_by_role("button", name="Measure", exact=True)).to_be_enabled()
    (bar,) = plot_data(page, "timings")
    assert bar["y"] == ["nn.Conv3d at once", "whole volume in tiles", "three planes", "one plane"]
    assert violations(page, "[data-testid=stMain]") == []
    page.set_viewport_size({"width": 390, "height": 844})
    expect(bars).to_be_visible()
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="Explorer", exact=True).click()
    expect(sentence(page)).to_contain_text("Output (4, 4, 4) of channel 0 reads 8 voxels")
    ready(page)
