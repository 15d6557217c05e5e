"""Every page runs alone, as a direct link to it would open it, and so does the app around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "pages").glob("*.py") if not path.name.startswith("_"))


def test_there_are_pages() -> None:
    assert "explorer" in [path.stem for path in PAGES]


@pytest.mark.parametrize("path", [*PAGES, ROOT / "app.py"], ids=lambda path: path.name)
def test_it_opens_and_runs_again_without_an_exception(path: Path) -> None:
    app = AppTest.from_file(path, default_timeout=60)
    for _ in range(2):
        app.run()
        assert [(error.value, error.stack_trace) for error in app.exception] == []
        assert [error.value for error in app.error] == []
        assert list(app.main.children), "the page is empty"


def test_the_app_opens_the_explorer_first() -> None:
    app = AppTest.from_file(ROOT / "app.py", default_timeout=60).run()
    assert any(code.value.startswith("nn.Conv3d(") for code in app.main.code)
    assert app.sidebar.number_input(key="k").value == 3


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_link_of_another_app_does_no_harm(path: Path) -> None:
    app = AppTest.from_file(path, default_timeout=60)
    app.query_params["utm_source"] = "mail"
    app.query_params["k[]"] = ["1", "2"]
    app.run()
    assert [error.value for error in app.exception] == []
