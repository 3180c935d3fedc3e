"""What happens to calls when their worker is stopped, killed, reloaded, or is of another kind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
import time
from typing import Self

import pytest
from livekit.protocol.agent_pb import agent_dev

from livekit_tokens.demo.provider import Provider
from tests.e2e.matrix import (
    AT_ONCE_MS,
    LONG_ANSWER,
    SHORT,
    assert_at_once,
    assert_equals_the_bill,
    identities,
    leaves,
    milliseconds_late,
    talk,
    transcribed,
)

pytestmark = pytest.mark.e2e

AGENT = "lifecycle_agent.py"


@pytest.fixture(autouse=True)
def _short_answers(provider) -> None:
    provider.knobs = SHORT


async def answered(provider, count: int) -> None:
    kind = "realtime_response"
    await provider.bill.until(lambda bill: sum(e.kind == kind and e.delivered for e in bill.entries) >= count)


# -- stopped and killed -----------------------------------------------------------------------------------------------


async def test_a_worker_that_drains_brings_its_call_to_an_end(worker, own_room, caller, provider, matrix):
    """SIGTERM without --dev: the call goes on as if nothing were, and ends with its caller."""
    agent = await worker(AGENT, dev=False, LIVEKIT_AGENT_NAME="own")
    room = await own_room(agent)
    await room.send("own")
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    agent.signal(signal.SIGTERM)
    await agent.line("draining worker", within=60)
    await ada.say(0.6)
    await ada.hear_out(quiet=0.3)
    await transcribed(provider)
    left = await leaves(ada)
    assert await agent.ended(within=60) == 0

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("SIGTERM, draining", session, provider, [assert_at_once(part["ended_at"], left)])


@pytest.mark.parametrize("how", ["second SIGTERM", "worker SIGKILLed"])
async def test_a_worker_that_dies_takes_its_call_along_and_nothing_is_lost(
    worker, own_room, caller, provider, matrix, how
):
    """In the middle of an answer: its job is gone without a word, and is brought home with an estimate."""
    provider.knobs = LONG_ANSWER
    agent = await worker(AGENT, dev=False, LIVEKIT_AGENT_NAME="own")
    room = await own_room(agent)
    await room.send("own")
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    job = await room.job()
    if how == "second SIGTERM":
        agent.signal(signal.SIGTERM)
        await agent.line("draining worker", within=60)
    await ada.say(0.6)
    await ada.hear(0.8)
    await transcribed(provider)
    killed = time.time()
    agent.signal(signal.SIGTERM if how == "second SIGTERM" else signal.SIGKILL)
    await agent.ended(within=60)
    await agent.job_ended(job)
    await provider.bill.until(lambda bill: any(entry.reason == "socket_closed" for entry in bill.entries))

    recovered = room.ledger.ask("recover")
    assert (recovered["sources"], recovered["parts"], recovered["estimated"], recovered["lost"]) == (1, 1, 1, 0)
    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (session["status"], part["close_reason"]) == ("abandoned", "process_killed")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = milliseconds_late(part["ended_at"], killed)
    assert -AT_ONCE_MS <= late <= AT_ONCE_MS
    matrix.add(how, session, provider, [late])


class DevChannel:
    """The side of `lk agent dev` that reloads: asks the old worker for its jobs, and hands them to the new one."""

    def __init__(self) -> None:
        self.jobs = agent_dev.GetRunningAgentJobsResponse()
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._told: asyncio.Queue[agent_dev.GetRunningAgentJobsResponse] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._listen, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        assert self._server is not None
        self._server.close()

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def take_jobs(self) -> int:
        """Ask the worker which jobs it runs, and keep them for the next one."""
        self._send(agent_dev.AgentDevMessage(get_running_jobs_request=agent_dev.GetRunningAgentJobsRequest()))
        async with asyncio.timeout(60):
            self.jobs = await self._told.get()
        return len(self.jobs.jobs)

    def _send(self, message: agent_dev.AgentDevMessage) -> None:
        raw = message.SerializeToString()
        assert self._writer is not None
        self._writer.write(struct.pack("!I", len(raw)) + raw)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                message = agent_dev.AgentDevMessage.FromString(await reader.readexactly(length))
                if message.HasField("get_running_jobs_request"):
                    self._send(agent_dev.AgentDevMessage(get_running_jobs_response=self.jobs))
                elif message.HasField("get_running_jobs_response"):
                    self._told.put_nowait(message.get_running_jobs_response)


async def test_a_reloaded_worker_resumes_its_call_in_another_part(worker, own_room, caller, provider, matrix):
    """Dev mode's reload: the old job ends with its worker, the new worker runs it again; both are one session."""
    async with DevChannel() as channel:
        old = await worker(AGENT, options=("--cli-addr", channel.address), LIVEKIT_AGENT_NAME="own")
        room = await own_room(old)
        await room.send("own")
        ada = await caller(identity="ada")
        await talk(ada)
        await transcribed(provider)
        assert await channel.take_jobs() == 1
        reloaded = time.time()
        await old.stop(within=60)
        await worker(AGENT, options=("--cli-addr", channel.address), LIVEKIT_AGENT_NAME="own")
        await answered(provider, 3)
        await ada.quiet(0.3)
        left = await leaves(ada)
        async with asyncio.timeout(60):
            while await room.operator.guests(room.name):
                await asyncio.sleep(0.05)

    session = await until_closed(room)
    one, two = session["parts"]
    assert one["job"] == two["job"]
    assert (one["status"], one["close_reason"]) == ("closed", "user_initiated")
    assert (two["status"], two["close_reason"]) == ("closed", "participant_disconnected")
    assert [part["user"] for part in (one, two)] == ["ada", "ada"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = [milliseconds_late(one["ended_at"], reloaded), assert_at_once(two["ended_at"], left)]
    assert 0 <= late[0] <= 30_000
    matrix.add("dev mode's reload", session, provider, late)


async def until_closed(room, within: float = 60.0):
    """The session, once its last part has ended in the ledger."""
    async with asyncio.timeout(within):
        while (session := room.ledger.session(room.session_id))["status"] == "open":
            await asyncio.sleep(0.1)
    return session


# -- of another kind --------------------------------------------------------------------------------------------------


async def test_publisher_jobs_are_a_part_for_each_publisher(worker, own_room, caller, provider, matrix):
    """One job for each participant who publishes: two parts of one session, each of its own user."""
    agent = await worker(AGENT, LIVEKIT_AGENT_NAME="own", AGENT_TYPE="PUBLISHER")
    room = await own_room(agent)
    await room.send("own")
    ada = await caller(identity="ada", name="Ada")
    await answered(provider, 1)
    bob = await caller(identity="bob", name="Bob")
    await answered(provider, 2)
    await ada.say(0.6)
    await answered(provider, 3)
    await transcribed(provider)
    adas_leave = await leaves(ada)
    await room.line("part ended ROOM")
    bobs_leave = await leaves(bob)
    for job in room.jobs():
        await agent.job_ended(job)

    session = room.ledger.session(room.session_id)
    parts = {part["user"]: part for part in session["parts"]}
    assert sorted(parts) == ["ada", "bob"]
    assert len({part["job"] for part in session["parts"]}) == 2
    assert {part["close_reason"] for part in session["parts"]} == {"participant_disconnected"}
    assert {"ada", "bob"} <= set(identities(session))
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = [
        assert_at_once(parts["ada"]["ended_at"], adas_leave),
        assert_at_once(parts["bob"]["ended_at"], bobs_leave),
    ]
    matrix.add("PUBLISHER jobs", session, provider, late)


async def test_jobs_in_threads_of_one_process_are_kept_apart(worker, own_room, caller, provider, matrix):
    """The THREAD executor: two calls at once in one process, one source; each has its own session and records."""
    agent = await worker(AGENT, LIVEKIT_AGENT_NAME="own", AGENT_EXECUTOR="thread")
    async with Provider(seed=2, knobs=SHORT) as bobs_provider:
        rooms = [await own_room(agent, suffix) for suffix in ("-ada", "-bob")]
        providers = [provider, bobs_provider]
        for room, own in zip(rooms, providers, strict=True):
            await room.send("own", provider=own.base_url)
        callers = [await caller(identity=room.name[-3:], room=room.name) for room in rooms]
        await asyncio.gather(*map(talk, callers))
        await asyncio.gather(*map(transcribed, providers))
        left = [await leaves(one) for one in callers]
        for room in rooms:
            await room.line("job ends ROOM")

        assert {pid for room in rooms for pid in room.jobs()} == {agent.pid}
        for room, own, who, then in zip(rooms, providers, ("ada", "bob"), left, strict=True):
            session = room.ledger.session(room.session_id)
            (part,) = session["parts"]
            assert (part["user"], part["status"]) == (who, "closed")
            assert part["close_reason"] == "participant_disconnected"
            assert_equals_the_bill(session["records"], own.bill.entries)
            matrix.add(f"THREAD executor, {who}'s call", session, own, [assert_at_once(part["ended_at"], then)])
