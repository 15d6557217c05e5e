"""The app under `streamlit run`, and a Chromium that reports every fault it sees."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from pages._ui import viewer
from tests.browser.driver import find_chromium

ROOT = Path(__file__).parents[2]

# Software WebGL, nothing that phones home, and no way out: what a page asks of another host fails at once and is
# reported the same on a machine with a network and on one without.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
STREAMLIT_OPTIONS = ["--server.headless=true", "--server.fileWatcherType=none"]
LOCAL_HOSTS = {"127.0.0.1", "localhost"}
LOCAL_SCHEMES = {"about", "blob", "data"}
# A deep link looks for the server under its own path first.
DEEP_LINK_404 = re.compile(r"/[^/]+/_stcore/(health|host-config)$")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
    # The slowest come first, so that the others fill the second worker meanwhile.
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)


class Server:
    """`streamlit run` of the app, in a process group of its own."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.log = home / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", *STREAMLIT_OPTIONS],
                cwd=ROOT,
                env=environment | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_healthy(self, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        pytest.fail(f"the app's server did not start:\n{self.log.read_text()[-5000:]}")

    def worker_pids(self) -> list[int]:
        """The processes that run MLX, as /proc tells."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue  # no process, or one that has just ended
            if b"conv3d_core.engine.worker" in command and parent == self._process.pid:
                found.append(int(folder.name))
        return found

    @contextmanager
    def worker_stopped(self) -> Iterator[None]:
        """Meanwhile MLX answers nothing."""
        pids = self.worker_pids()
        assert pids, "no process runs MLX"
        with _stopped(pids):
            yield

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile the server answers nothing; what it is sent waits, and then comes all at once."""
        with _stopped([self._process.pid]):
            yield

    def stop(self) -> None:
        for sign, patience_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self._process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Faults:
    """What went wrong in a page without anybody looking: its console, its requests, its server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._log_start = server.log.stat().st_size
        self._found: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._found.append(f"uncaught in the page: {error}"))
        page.on("request", lambda request: self._on_address(request.url))
        page.on("websocket", lambda websocket: self._on_address(websocket.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        address = message.location.get("url", "")
        if message.type == "error" and not ("404" in message.text and DEEP_LINK_404.search(address)):
            self._found.append(f"console: {message.text} ({address})")

    def _on_address(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in LOCAL_SCHEMES and parts.hostname not in LOCAL_HOSTS:
            self._found.append(f"request outside this machine: {address}")

    def found(self) -> list[str]:
        log = self._server.log.read_bytes()[self._log_start :].decode(errors="replace")
        return self._found + ([f"the server's log:\n{log}"] if "Traceback" in log else [])


@contextmanager
def viewer_code(browser: Browser, exported: str) -> Iterator[Page]:
    """A page with the viewer's functions and without the app; `exported` is the script that makes them global."""
    page = browser.new_page()
    script = f"{viewer.bundle()}\n{exported}\nglobalThis.codeIsThere = true;"
    page.add_script_tag(type="module", content=script)
    page.wait_for_function("globalThis.codeIsThere")
    yield page
    page.close()


@contextmanager
def app_in_a_browser() -> Iterator[Callable[..., Page]]:
    """The app and a browser, for programs that are no tests; makes pages, each a visitor of its own."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = Server(Path(home))
        try:
            server.wait_until_healthy()
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)

            def new_page(width: int, height: int) -> Page:
                return browser.new_context(base_url=server.url, viewport={"width": width, "height": height}).new_page()

            yield new_page
            browser.close()
        finally:
            server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("home"))
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def app_url(server: Server) -> str:
    """Where the app answers, such as "http://127.0.0.1:41233"."""
    return server.url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Makes pages, each a visitor of its own; takes the options of Playwright's `new_context`.

    The test fails at its end if any of them logged an error, asked for anything outside this machine, or made the
    server print a traceback.
    """
    faults = Faults(server)
    contexts = []

    def new_page(**options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"} | options
        context = browser.new_context(base_url=server.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        faults.watch(page)
        return page

    yield new_page
    for context in contexts:
        context.close()
    found = faults.found()
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """One visitor, light theme, 1280 x 900; begin with `visit(page)`."""
    return open_page()
