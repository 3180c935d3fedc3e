"""What a realtime event notes, and when it is worked out: beside the call, in order, and never too late."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit_tokens.capture import following
from livekit_tokens.capture.following import MOST_NOTED, Follower
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import faults
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.test_realtime import HEARS_TURNS, Paper
from tests.core.memory_ledger import MemoryLedger
from tests.golden import GOLDEN

KEY = "a" * 32
WHISPER = {"audio": {"input": HEARS_TURNS["audio"]["input"] | {"transcription": {"model": "whisper-1"}}}}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def a_follower() -> Follower:
    return Follower(lambda: None)


# -- when --------------------------------------------------------------------------------------------------------------


def test_what_was_noted_is_read_beside_the_call_and_in_order() -> None:
    """By another thread, without anybody asking."""
    read: list[tuple[int, int]] = []
    follower = a_follower()
    for number in range(20):
        follower.note(lambda n: read.append((n, threading.get_ident())), number)
    until(lambda: len(read) == 20)
    assert [number for number, _ in read] == list(range(20))
    assert threading.get_ident() not in {thread for _, thread in read}


def test_who_needs_it_now_catches_up_in_their_own_thread() -> None:
    read: list[int] = []
    follower = a_follower()
    follower.note(lambda: read.append(threading.get_ident()))
    following.catch_up()
    assert len(read) == 1


def test_catching_up_waits_for_what_another_thread_is_reading() -> None:
    """A sum is not given out while its last record is being made."""
    begun, go_on, read = threading.Event(), threading.Event(), []

    def slowly() -> None:
        begun.set()
        go_on.wait(5)
        read.append("slow")

    follower = a_follower()
    follower.note(slowly)
    assert begun.wait(5)
    threading.Timer(0.05, go_on.set).start()
    follower.catch_up()
    assert read == ["slow"]


def test_notes_do_not_pile_up_when_the_thread_does_not_get_to_run() -> None:
    """They are read where they are noted, then."""
    read: list[int] = []
    follower = a_follower()
    with follower._reading:
        for number in range(MOST_NOTED - 1):
            follower.note(read.append, number)
    follower.note(read.append, MOST_NOTED - 1)
    assert len(read) == MOST_NOTED


def test_a_conversation_that_nobody_holds_any_more_is_read_to_its_end() -> None:
    """Its session may be gone as soon as its last event has passed."""
    read: list[int] = []
    a_follower().note(read.append, 1)
    gc.collect()
    until(lambda: read == [1])


def test_one_fault_does_not_stop_the_next_note() -> None:
    """It is counted, as any of ours is."""
    read: list[int] = []
    before = faults.counts().get("a realtime event could not be followed", 0)
    follower = a_follower()
    follower.note(int, "no number")
    follower.note(read.append, 1)
    follower.catch_up()
    assert read == [1]
    assert faults.counts()["a realtime event could not be followed"] == before + 1


def test_who_is_told_of_a_record_may_ask_for_the_sum() -> None:
    """Asking from within does not wait for itself."""
    read: list[str] = []
    follower = a_follower()

    def telling() -> None:
        following.catch_up()
        read.append("told")

    follower.note(telling)
    follower.note(read.append, "next")
    follower.catch_up()
    assert read == ["told", "next"]


# -- it makes no difference --------------------------------------------------------------------------------------------


def events_of_a_call() -> Iterator[dict[str, Any]]:
    """Three turns: one whole, one that is cancelled, one that stays open; with their transcriptions."""
    yield {"type": "session.created", "session": WHISPER | {"instructions": "Be kind to whoever calls."}}
    for n in range(3):
        place = {"response_id": f"resp_{n}", "item_id": f"said_{n}"}
        yield {"type": "input_audio_buffer.speech_started", "audio_start_ms": n * 9000, "item_id": f"item_{n}"}
        yield {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": n * 9000 + 2000, "item_id": f"item_{n}"}
        yield {"type": "input_audio_buffer.committed", "item_id": f"item_{n}"}
        yield {"type": "conversation.item.added", "item": {"id": f"item_{n}", "content": [{"type": "input_audio"}]}}
        yield {"type": "response.created", "response": {"id": f"resp_{n}"}}
        yield {"type": "response.output_item.added", "item": {"id": f"said_{n}"}, **place}
        yield {"type": "conversation.item.added", "item": {"id": f"said_{n}", "content": []}}
        yield {"type": "response.output_audio_transcript.delta", "delta": "Certainly, ", **place}
        yield {"type": "response.output_audio.delta", "delta": "A" * 12_800, **place}
        transcribed = "conversation.item.input_audio_transcription.completed"
        usage = {"type": "duration", "seconds": 2}
        yield {"type": transcribed, "item_id": f"item_{n}", "transcript": "Is it free?", "usage": usage}
        if n < 2:
            status = ["completed", "cancelled"][n]
            yield {"type": "response.done", "response": {"id": f"resp_{n}", "status": status, "usage": GOLDEN}}


EVENTS = tuple(events_of_a_call())


def figures(records: list[UsageRecord]) -> list[tuple[Any, ...]]:
    """Of each record all that time does not change."""
    return [
        (r.request_id, r.provenance, r.model, r.units, r.informational, r.metadata, r.success, r.agent, r.feature)
        for r in records
    ]


def heard(catches_up: Callable[[int], bool]) -> list[UsageRecord]:
    paper = Paper()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")
    for number, event in enumerate(EVENTS):
        witness.on_event(event)
        if catches_up(number):
            witness.catch_up()
    witness.leave()
    return [record for record, _ in paper.records]


@given(st.sets(st.integers(0, len(EVENTS))))
@settings(max_examples=60, deadline=None)
def test_when_it_is_worked_out_changes_no_figure(moments: set[int]) -> None:
    """At once, at any moments, or all at the end."""
    late = sorted(heard(moments.__contains__), key=lambda record: str(record.request_id))
    at_once = sorted(heard(lambda _: True), key=lambda record: str(record.request_id))
    assert [r[:2] for r in figures(late)] == [r[:2] for r in figures(at_once)]
    reported = [r for r in figures(at_once) if r[1] == "reported"]
    assert [r for r in figures(late) if r[1] == "reported"] == reported
    (cut,) = [r for r in late if r.provenance == "estimated"]
    (same,) = [r for r in at_once if r.provenance == "estimated"]
    reads = {unit: quantity for unit, quantity in cut.units.items() if "input" in unit}
    assert reads == {unit: quantity for unit, quantity in same.units.items() if "input" in unit}


# -- a kill ------------------------------------------------------------------------------------------------------------


class Killed:
    """A call whose process is killed before anything that it noted was worked out."""

    def __init__(self, folder: Path) -> None:
        async def flush(_: float) -> bool:
            return True

        clock = itertools.count(10_000_000, 1000)
        self.folder = folder
        self.recorder = Recorder(folder, Source("call", "here", 1, 0), lambda: next(clock))
        process = Process(self.recorder, flush, lambda: next(clock), lambda: KEY)
        part = LivePart(Part(KEY, "room_1", 1), process, agent=lambda: "greeter", feature="booking")
        self.witness = RealtimeWitness(part, lambda: ("gpt-realtime", "openai"), "r1")

    async def finished(self) -> list[UsageRecord]:
        """What the next process brings home."""
        with self.witness._follower._reading:
            self.recorder.aclose_files()
            ledger = MemoryLedger()
            await take_over(self.folder, ledger)
        return list(ledger.records.values())


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Killed]:
    call = Killed(tmp_path)
    # Until its end, what it notes is read by nobody.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Follower, "catch_up", lambda _: None)
        yield call


async def test_figures_that_were_heard_survive_a_kill_before_their_record_is_made(killed: Killed) -> None:
    """All of the record but what a transcript would have told: nothing of that may be kept."""
    for event in EVENTS[:12]:
        killed.witness.on_event(event)
    done = {"id": "resp_0", "status": "completed", "usage": GOLDEN}
    killed.witness.on_event({"type": "response.done", "response": done})
    response, transcription = sorted(await killed.finished(), key=lambda record: record.service)
    assert (response.request_id, response.provenance, response.metadata) == (
        "resp_0",
        "reported",
        {"status": "completed"},
    )
    assert response.units == {
        "input_text": 43,
        "input_audio": 32,
        "cached_input_audio": 64,
        "output_text": 18,
        "output_audio": 43,
    }
    assert (response.agent, response.feature, response.model) == ("greeter", "booking", "gpt-realtime")
    assert (transcription.request_id, transcription.provenance, transcription.units) == (
        "item_0",
        "reported",
        {"audio_ms": 2000},
    )


async def test_a_response_that_was_announced_survives_a_kill_before_its_input_is_worked_out(killed: Killed) -> None:
    """With its id, and with the output that has arrived."""
    for event in EVENTS[:10]:
        killed.witness.on_event(event)
    _, response = sorted(await killed.finished(), key=lambda record: str(record.request_id))
    assert (response.request_id, response.provenance) == ("resp_0", "estimated")
    assert response.units["output_audio"] >= 4


async def test_a_transcription_that_was_begun_survives_a_kill_at_once(killed: Killed) -> None:
    """Estimated by the length of its audio."""
    for event in EVENTS[:4]:
        killed.witness.on_event(event)
    transcription = next(record for record in await killed.finished() if record.service == "transcriber")
    assert (transcription.provenance, transcription.units) == ("estimated", {"audio_ms": 2000})
    assert transcription.informational["input_audio"] == 20


async def test_impossible_figures_survive_a_kill_as_unknown(killed: Killed) -> None:
    """They are not believed by whoever finishes it either."""
    for event in EVENTS[:6]:
        killed.witness.on_event(event)
    usage = {"input_tokens": 5, "input_token_details": {"audio_tokens": 6}}
    killed.witness.on_event({"type": "response.done", "response": {"id": "resp_0", "usage": usage}})
    response = next(record for record in await killed.finished() if record.service == "agent")
    assert (response.provenance, response.units) == ("unknown", {})
    assert "5 is less than its parts" in str(response.metadata["fault"])


async def test_nothing_but_numbers_of_a_usage_object_reaches_the_spool(killed: Killed) -> None:
    """Whatever a provider puts there."""
    for event in EVENTS[:6]:
        killed.witness.on_event(event)
    usage = GOLDEN | {"note": "my secret", "input_token_details": {"text_tokens": 139, "said": "my secret"}}
    killed.witness.on_event({"type": "response.done", "response": {"id": "resp_0", "usage": usage}})
    usage = {"input_tokens": "my secret"}
    killed.witness.on_event({"type": "response.done", "response": {"id": "resp_1", "usage": usage}})
    written = b"".join(path.read_bytes() for path in killed.recorder.folder.iterdir() if path.is_file())
    assert b'"ended"' in written
    assert b"secret" not in written
