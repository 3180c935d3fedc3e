"""A real call: a LiveKit server, a worker process, a caller with a microphone, and a provider with its own bill."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from livekit_tokens.demo.call import Caller
from livekit_tokens.demo.processes import Child
from livekit_tokens.demo.provider import Provider
from livekit_tokens.demo.server import API_KEY, API_SECRET, LiveKitServer, NoLiveKitServer, Operator, find_or_build
from livekit_tokens.demo.worker import Worker
from livekit_tokens.domain.sessions import session_id
from tests import lacking
from tests.conftest import CASES
from tests.e2e.matrix import Ledger, Matrix

AGENTS = Path(__file__).parent / "agents"

StartWorker = Callable[..., Awaitable[Worker]]
StartCaller = Callable[..., Awaitable[Caller]]
StartCallerProcess = Callable[..., Child]
OpenRoom = Callable[..., Awaitable["Room"]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: a real call through a real LiveKit server; 10 to 25 s each")


@pytest.fixture(scope="session")
def matrix(pytestconfig: pytest.Config) -> Iterator[Matrix]:
    """The cases of this process; `tests/conftest.py` prints those of all."""
    made = Matrix()
    yield made
    pytestconfig.stash[CASES] += [asdict(row) for row in made.rows]


@pytest.fixture(scope="session")
def livekit_server_path() -> Path:
    """A livekit-server to run; without one the test is skipped, or fails if LIVEKIT_TOKENS_NO_SKIPS=1."""
    try:
        return find_or_build()
    except NoLiveKitServer as reason:
        lacking.give_up(reason)


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

    async def start(
        agent: str | Path = "realtime_agent.py", *, dev: bool = True, options: tuple[str, ...] = (), **env: str
    ) -> Worker:
        started.append(Worker(AGENTS / agent, {**own, **env}, dev=dev, options=options))
        await started[-1].ready()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


@pytest_asyncio.fixture
async def caller(livekit_server: LiveKitServer, room: str) -> AsyncIterator[StartCaller]:
    """`await caller(identity="ada", name="Ada")`: a caller who has joined `room`, and leaves after the test."""
    joined: list[Caller] = []

    async def join(**who: Any) -> Caller:
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


# -- the lifecycle matrix ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Room:
    """A room whose agents are sent by name, each told what to do."""

    name: str
    sid: str
    operator: Operator
    provider: Provider
    worker: Worker
    ledger: Ledger

    @property
    def session_id(self) -> str:
        return session_id(self.name, self.sid)

    async def send(self, agent_name: str = "lifecycle", **options: object) -> None:
        """Dispatch an agent; `options` are those of agents/lifecycle_agent.py."""
        metadata = json.dumps({"provider": self.provider.base_url, **options})
        await self.operator.send_agent(self.name, agent_name, metadata)

    async def line(self, text: str, *, within: float = 60.0, start: int = 0) -> str:
        """What the shared worker's log says of this room."""
        return await self.worker.line(text.replace("ROOM", f"room={self.name}"), within=within, start=start)

    async def is_over(self, within: float = 60.0) -> None:
        """Its job has ended, and said all that it had to say."""
        await self.line("job ends ROOM", within=within)
        await self.worker.job_ended(await self.job())

    async def job(self) -> int:
        """The process of its (first) job."""
        await self.line("job begins ROOM")
        return self.jobs()[0]

    def jobs(self) -> list[int]:
        """The processes of its jobs so far, in the order in which they began."""
        begun = re.compile(rf"job begins room={self.name} pid=(\d+)")
        return [int(found[1]) for found in map(begun.search, self.worker.lines) if found]


@pytest_asyncio.fixture
async def operator(livekit_server: LiveKitServer) -> AsyncIterator[Operator]:
    async with Operator(livekit_server) as operator:
        yield operator


@pytest.fixture(scope="session")
def shared_ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("lifecycle"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_worker(livekit_server: LiveKitServer, shared_ledger: Ledger) -> AsyncIterator[Worker]:
    """One worker for all cases that do not need their own; it takes only the jobs that are sent to it by name."""
    env = {**livekit_server.env, **shared_ledger.env, "LIVEKIT_AGENT_NAME": "lifecycle"}
    worker = Worker(AGENTS / "lifecycle_agent.py", env)
    try:
        await worker.ready()
        yield worker
    finally:
        await worker.stop()


@pytest.fixture
def open_room(
    operator: Operator, provider: Provider, shared_worker: Worker, shared_ledger: Ledger, room: str
) -> OpenRoom:
    """`await open_room(departure_seconds=1)`: the test's room, for jobs of the shared worker."""

    async def create(departure_seconds: int = 1) -> Room:
        sid = await operator.create_room(room, departure_seconds=departure_seconds)
        return Room(room, sid, operator, provider, shared_worker, shared_ledger)

    return create


@pytest.fixture
def own_room(operator: Operator, provider: Provider, room: str, tmp_path: Path) -> OpenRoom:
    """`await own_room(worker)`: a room for jobs of a worker that the test has started itself, with its own ledger."""

    async def create(worker: Worker, suffix: str = "") -> Room:
        sid = await operator.create_room(room + suffix)
        return Room(room + suffix, sid, operator, provider, worker, Ledger(tmp_path))

    return create
