"""What the page's tests rely on: whole volumes that are there at once, and MLX's own bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import streamlit as st

from conv3d_core.engine import Engine, blas
from pages._ui import progress
from tests.app.driver import Explorer, OpenExplorer


@pytest.fixture(scope="module", autouse=True)  # and no longer: the core's tests have a BLAS of their own
def own_blas() -> Iterator[None]:
    """The program on the page computes the same bits only where MLX multiplies itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(blas.VARIABLE, blas.OFF)
        st.cache_resource.clear()
        yield
        st.cache_resource.clear()


@pytest.fixture(autouse=True)
def wait_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest has no browser that asks again: a page waits for the whole volume, unless a test says otherwise."""
    monkeypatch.setattr(progress, "GRACE_S", 60)


@pytest.fixture
def open_explorer(monkeypatch: pytest.MonkeyPatch) -> OpenExplorer:
    """Opens the page by a link; what its download buttons would deliver is caught on the way to the browser."""
    button = st.download_button

    def download_button(label: str, data: Any, **options: Any) -> bool:
        files[options["file_name"]] = data
        return button(label, data, **options)

    files: dict[str, Any] = {}
    monkeypatch.setattr(st, "download_button", download_button)

    def open_link(**link: Any) -> Explorer:
        return Explorer(files, link)

    return open_link


@pytest.fixture
def nothing_computes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on nothing can be computed; the list holds what was asked for."""
    asked: list[str] = []

    def refuse(name: str) -> Callable[..., None]:
        def refused(*_: object, **__: object) -> None:
            asked.append(name)
            raise AssertionError(f"{name} is called")

        return refused

    for name in ("run", "submit", "planes", "initial_weights"):
        monkeypatch.setattr(Engine, name, refuse(name))
    monkeypatch.setattr("pages._ui.cached.kernel_weights", refuse("kernel_weights"))
    return asked
