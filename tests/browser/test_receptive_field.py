"""The receptive field page in the browser: by a deep link, a stack typed and chosen, pictures on any screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import by_key, plot_data, ready, visit
from tests.browser.test_explorer import violations


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_stack_by_link_by_field_and_by_preset(open_page: Callable[..., Page], theme: str) -> None:
    page = open_page(color_scheme=theme)
    visit(page, "/receptive_field?volume=Impulse&k=3&s=1&p=1&stack=k3p1")
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("Output (8, 8, 8) of layer 2 spans 5 x 5 x 5 voxels: depth 6 to 10")
    assert [bar["y"] for bar in plot_data(page, "growth")] == [[3, 5]]

    field = page.get_by_role("textbox", name="Layer 2 kernel_size", exact=True)
    field.fill("1,5,5")
    field.press("Enter")
    expect(main).to_contain_text("Output (9, 7, 7) of layer 2 spans 3 x 7 x 7 voxels")
    ready(page)
    assert "stack=k1x5x5p1" in page.url
    assert [bar["name"] for bar in plot_data(page, "growth")] == ["D", "H, W"]
    page.get_by_role("slider", name="Output W (width) of layer 2").press("ArrowRight")
    expect(main).to_contain_text("Output (9, 7, 8) of layer 2 spans 3 x 7 x 7 voxels")

    page.get_by_role("button", name="Gaps", exact=True).click()
    expect(main).to_contain_text("The stack of 2 layers never reaches")
    ready(page)
    assert "stack=k1s2" in page.url
    counts, none, _ = plot_data(page, "coverage_D")[:3]
    assert counts["z"]
    assert none["name"] == "unreached"
    assert violations(page, "[data-testid=stMain]") == []

    page.reload()
    ready(page)
    expect(main).to_contain_text("The stack of 2 layers never reaches")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390")
    expect(by_key(page, "layers").get_by_role("button", name="×")).to_be_visible()
