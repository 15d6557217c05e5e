"""What the address bar carries, and what an upload leaves behind, seen from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.driver import by_key, call, choose, ready, set_number, switch, upload, visit


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_selector("[data-testid=stApp]")
    ready(page, 60)


def test_numbers_per_axis_start_from_the_one_number_and_survive_a_reload(page: Page) -> None:
    visit(page, "/?volume=Impulse&k=5&s=1")
    switch(page, "k3")
    assert call(page) == "nn.Conv3d(1, 8, kernel_size=5, padding=1)"
    reload(page)
    assert call(page) == "nn.Conv3d(1, 8, kernel_size=5, padding=1)"
    by_key(page, "kd").locator("input").fill("7")
    by_key(page, "kd").locator("input").press("Enter")
    ready(page)
    page.get_by_role("button", name="same", exact=True).click()
    ready(page)
    assert call(page) == "nn.Conv3d(1, 8, kernel_size=(7, 5, 5), padding=(3, 2, 2))"
    reload(page)
    assert call(page) == "nn.Conv3d(1, 8, kernel_size=(7, 5, 5), padding=(3, 2, 2))"
    switch(page, "k3")
    assert call(page).startswith("nn.Conv3d(1, 8, kernel_size=7,"), "one number for all: the first of the three"


def test_what_was_cut_out_of_one_volume_is_not_applied_to_the_next(page: Page) -> None:
    visit(page, "/?volume=Impulse&crop=true&cd=3&cd=5&od=1&in=1")
    expect(by_key(page, "header").locator("[aria-label='(1, 3, 17, 17, 1)']")).to_be_visible()
    choose(page, "Volume", "Ramp")
    expect(by_key(page, "header").locator("[aria-label='(1, 24, 24, 24, 1)']")).to_be_visible()


def test_an_npz_with_several_arrays_asks_which(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "two.npz"
    np.savez(file, a=np.ones((5, 6, 7), np.float32), b=np.arange(120.0).reshape(4, 5, 6))
    visit(page, "/?volume=Impulse")
    upload(page, file)
    expect(page.get_by_test_id("stAlert").first).to_contain_text("2 of its 2 arrays could be the volume")
    expect(by_key(page, "header").locator("[aria-label='(1, 17, 17, 17, 1)']")).to_be_visible()
    choose(page, "Which of its 2 arrays", "b: float64 (4, 5, 6)")
    expect(by_key(page, "header").locator("[aria-label='(1, 4, 5, 6, 1)']")).to_be_visible()
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_a_file_that_cannot_be_read_leaves_the_upload_before_it(page: Page, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "www.evil.com & _a_@b.org <b>.npy"
    np.save(good, np.ones((6, 5, 4), np.float32))
    bad.write_bytes(b"no volume")
    visit(page)
    upload(page, good)
    expect(by_key(page, "header").locator("[aria-label='(1, 6, 5, 4, 1)']")).to_be_visible()
    upload(page, bad)
    alert = page.get_by_test_id("stAlert").first
    # The name is shown as text: no link, no markup.
    expect(alert).to_contain_text("is not a volume format that is read here")
    assert "www.evil.com & _a_@b.org <b>.npy" in alert.inner_text().replace("\N{WORD JOINER}", "")
    assert alert.locator("a, em, b").count() == 0
    expect(by_key(page, "header").locator("[aria-label='(1, 6, 5, 4, 1)']")).to_be_visible()
    set_number(page, "padding", 2)
    assert "padding=2" in call(page), "the app goes on"


def test_a_volume_is_made_to_the_size_that_is_typed(page: Page) -> None:
    visit(page, "/?volume=Made+to+size&made=8,16,24,2&in=2")
    header, alerts = by_key(page, "header"), page.get_by_test_id("stAlert")
    expect(header.locator("[aria-label='(1, 8, 16, 24, 2)']")).to_be_visible()
    expect(alerts).to_have_count(0)
    field = page.get_by_role("textbox", name="Size: D, H, W, channels")
    expect(field).to_have_value("8,16,24,2")
    field.fill("8, 16, none")
    field.press("Enter")
    ready(page)
    refused = (
        "size: '8, 16, none' cannot be read as three or four integers; use D, H, W and channels, as in 16, 32, 32, 1."
    )
    expect(by_key(page, "made").locator("xpath=following::*[@data-testid='stAlert'][1]")).to_have_text(refused)
    expect(page.get_by_test_id("stSidebar").get_by_test_id("stAlert")).to_have_text([refused])
    set_number(page, "out_channels", 3)
    field.fill("8x16x24")
    field.press("Enter")
    ready(page)
    expect(alerts).to_have_count(0)
    expect(header.locator("[aria-label='(1, 8, 16, 24, 1)']")).to_be_visible()
    assert call(page).startswith("nn.Conv3d(1, 3,"), "in_channels follows the volume again"
    reload(page)
    expect(header.locator("[aria-label='(1, 8, 16, 24, 1)']")).to_be_visible()
