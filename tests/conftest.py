"""What holds for every test: repeatable Hypothesis runs, and a run that asks for the browser really has one."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# The same examples every time; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail unless browser tests ran: some passed and none was skipped (what `make test` asks for)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers' reports all come to the controller, which alone can judge.
    if config.getoption("--require-browser") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_BrowserRequired())


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    # Files carry the second they were made in; xdist's workers must collect the same names.
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` is fine, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    """A file's tests stay in one worker, and so do all browser tests: one server, one browser.

    Only the many files made to hurt are shared out: each is read in a process of its own anyway.

    xdist's own way to say the latter, `--dist loadgroup`, does nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/core/test_hostile.py"):
            return nodeid
        return "browser" if nodeid.startswith("tests/browser/") else nodeid.partition("::")[0]


class _BrowserRequired:
    """Fails a run in which the browser tests did not happen."""

    def __init__(self) -> None:
        self.passed = 0
        self.skipped: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and report.nodeid.startswith("tests/browser"):
            self.skipped.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "browser" not in report.keywords:
            return
        if report.skipped:  # an expected failure is reported as skipped, too
            self.skipped.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1

    def _complaint(self) -> str | None:
        if self.skipped:
            return f"browser tests were skipped: {', '.join(sorted(set(self.skipped)))}"
        return None if self.passed else "no browser test passed"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._complaint() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        complaint = self._complaint()
        if complaint:
            terminalreporter.write_line(f"FAILED --require-browser: {complaint}", red=True)
