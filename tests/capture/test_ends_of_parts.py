"""What is in flight when a part ends: in one part whatever becomes of it, and in no receipt that was given out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Use
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.core.makers import lines_in
from tests.core.memory_ledger import MemoryLedger
from tests.golden import GOLDEN
from tests.waiting import PATIENCE_SECONDS

SESSION = {"model": "gpt-realtime", "instructions": "Be kind.", "audio": {"input": {"transcription": {"model": "w"}}}}


async def flush(_: float) -> bool:
    return True


class World:
    """A process, and parts of one session in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recorder = Recorder(root, Source("source", "here", 1, 0), now)
        self.process = Process(self.recorder, flush, now, new_key)
        self.heard: list[UsageRecord] = []

    def part(self) -> LivePart:
        return LivePart(Part(new_key(), "room_1", now()), self.process, agent=lambda: None, on_usage=self.heard.append)

    def written(self) -> Counter[str]:
        """How many records the spool has, by part."""
        return Counter(line.record.part for line in lines_in(self.recorder.folder) if isinstance(line, Use))

    async def killed(self) -> MemoryLedger:
        """What the ledger has when the process was killed now, and another one has finished its spool."""
        ledger = MemoryLedger()
        self.recorder.disown()
        await take_over([self.root], ledger)
        return ledger


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Speaking:
    """A realtime session in the middle of a response and of a transcription, of which this part knows."""

    def __init__(self, part: LivePart) -> None:
        self.witness = RealtimeWitness(part, lambda: ("gpt-realtime", "openai"), "r1")
        self.tell("session.created", session=SESSION)
        self.tell("input_audio_buffer.speech_started", audio_start_ms=0, item_id="heard")
        self.tell("input_audio_buffer.speech_stopped", audio_end_ms=2000, item_id="heard")
        self.tell("input_audio_buffer.committed", item_id="heard")
        self.tell("response.created", response={"id": "resp_1"})
        self.tell("response.output_audio_transcript.delta", response_id="resp_1", delta="Hello, this is a long word")

    def tell(self, kind: str, **fields: Any) -> None:
        self.witness.on_event({"type": kind, **fields})

    def end(self) -> None:
        self.tell("conversation.item.input_audio_transcription.completed", item_id="heard", transcript="What is it?")
        self.tell("response.done", response={"id": "resp_1", "status": "completed", "usage": GOLDEN})

    def break_off(self) -> None:
        self.witness.give_up()


@pytest.mark.parametrize("settle", [Speaking.end, Speaking.break_off])
def test_what_is_in_flight_when_a_call_goes_on_in_a_new_part_is_the_new_ones(
    world: World, settle: Callable[[Speaking], None]
) -> None:
    """The first receipt stays true, the second one has it, and so has the spool."""
    first = world.part()
    speaking = Speaking(first)
    receipt = first.fix("participant_disconnected")
    second = world.part()
    speaking.witness.write_to(second)
    settle(speaking)
    assert receipt.totals.requests == first.summary().totals.requests == 0
    assert second.summary().totals.requests == 2
    assert world.written() == {second.part.key: 2}
    assert [record.part for record in world.heard] == [second.part.key] * 2


def test_what_is_in_flight_when_a_call_does_not_go_on_is_a_part_of_its_own(world: World) -> None:
    """In the same session, closed from the start."""
    first = world.part()
    speaking = Speaking(first)
    first.fix("participant_disconnected")
    speaking.end()
    assert first.summary().totals.requests == 0
    assert world.written() == {first.afterwards.part.key: 2}
    assert [record.part for record in world.heard] == [first.afterwards.part.key] * 2


@pytest.mark.parametrize("goes_on", [True, False])
async def test_what_a_kill_leaves_in_flight_of_a_part_that_has_ended_stands_in_no_receipt(
    world: World, goes_on: bool
) -> None:
    """The ledger agrees with what was given out; what was in flight is estimated in the part that was written for."""
    first = world.part()
    speaking = Speaking(first)
    receipt = first.fix("participant_disconnected")
    wanted = first.afterwards
    if goes_on:
        wanted = world.part()
        speaking.witness.write_to(wanted)
    ledger = await world.killed()
    assert receipt.totals.requests == 0
    assert Counter(record.part for record in ledger.records.values()) == {wanted.part.key: 2}
    assert ledger.parts[wanted.part.key].session_id == "room_1"
    response = next(record for record in ledger.records.values() if record.service == "agent")
    assert response.units["output_text"] >= 5


@pytest.mark.parametrize("settles", [None, "r1.1"])
def test_what_is_written_while_a_part_ends_is_in_its_receipt_or_in_no_record_of_it(
    world: World, settles: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wire's thread writes just then."""
    part = world.part()
    record = part.new_record(service="agent", provider="openai", model="gpt-4o", operation="chat", units={})
    ending = threading.Thread(target=part.fix, args=["completed"])
    really = world.recorder.record

    def slowly(record: UsageRecord, settles: str | None = None) -> int:
        if not ending.ident:
            ending.start()
            ending.join(0.2)  # it waits for us, or it would be over by now
        return really(record, settles)

    monkeypatch.setattr(world.recorder, "record", slowly)
    part.write(record, settles)
    ending.join(PATIENCE_SECONDS)
    assert part.ended
    assert part.summary().totals.requests == world.written()[part.part.key]
    assert world.written().total() == 1


def test_who_hears_of_a_record_may_wait_for_another_thread_that_records(world: World) -> None:
    """Nothing of the host's runs while a part is held."""
    part = world.part()
    ended = []

    def wait_for_end(_: UsageRecord) -> None:
        thread = threading.Thread(target=lambda: ended.append(part.fix("completed")))
        thread.start()
        thread.join(PATIENCE_SECONDS)

    part._on_usage = wait_for_end
    part.write(part.new_record(service="agent", provider="openai", model="gpt-4o", operation="chat", units={}))
    assert [summary.totals.requests for summary in ended] == [1]
