"""Calls that have no room on a server: tests with `session.run()`, and the console."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import struct
import sys
from typing import Self

import pytest
from livekit.protocol.agent_pb import agent_session as agent_pb

from livekit_tokens.demo.plan import QUICK, Knobs
from livekit_tokens.demo.processes import Child
from tests.e2e.conftest import AGENTS
from tests.e2e.matrix import Ledger, assert_equals_the_bill

pytestmark = pytest.mark.e2e


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path)


async def test_a_test_with_session_run_is_a_session_of_its_own(provider, ledger, matrix):
    """No room, no job: `local_` and a random suffix; what the test spent is there when its process has ended."""
    provider.knobs = QUICK
    env = {**ledger.env, "PROVIDER_URL": provider.base_url}
    child = Child("session.run()", [sys.executable, "-u", str(AGENTS / "session_run.py")], env=env)
    try:
        assert await child.ended(within=60) == 0, child.tail()
    finally:
        child.kill()

    (line,) = ledger.ask("sessions")["sessions"]
    assert line["session_id"].startswith("local_")
    assert f"session {line['session_id']}" in child.lines
    session = ledger.session(line["session_id"])
    (part,) = session["parts"]
    assert (session["room"], session["user"], session["participants"], part["job"]) == (None, None, [], None)
    assert (part["status"], part["close_reason"]) == ("closed", "user_initiated")
    assert session["totals"]["requests"] == 2
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("session.run() in a test", session, provider, [None])


class Console:
    """The terminal's side of `python -m livekit.agents console`, as the `lk` tool speaks it: no devices, no tty."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[str, asyncio.Future[agent_pb.SessionResponse]] = {}

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

    async def says(self, text: str, within: float = 60.0) -> None:
        """Type a line, and wait until the agent has answered it."""
        name = f"line {len(self._answers)}"
        self._answers[name] = asyncio.get_running_loop().create_future()
        line = agent_pb.SessionRequest(request_id=name, run_input=agent_pb.SessionRequest.RunInput(text=text))
        self._send(agent_pb.AgentSessionMessage(request=line))
        async with asyncio.timeout(within):
            answer = await self._answers[name]
        assert not answer.error, answer.error

    def _send(self, message: agent_pb.AgentSessionMessage) -> None:
        raw = message.SerializeToString()
        assert self._writer is not None
        self._writer.write(struct.pack(">I", len(raw)) + raw)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what the agent says; its audio is played as soon as it is there."""
        self._writer = writer
        finished = agent_pb.AgentSessionMessage.ConsoleIO.AudioPlaybackFinished()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                message = agent_pb.AgentSessionMessage.FromString(await reader.readexactly(length))
                if message.HasField("audio_playback_flush"):
                    self._send(agent_pb.AgentSessionMessage(audio_playback_finished=finished))
                elif message.HasField("response") and message.response.request_id in self._answers:
                    self._answers[message.response.request_id].set_result(message.response)


async def test_the_console_is_a_session_without_a_room(provider, ledger, matrix):
    """Its job, its room and its participant are LiveKit's fakes: none of them is told as if it were real."""
    provider.knobs = Knobs(script=(0.6, 0.6), speed=(4.0, 4.0))
    options = {"provider": provider.base_url}
    env = {**ledger.env, "AGENT_OPTIONS": json.dumps(options)}
    async with Console() as console:
        agent = str(AGENTS / "lifecycle_agent.py")
        command = [sys.executable, "-u", "-m", "livekit.agents", "console", agent, "--connect-addr", console.address]
        child = Child("console", command, env=env)
        try:
            await child.line("says all", within=60)
            await console.says("Good morning")
            child.signal(signal.SIGINT)
            await child.ended(within=60)
        finally:
            child.kill()

    (line,) = ledger.ask("sessions")["sessions"]
    session = ledger.session(line["session_id"])
    (part,) = session["parts"]
    assert session["session_id"].startswith("local_")
    assert (session["room"], session["user"], session["participants"]) == (None, None, [])
    assert (part["status"], part["close_reason"]) == ("closed", "user_initiated")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("console", session, provider, [None])
