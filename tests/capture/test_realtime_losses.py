"""What LiveKit loses of a realtime conversation's bill, case by case, and we count: named as in the table of losses.

Each case is held by a real AgentSession against the stand-in provider, which keeps its own bill; and once more with
its capture taken out, to see that it is this capture that counts it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession
from livekit.plugins import openai

from livekit_tokens.capture import closing, tracking
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.tracking import Given, Tracking
from livekit_tokens.core import vocabulary
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.demo.bill import Billed
from livekit_tokens.demo.plan import QUICK
from livekit_tokens.demo.provider import Provider
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.capture.pipeline import Speaker
from tests.core.memory_ledger import MemoryLedger
from tests.waiting import PATIENCE_SECONDS, until

CALM = replace(QUICK, speech=(4.0, 4.0), speed=(4.0, 4.0), ahead=(0.02, 0.02), first_output=(0.02, 0.02))
"""Answers of 20 pieces, one every 50 ms."""
CUT = replace(CALM, speech=(2.0, 2.0), done_delay=(60.0, 60.0))
"""Answers of 10 pieces, whose figures do not come: a busy machine that cuts one late finds no more on its bill."""


@pytest.fixture(scope="module", autouse=True)
def _vocabulary() -> None:
    """As in a job process."""
    vocabulary.load("o200k")


class Conversation:
    """A tracked AgentSession on a realtime model, its provider, and what was recorded."""

    def __init__(self, provider: Provider, folder: Path) -> None:
        self.provider = provider
        self.recorder = Recorder(folder, Source("call", "here", 1, 0), now)
        self.records: list[UsageRecord] = []
        self.model = openai.realtime.RealtimeModel(
            base_url=provider.base_url, api_key="none", turn_detection=None, input_audio_transcription=None
        )
        self.session: AgentSession[None] = AgentSession(llm=self.model, aec_warmup_duration=None)
        self.session.output.audio = Speaker()
        self.tracking = self._track()
        self.realtime: Any = None
        self.passed: Counter[str] = Counter()
        """How many raw events of each kind, both ways."""

    def _track(self) -> Tracking:
        async def flush(_: float) -> bool:
            return True

        process = Process(self.recorder, flush, now, new_key)
        return tracking.begin(self.session, None, lambda: process, Given(on_usage=self.records.append))

    async def start(self) -> None:
        agent = Agent(instructions="Be kind to everybody who calls, and answer in one sentence.")
        await self.session.start(agent)
        self.realtime = agent.realtime_llm_session
        for raw in ("openai_client_event_queued", "openai_server_event_received"):
            self.realtime.on(raw, lambda event: self.passed.update([event["type"]]))

    async def ask(self, event: str, times: int = 1) -> Any:
        """Ask for a reply, and wait until so many events of that kind have passed."""
        before = self.passed[event]
        handle = self.session.generate_reply(user_input="What does it cost?")
        await until(lambda: self.passed[event] >= before + times)
        return handle

    async def billed(self, count: int) -> list[Billed]:
        await until(lambda: len(self.provider.bill.entries) >= count)
        return self.provider.bill.entries

    async def told(self, count: int) -> None:
        """Until the figures of so many of the bill's entries have come."""
        await until(lambda: self.passed["response.done"] >= count)

    async def end(self) -> None:
        await self.session.aclose()
        await self.tracking.aclose()
        await self.model.aclose()

    def livekit_counts(self) -> int:
        return sum(usage.input_tokens + usage.output_tokens for usage in self.session.usage.model_usage)


@pytest.fixture
async def call(tmp_path: Path) -> AsyncIterator[Conversation]:
    """A conversation with one whole answer behind it; what LiveKit's own count lacks from then on is lost to it."""
    async with Provider(seed=1, knobs=QUICK, count_text=vocabulary.count_tokens) as provider:
        conversation = Conversation(provider, tmp_path)
        await conversation.start()
        await conversation.session.generate_reply(user_input="Good morning")
        provider.knobs = CALM
        yield conversation
        await conversation.end()


def of(records: list[UsageRecord], entry: Billed) -> UsageRecord:
    """The one record of a response on the bill."""
    (record,) = [record for record in records if record.request_id == entry.id]
    return record


def assert_exact(record: UsageRecord, entry: Billed) -> None:
    assert (record.provenance, record.units) == ("reported", entry.units)


def assert_estimated(record: UsageRecord, entry: Billed) -> None:
    """Marked, and the bill lies within its bounds, unit by unit."""
    assert record.provenance == "estimated"
    assert record.low is not None
    assert record.high is not None
    for unit in {*entry.units, *record.units}:
        low, high = record.low.get(unit, 0), record.high.get(unit, 0)
        assert low <= entry.units.get(unit, 0) <= high, unit


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture of raw events taken out; LiveKit's metrics stay silent where raw events have passed."""
    monkeypatch.setattr(RealtimeWitness, "attach", lambda *_: None)


async def l4(call: Conversation) -> Billed:
    """Asked for, and interrupted before `response.created`."""
    call.provider.knobs = replace(CALM, created=(60.0, 60.0))
    handle = await call.ask("response.create")
    handle.interrupt(force=True)
    entry = (await call.billed(2))[1]
    await call.told(2)
    return entry


