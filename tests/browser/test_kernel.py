"""The kernel under the hand: a number typed into a tap, and the planes that follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server
from tests.browser.driver import by_key, ready, viewer_plane, visit
from tests.browser.test_explorer import query, violations


def open_editor(page: Page, address: str) -> None:
    visit(page, address)
    by_key(page, "kernel").locator("summary").click()
    tap(page, 1, 1, 1).wait_for()


def tap(page: Page, d: int, h: int, w: int) -> Locator:
    return page.get_by_label(f"Tap D {d}, H {h}, W {w}")


def type_tap(page: Page, place: tuple[int, int, int], text: str) -> None:
    """As a hand does: to the next without waiting for the answer."""
    tap(page, *place).click()
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def plane(page: Page) -> NDArray[np.float32]:
    """The output's D plane."""
    return np.array(viewer_plane(page, "output", "D"), np.float32)


def ramp(d: int) -> NDArray[np.float32]:
    """A plane of the volume "Ramp"."""
    h, w = np.indices((24, 24))
    return np.asarray(4 * d + 2 * h + w, np.float32)


RAMP = "/?volume=Ramp&weights=Identity&s=1&out=1"


def test_a_tap_is_typed_and_the_plane_follows(page: Page) -> None:
    open_editor(page, RAMP)
    np.testing.assert_array_equal(plane(page), ramp(11))
    # The tap behind in depth: 3 times the next plane, beside the centre's own.
    type_tap(page, (2, 1, 1), "3")
    ready(page)
    np.testing.assert_array_equal(plane(page), ramp(11) + 3 * ramp(12))
    expect(by_key(page, "kernel").locator("summary")).to_contain_text("1 tap changed")
    assert query(page)["edit"] == "0.2.1.1.0_3"
    # It is still open, and the focus went to the tap below, as in a table.
    expect(tap(page, 2, 2, 1)).to_be_focused()
    page.reload()
    ready(page, 60)
    np.testing.assert_array_equal(plane(page), ramp(11) + 3 * ramp(12))
    page.get_by_role("link", name="Device").click()
    ready(page)
    page.get_by_role("link", name="Explorer").click()
    ready(page)
    assert query(page)["edit"] == "0.2.1.1.0_3"
    np.testing.assert_array_equal(plane(page), ramp(11) + 3 * ramp(12))


def test_taps_typed_faster_than_the_answer_are_all_there(page: Page, server: Server) -> None:
    open_editor(page, RAMP)
    with server.stopped():
        for place, text in (((0, 1, 1), "-1"), ((1, 1, 1), "0"), ((2, 1, 1), "1"), ((2, 0, 0), ".5")):
            type_tap(page, place, text)
    expect(by_key(page, "kernel").locator("summary")).to_contain_text("4 taps changed")
    ready(page)
    expected = ramp(12) - ramp(10)
    expected[1:, 1:] += 0.5 * ramp(12)[:-1, :-1]
    np.testing.assert_array_equal(plane(page), expected)
    assert query(page)["edit"] == "0.0.1.1.0_-1~0.1.1.1.0_0~0.2.0.0.0_0.5~0.2.1.1.0_1"
    page.get_by_role("button", name="Reset", exact=True).click()
    ready(page)
    np.testing.assert_array_equal(plane(page), ramp(11))
    expect(tap(page, 2, 1, 1)).to_have_value("0")


def test_what_is_no_number_is_refused_at_its_field(page: Page) -> None:
    open_editor(page, RAMP)
    for text, why in (
        ("abc", "“abc” is no number"),
        ("NaN", "“NaN” is no number"),
        ("1e99", "“1e99” is not finite in float32"),
        (" ", "nothing is typed"),
    ):
        type_tap(page, (1, 1, 1), text)
        expect(page.get_by_role("alert").filter(has_text="Tap D 1")).to_have_text(
            f"Tap D 1, H 1, W 1: {why}; type a number such as -0.5, or press Esc."
        )
        expect(tap(page, 1, 1, 1)).to_have_attribute("aria-invalid", "true")
    ready(page)
    np.testing.assert_array_equal(plane(page), ramp(11))
    # Another tap is typed meanwhile, and takes neither the text nor the words away.
    type_tap(page, (1, 2, 2), "0")
    type_tap(page, (2, 1, 1), "1")
    ready(page)
    np.testing.assert_array_equal(plane(page), ramp(11) + ramp(12))
    expect(tap(page, 1, 1, 1)).to_have_attribute("aria-invalid", "true")
    tap(page, 1, 1, 1).click()
    page.keyboard.press("Escape")
    expect(tap(page, 1, 1, 1)).to_have_value("1")
    expect(tap(page, 1, 1, 1)).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("alert").filter(has_text="Tap D 1")).to_have_count(0)


def test_the_arrows_walk_over_the_taps_from_plane_to_plane(page: Page) -> None:
    open_editor(page, RAMP)
    tap(page, 0, 0, 2).click()
    page.keyboard.press("ArrowRight")
    expect(tap(page, 1, 0, 0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(tap(page, 0, 1, 2)).to_be_focused()
    # At rest four digits, under the hand what float32 holds.
    visit(page, "/?volume=Ramp&weights=Random&out=1")
    by_key(page, "kernel").locator("summary").click()
    short = tap(page, 0, 0, 0).input_value()
    tap(page, 0, 0, 0).focus()
    exact = tap(page, 0, 0, 0).input_value()
    assert len(exact) > len(short)
    assert f"{float(exact):.4g}" == short
    tap(page, 0, 0, 1).focus()
    expect(tap(page, 0, 0, 0)).to_have_value(short)


def test_it_fits_and_can_be_read(open_page: Callable[..., Page]) -> None:
    for theme in ("light", "dark"):
        page = open_page(color_scheme=theme)
        open_editor(page, "/?volume=Impulse&k=5&weights=Gaussian&edit=0.1.1.1.0_-0.5")
        assert violations(page, ".st-key-kernel") == []
    page.set_viewport_size({"width": 390, "height": 844})
    ready(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
