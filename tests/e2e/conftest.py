"""A real call: a LiveKit server, a worker process, a caller with a microphone, and a provider with its own bill."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from livekit_tokens.demo.call import Caller
from livekit_tokens.demo.processes import Child
from livekit_tokens.demo.provider import Provider
from livekit_tokens.demo.server import API_KEY, API_SECRET, LiveKitServer, NoLiveKitServer, find_or_build
from livekit_tokens.demo.worker import Worker

AGENTS = Path(__file__).parent / "agents"

StartWorker = Callable[..., Awaitable[Worker]]
StartCaller = Callable[..., Awaitable[Caller]]
StartCallerProcess = Callable[..., Child]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: a real call through a real LiveKit server; 10 to 25 s each")


@pytest.fixture(scope="session")
def livekit_server_path() -> Path:
    """A livekit-server to run; without one the test is skipped, or fails if LIVEKIT_TOKENS_NO_SKIPS=1."""
    try:
        return find_or_build()
    except NoLiveKitServer as reason:
        if os.environ.get("LIVEKIT_TOKENS_NO_SKIPS") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def livekit_server(livekit_server_path: Path) -> AsyncIterator[LiveKitServer]:
    async with LiveKitServer(livekit_server_path) as server:
        yield server


@pytest.fixture
def room() -> str:
    """A room name of the test's own."""
    return f"room-{uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    """Change its course with `provider.knobs = Knobs(...)`."""
    async with Provider(seed=1) as provider:
        yield provider


@pytest.fixture
def livekit_usage_file(tmp_path: Path) -> Path:
    """Where the agents write LiveKit's own `session.usage` when their session closes."""
    return tmp_path / "livekit-usage.json"


@pytest_asyncio.fixture
async def worker(
    livekit_server: LiveKitServer, provider: Provider, livekit_usage_file: Path, tmp_path: Path
) -> AsyncIterator[StartWorker]:
    """`await worker("realtime_agent.py", SOME_ENV="1")`: a registered worker process, gone after the test.

    The ledger and the spool are the test's own: `tmp_path / "ledger.db"` and `tmp_path / "spool"`.
    """
    started: list[Worker] = []
    own = {
        **livekit_server.env,
        "PROVIDER_URL": provider.base_url,
        "LIVEKIT_USAGE_FILE": str(livekit_usage_file),
        "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "spool"),
    }

    async def start(agent: str | Path = "realtime_agent.py", **env: str) -> Worker:
        started.append(Worker(AGENTS / agent, {**own, **env}))
        await started[-1].ready()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


@pytest_asyncio.fixture
async def caller(livekit_server: LiveKitServer, room: str) -> AsyncIterator[StartCaller]:
    """`await caller(identity="ada", name="Ada")`: a caller who has joined `room`, and leaves after the test."""
    joined: list[Caller] = []

    async def join(**who: str) -> Caller:
        who = {"room": room, "api_key": API_KEY, "api_secret": API_SECRET, **who}
        joined.append(Caller(livekit_server.url, **who))
        await joined[-1].join()
        return joined[-1]

    yield join
    await asyncio.gather(*(one.leave() for one in joined))


@pytest.fixture
def caller_process(livekit_server: LiveKitServer, room: str) -> Iterator[StartCallerProcess]:
    """`caller_process("hear_out, say 1, stay")`: a caller in a process of its own, who can be killed."""
    started: list[Child] = []

    def start(script: str, identity: str = "caller") -> Child:
        command = [sys.executable, "-u", "-m", "livekit_tokens.demo.call"]
        options = ["--room", room, "--identity", identity, "--script", script]
        started.append(Child(f"caller {identity}", [*command, *options], env=livekit_server.env))
        return started[-1]

    yield start
    for one in started:
        one.kill()