async def test_l4_a_response_interrupted_before_created_is_counted(call: Conversation) -> None:
    """The provider bills what it read; LiveKit discards its figures."""
    before = call.livekit_counts()
    entry = await l4(call)
    assert_exact(of(call.records, entry), entry)
    assert entry.units
    assert call.livekit_counts() == before


async def l5(call: Conversation) -> Billed:
    """`response.done` comes for what was never announced."""
    call.provider.knobs = replace(CALM, announced=False)
    handle = await call.ask("response.create")
    response = call.provider.connections[-1].responses
    await until(lambda: len(response) == 2 and response[-1].elapsed() > 0.1)
    handle.interrupt(force=True)
    entry = (await call.billed(2))[1]
    await call.told(2)
    return entry


async def test_l5_a_response_that_nobody_claims_is_counted(call: Conversation) -> None:
    """No generation is current: LiveKit drops it."""
    before = call.livekit_counts()
    entry = await l5(call)
    assert_exact(of(call.records, entry), entry)
    assert entry.units["output_audio"] > 0
    assert call.livekit_counts() == before


async def l6_close(call: Conversation) -> Billed:
    """The session closes in the middle of an answer, whose figures take a moment."""
    call.provider.knobs = replace(call.provider.knobs, done_delay=(0.3, 0.3))
    await call.ask("response.output_audio.delta")
    await call.session.aclose()
    return (await call.billed(2))[1]


async def test_l6_a_response_in_flight_when_the_session_closes_is_counted(call: Conversation) -> None:
    """It is asked to finish, and its figures are awaited for a moment."""
    entry = await l6_close(call)
    assert_exact(of(call.records, entry), entry)


async def test_l6_a_response_whose_figures_do_not_come_before_the_close_is_estimated(
    call: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the conversation and what had arrived."""
    monkeypatch.setattr(closing, "FINISH_SECONDS", 0.1)
    call.provider.knobs = replace(CALM, done_missing=True)
    entry = await l6_close(call)
    assert_estimated(of(call.records, entry), entry)


async def l6_drop(call: Conversation) -> Billed:
    """The socket drops in the middle of an answer, and LiveKit connects again."""
    call.provider.knobs = CUT
    await call.ask("response.output_audio.delta", times=5)
    again = asyncio.Event()
    call.realtime.on("session_reconnected", lambda _: again.set())
    call.provider.connections[-1].drop()
    entry = (await call.billed(2))[1]
    await asyncio.wait_for(again.wait(), PATIENCE_SECONDS)
    return entry


async def test_l6_a_response_in_flight_when_the_socket_drops_is_estimated(call: Conversation) -> None:
    """Its figures can come no more; the call goes on over a new connection, and is counted exactly again."""
    entry = await l6_drop(call)
    assert_estimated(of(call.records, entry), entry)
    call.provider.knobs = QUICK
    await call.session.generate_reply(user_input="Are you there?")
    *_, next_one = await call.billed(3)
    assert_exact(of(call.records, next_one), next_one)


async def l8(call: Conversation) -> Billed:
    """The process is killed in the middle of an answer: its spool stays as it is, and the socket breaks."""
    call.provider.knobs = CUT
    await call.ask("response.output_audio.delta", times=5)
    call.recorder.disown()
    call.provider.connections[-1].drop()
    return (await call.billed(2))[1]


async def taken_over(call: Conversation) -> list[UsageRecord]:
    """What the next process on the host brings home."""
    ledger = MemoryLedger()
    await take_over([call.recorder.folder.parent], ledger)
    return list(ledger.records.values())


async def test_l8_a_response_in_flight_when_the_process_is_killed_is_estimated(call: Conversation) -> None:
    """The next process finds in the spool what it was and how much of it had arrived."""
    entry = await l8(call)
    found = await taken_over(call)
    first = call.provider.bill.entries[0]
    assert_exact(of(found, first), first)
    assert_estimated(of(found, entry), entry)


Case = Callable[[Conversation], Awaitable[Billed]]


@pytest.mark.parametrize("case", [l4, l5, l6_close, l6_drop])
async def test_without_its_capture_it_is_lost(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else tells of it."""
    deaf(monkeypatch)
    async with Provider(seed=1, knobs=CALM) as provider:
        conversation = Conversation(provider, tmp_path)
        await conversation.start()
        await conversation.ask("response.done")
        entry = await case(conversation)
        await conversation.end()
    assert entry.units
    assert [record for record in conversation.records if record.request_id == entry.id] == []


async def test_without_waiting_at_the_close_its_figures_are_lost(
    call: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit hangs up at once: all that is left is an estimate."""

    async def at_once(*_: Any) -> None: ...

    monkeypatch.setattr(RealtimeWitness, "finish", at_once)
    entry = await l6_close(call)
    assert of(call.records, entry).provenance == "estimated"


async def test_without_lines_of_what_is_in_flight_a_kill_loses_it(
    call: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage that lives in memory dies with the process."""
    monkeypatch.setattr(Recorder, "pend", lambda *_: None)
    entry = await l8(call)
    assert [record for record in await taken_over(call) if record.request_id == entry.id] == []
