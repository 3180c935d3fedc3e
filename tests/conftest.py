"""Fixtures for all tests. `database_url` runs a test on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import lacking, postgres

# A shell that runs the tests in its background has Ctrl-C ignored, and every command that a test starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# However busy the machine is, and the same examples in each run; `--hypothesis-profile=default` searches for others.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One real server a test run; see `tests/postgres.py`. Without PostgreSQL the test is skipped, with the reason."""
    try:
        server = postgres.start()
    except postgres.NoPostgres as missing:
        lacking.give_up(missing)
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, of each kind in turn."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
async def full_executor() -> AsyncIterator[None]:
    """The host's own work has filled the loop's default executor, and stays there until the test is over."""
    over, loop = threading.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, over.wait)
    yield
    over.set()


CASES = pytest.StashKey[list[dict[str, str]]]()
"""Rows of the lifecycle matrix; here, as the process of a parallel run that prints them loads no deeper conftest."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of a parallel run has handed its rows over."""
    node.config.stash[CASES] += getattr(node, "workeroutput", {}).get("cases", ())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The lifecycle matrix, as far as this run has filled it."""
    if config.stash[CASES]:
        from tests.e2e.matrix import Matrix, Row

        terminalreporter.section("how calls begin, go on and end")
        for line in Matrix([Row(**case) for case in config.stash[CASES]]).lines():
            terminalreporter.write_line(line)


_ENDED: dict[str, int] = {}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["cases"] = session.config.stash[CASES]
    _ENDED["with"] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """All is said and every fixture has ended: leave without Python's teardown.

    LiveKit's native client sometimes aborts the process there (rtc 1.1.21; seen once in the demo), and the answer of a
    whole run must not hang on that.
    """
    if "livekit.rtc" in sys.modules and "with" in _ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ENDED["with"])
