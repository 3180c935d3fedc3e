"""One realtime session's raw events, turned into records."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.rtc import EventEmitter

from livekit_tokens.capture import conversation, expectations, flights, responses
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import faults
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.vocabulary import tokens_in
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from tests.golden import GOLDEN
from tests.waiting import PATIENCE_SECONDS


class Paper:
    """A part that keeps what was written."""

    def __init__(self) -> None:
        self.clock = itertools.count(10_000_000, 1000)
        self.part = Part("0" * 32, "room_abc", 0)
        self.records: list[tuple[UsageRecord, str | None]] = []
        self.pending: list[Pend] = []
        self.mores: list[More] = []
        self.lates: list[Late] = []
        self.unpended: list[str] = []
        self.left_to_do: list[Callable[[], None]] = []

    def now(self) -> int:
        return next(self.clock)

    def agent(self) -> str:
        return "greeter"

    def feature(self) -> str:
        return "unknown"

    def write(self, record: UsageRecord, settles: str | None = None) -> int:
        self.records.append((record, settles))
        return len(self.records)

    def unpend(self, pending: str) -> None:
        self.unpended.append(pending)

    def late(self, late: Late) -> None:
        self.lates.append(late)

    def later(self, work: Callable[[], None]) -> None:
        self.left_to_do.append(work)

    def pend(self, pend: Pend) -> None:
        self.pending.append(pend)

    def more(self, more: More) -> None:
        self.mores.append(more)

    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None:
        self.write(make(done), done.id)

    def left(self) -> list[UsageRecord]:
        """What a kill at this moment leaves of what is in flight."""
        over = {*self.unpended, *(settles for _, settles in self.records)}
        latest = {pend.id: pend for pend in self.pending if pend.id not in over}
        return [
            estimated(pend, next((more for more in reversed(self.mores) if more.id == name), None))
            for name, pend in latest.items()
        ]


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def emit(paper: Paper) -> Callable[..., None]:
    """Sends a server event through LiveKit's own EventEmitter to a witness."""
    session: EventEmitter[str] = EventEmitter()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")
    witness.attach(session)

    def send(type: str, **fields: Any) -> None:  # noqa: A002 - the wire's own name
        session.emit("openai_server_event_received", {"type": type, **fields})

    send.session = session
    send.witness = witness
    return send


def done(emit: Callable[..., None], response_id: str | None = "resp_1", **response: Any) -> None:
    response = {"status": "completed", "usage": GOLDEN} | response
    emit("response.done", response={"id": response_id, **response} if response_id else response)


def test_a_response_done_becomes_one_record(paper: Paper, emit: Callable[..., None]) -> None:
    """The provider's figures, in disjoint units, under its id, model and the agent that spoke."""
    emit("response.created", response={"id": "resp_1"})
    done(emit)
    ((record, settles),) = paper.records
    assert record.units == {
        "input_text": 43,
        "input_audio": 32,
        "cached_input_audio": 64,
        "output_text": 18,
        "output_audio": 43,
    }
    assert (record.provenance, record.request_id, record.agent) == ("reported", "resp_1", "greeter")
    assert (record.service, record.model, record.operation) == ("agent", "gpt-realtime", "realtime_response")
    assert settles == paper.pending[0].id


def test_a_cancelled_response_is_billed_like_any_other(paper: Paper, emit: Callable[..., None]) -> None:
    """Its figures are the provider's; that it was cancelled stands in the metadata."""
    done(emit, status="cancelled")
    ((record, _),) = paper.records
    assert (record.provenance, record.metadata["status"], record.success) == ("reported", "cancelled", True)


def test_a_response_done_without_a_response_created_is_counted(paper: Paper, emit: Callable[..., None]) -> None:
    """OpenAI sometimes sends one, and bills it."""
    done(emit, "resp_unseen")
    assert len(paper.records) == 1


def test_a_response_done_told_twice_is_counted_once(paper: Paper, emit: Callable[..., None]) -> None:
    """Nothing twice, whether it was seen to begin or not."""
    done(emit)
    done(emit)
    emit("response.created", response={"id": "resp_2"})
    done(emit, "resp_2")
    done(emit, "resp_2")
    assert len(paper.records) == 2


def test_ids_that_are_missing_do_not_hide_requests(paper: Paper, emit: Callable[..., None]) -> None:
    """Request ids can be empty: each end is a request of its own, and settles the one that is open."""
    emit("response.created", response={})
    done(emit, None)
    done(emit, None)
    assert [settles for _, settles in paper.records] == [paper.pending[0].id, None]


def test_every_delta_of_output_brings_the_pending_state_up_to_date(paper: Paper, emit: Callable[..., None]) -> None:
    """Counts only: milliseconds of audio and tokens of text."""
    emit("response.created", response={"id": "resp_1"})
    emit("response.output_audio_transcript.delta", response_id="resp_1", delta="Hello")
    emit("response.output_audio.delta", response_id="resp_1", delta="A" * 6400)  # 4,800 bytes are 100 ms
    pending = paper.pending[0].id
    assert [(more.id, more.audio_ms, more.tokens) for more in paper.mores] == [(pending, 0, 1), (pending, 100, 1)]


def test_impossible_usage_is_recorded_as_unknown_with_its_figures(paper: Paper, emit: Callable[..., None]) -> None:
    """The request is counted; its figures are not believed, and are said."""
    done(emit, usage={"input_tokens": 5, "input_token_details": {"audio_tokens": 6}})
    ((record, _),) = paper.records
    assert (record.provenance, record.units) == ("unknown", {})
    assert "5 is less than its parts" in str(record.metadata["fault"])


def test_a_failed_response_without_usage_is_a_failed_request(paper: Paper, emit: Callable[..., None]) -> None:
    """Counted, not billed; the error's code is kept, its text is not."""
    error = {"error": {"type": "server_error", "code": "rate_limited", "message": "what the caller said"}}
    done(emit, status="failed", usage=None, status_details=error)
    ((record, _),) = paper.records
    assert (record.success, record.error, record.units) == (False, "rate_limited", {})


def test_a_response_that_ends_without_usage_is_estimated_from_what_was_seen(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """Its channel can bring nothing more: 100 ms of audio arrived, and the provider has kept a little."""
    emit("response.created", response={"id": "resp_1"})
    emit("response.output_audio.delta", response_id="resp_1", delta="A" * 6400)
    done(emit, status="cancelled", usage=None)
    ((record, settles),) = paper.records
    assert (record.provenance, record.units["output_audio"]) == ("estimated", 3)
    assert record.low is not None
    assert settles == paper.pending[0].id


def test_an_estimate_begins_with_what_the_last_response_left(paper: Paper, emit: Callable[..., None]) -> None:
    """The next input is the last input and output, and what the caller said since."""
    done(emit)
    emit("input_audio_buffer.speech_started", audio_start_ms=1000)
    emit("input_audio_buffer.speech_stopped", audio_end_ms=3000)
    emit("response.created", response={"id": "resp_2"})
    emit.witness.give_up()
    record = paper.records[-1][0]
    whole = sum(quantity for name, quantity in record.units.items() if "input" in name)
    assert whole == 139 + 61 - 6 + 5 + 20
    assert record.units["cached_input_audio"] > 0


def test_a_reconnection_ends_what_the_old_connection_had_in_flight(paper: Paper, emit: Callable[..., None]) -> None:
    """The socket that could have brought its figures is gone."""
    emit("response.created", response={"id": "resp_1"})
    emit.session.emit("session_reconnected", object())
    assert [record.provenance for record, _ in paper.records] == ["estimated"]


async def test_finishing_waits_for_the_figures_of_open_responses(paper: Paper, emit: Callable[..., None]) -> None:
    """They come a moment after the interruption; waiting ends with them, not with the time."""
    import asyncio

    emit("response.created", response={"id": "resp_1"})
    asyncio.get_running_loop().call_later(0.05, lambda: done(emit, status="cancelled"))
    await emit.witness.finish(PATIENCE_SECONDS)
    assert [record.provenance for record, _ in paper.records] == ["reported"]


def test_an_input_transcription_is_a_request_of_the_transcriber(paper: Paper, emit: Callable[..., None]) -> None:
    """By tokens or by duration, once per item, under the transcription model that the session names."""
    completed = "conversation.item.input_audio_transcription.completed"
    emit("session.updated", session={"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
    emit(completed, item_id="item_1", content_index=0, usage={"type": "duration", "seconds": 3})
    emit(completed, item_id="item_1", content_index=0, usage={"type": "duration", "seconds": 3})
    ((record, _),) = paper.records
    assert (record.service, record.model, record.operation) == ("transcriber", "whisper-1", "transcription")
    assert record.units == {"audio_ms": 3000}


def test_a_transcription_without_usage_is_unknown(paper: Paper, emit: Callable[..., None]) -> None:
    """A request happened, nothing can be said."""
    emit("conversation.item.input_audio_transcription.completed", item_id="item_1", transcript="my secret")
    ((record, _),) = paper.records
    assert (record.provenance, record.units) == ("unknown", {})
    assert "secret" not in repr(record)


def test_a_failed_transcription_is_a_failed_request(paper: Paper, emit: Callable[..., None]) -> None:
    """Counted, not billed."""
    emit("conversation.item.input_audio_transcription.failed", item_id="item_1", error={"code": "audio_unintelligible"})
    ((record, _),) = paper.records
    assert (record.success, record.error) == (False, "audio_unintelligible")


# -- what the client's events tell -------------------------------------------------------------------------------------


def ask(emit: Callable[..., None], event_id: str = "create_1", **response: Any) -> None:
    """The client asks for a response, as LiveKit does."""
    event = {"type": "response.create", "event_id": event_id, "response": response}
    emit.session.emit("openai_client_event_queued", event)


def know_the_way(emit: Callable[..., None], **session: Any) -> None:
    """How long a sign takes to the provider and back is known from the session's first update on."""
    emit.session.emit("openai_client_event_queued", {"type": "session.update"})
    emit("session.updated", session=session)


def created(emit: Callable[..., None], response_id: str = "resp_1", asked: str = "create_1") -> None:
    emit("response.created", response={"id": response_id, "metadata": {"client_event_id": asked}})


def give_up(emit: Callable[..., None], **how: bool) -> None:
    emit.witness.give_up(**how)


def whole_input(record: UsageRecord) -> int:
    return sum(quantity for name, quantity in record.units.items() if "input" in name)


def test_a_response_is_in_flight_from_its_request_on(paper: Paper, emit: Callable[..., None]) -> None:
    """Under one pending id, which its figures settle."""
    ask(emit)
    created(emit)
    done(emit)
    ((record, settles),) = paper.records
    assert (record.provenance, record.request_id) == ("reported", "resp_1")
    assert {pend.id for pend in paper.pending} == {settles}


def test_a_kill_tells_an_announced_response_from_one_that_was_only_asked_for(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """From its announcement on, also between that and its first delta."""
    ask(emit)
    (before,) = paper.left()
    created(emit)
    (after,) = paper.left()
    emit("response.output_audio.delta", response_id="resp_1", delta="A" * 6400)
    (speaking,) = paper.left()
    assert [record.request_id for record in (before, after, speaking)] == [None, "resp_1", "resp_1"]


def test_an_announcement_is_one_short_line(paper: Paper, emit: Callable[..., None]) -> None:
    """What the response reads was told when it was asked for, and nothing of that has changed since."""
    know_the_way(emit)
    ask(emit)
    created(emit)
    assert (len(paper.pending), [more.request_id for more in paper.mores]) == (1, ["resp_1"])


def test_what_a_response_reads_is_told_anew_if_it_has_changed_before_it_begins(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """The conversation may grow between its request and its announcement."""
    know_the_way(emit)
    ask(emit)
    item = {"id": "more", "type": "message", "content": [{"type": "input_text", "text": "One thing more."}]}
    emit("conversation.item.added", item=item)
    created(emit)
    (record,) = paper.left()
    assert (record.request_id, len(paper.pending)) == ("resp_1", 2)
    assert whole_input(record) > whole_input(estimated(paper.pending[0])) == 0


def test_what_figures_teach_before_a_response_begins_is_told_anew(paper: Paper, emit: Callable[..., None]) -> None:
    """Those of the one before may come between its request and its announcement; the conversation is the same."""
    know_the_way(emit, instructions="Be kind.")
    emit("response.created", response={"id": "resp_1"})
    ask(emit)
    done(emit)
    created(emit, "resp_2")
    _, asked, begun = paper.pending
    assert sum(begun.input.tokens) == 139 > sum(asked.input.tokens)


def test_how_far_the_provider_is_may_be_known_only_when_a_response_begins(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """What exists of it unseen is bounded by that: it is told anew."""
    emit.session.emit("openai_client_event_queued", {"type": "conversation.item.delete", "item_id": "item_1"})
    ask(emit)
    emit("conversation.item.deleted", item_id="item_1")
    created(emit)
    asked, begun = paper.pending
    assert begun.usual.round_trip_ms > asked.usual.round_trip_ms == 0


def test_what_an_earlier_response_has_read_is_stable_for_the_next(paper: Paper, emit: Callable[..., None]) -> None:
    """Also if the conversation has not changed since: nothing is worked out from what is no longer true."""
    emit("session.updated", session={"instructions": "Be kind to whoever calls."})
    emit("response.created", response={"id": "resp_1"})
    emit("response.created", response={"id": "resp_2"})
    first, second = paper.pending
    assert (first.input.stable, second.input.stable) == ((0, 0, 0), first.input.tokens)


def test_a_response_that_was_asked_for_and_never_announced_is_estimated_when_the_connection_breaks(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """It may have been read; or not even have been sent."""
    done(emit)
    ask(emit)
    give_up(emit)
    record, _ = paper.records[-1]
    assert (record.provenance, record.low) == ("estimated", {})
    assert whole_input(record) == 139 + 61 - 6


SAID = "word " * 99


def say(emit: Callable[..., None], *item_ids: str) -> int:
    """Items of as many tokens as are answered, framed."""
    content = [{"type": "input_text", "text": SAID}]
    for item_id in item_ids:
        emit("conversation.item.added", item={"id": item_id, "type": "message", "role": "user", "content": content})
    return tokens_in(SAID) + 5


def answered(emit: Callable[..., None], response_id: str, read: int) -> None:
    emit("response.created", response={"id": response_id})
    details = {"input_token_details": {"text_tokens": read}, "output_token_details": {}}
    done(emit, response_id, usage={"input_tokens": read, "output_tokens": 0, "total_tokens": read} | details)


def test_what_was_read_after_messages_were_left_out_unseen_may_be_cached(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """The figures tell of it; the next prompt begins as that one was read, and not as it had been expected."""
    each = say(emit, *"abcdef")
    answered(emit, "resp_1", 6 * each)
    answered(emit, "resp_2", 3 * each)
    emit("response.created", response={"id": "resp_3"})
    assert paper.pending[-1].input.stable == (3 * each, 0, 0)


def test_a_limit_that_was_noticed_once_is_expected_again(paper: Paper, emit: Callable[..., None]) -> None:
    """Of six messages three were left out; so they are when there are six again. Until more was read than that."""
    each = say(emit, *"abcde")
    answered(emit, "resp_1", 5 * each)
    say(emit, "f")
    answered(emit, "resp_2", 3 * each)
    say(emit, *"gh")
    answered(emit, "resp_3", 5 * each)
    say(emit, "i")
    answered(emit, "resp_4", 6 * each)
    say(emit, *"jkl")
    emit("response.created", response={"id": "resp_5"})
    assert [pend.input.tokens[0] / each for pend in paper.pending] == [5, 6, 5, 3, 9]


def test_what_a_client_stops_is_written_down_as_it_stops(paper: Paper, emit: Callable[..., None]) -> None:
    """A process that is killed later leaves an estimate of what could arrive until then."""
    emit("response.created", response={"id": "resp_1"})
    emit("response.output_audio.delta", response_id="resp_1", delta="A" * 6400)
    for _ in range(2):
        emit.session.emit("openai_client_event_queued", {"type": "response.cancel"})
    assert [(more.id, more.audio_ms) for more in paper.mores] == [(paper.pending[0].id, 100)] * 2


def test_what_a_client_stops_before_its_announcement_is_written_down_with_that_again(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """The announcement replaces what was known."""
    ask(emit)
    emit.session.emit("openai_client_event_queued", {"type": "response.cancel"})
    before = len(paper.mores)
    created(emit)
    assert len(paper.mores) == before + 1


def test_what_a_client_stopped_unheard_can_be_no_more_than_what_the_provider_keeps(
    paper: Paper, emit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the connection: it was stopped before; another one, a second's way off, is bounded by that.
    Its earlier answer came at twice real time, 200 ms in 100 ms."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    for module in (conversation, flights, responses):
        monkeypatch.setattr(module, "time", clock)
    emit.session.emit("openai_client_event_queued", {"type": "session.update"})
    clock.now = 1.0
    emit("session.updated", session={})
    emit("response.created", response={"id": "resp_1"})
    for _ in range(2):
        clock.now += 0.1
        emit("response.output_audio.delta", response_id="resp_1", delta="A" * 12800)
    done(emit)
    emit("response.created", response={"id": "resp_2"})
    emit.session.emit("openai_client_event_queued", {"type": "response.cancel"})
    give_up(emit)
    emit("response.created", response={"id": "resp_3"})
    give_up(emit)
    stopped, broken = (record.high["output_audio"] for record, _ in paper.records[1:])
    assert broken - stopped == 2.5 * 2 * 1_000 / 50


def test_a_request_that_the_provider_refuses_is_a_failed_one(paper: Paper, emit: Callable[..., None]) -> None:
    """Not billed; the error's code is kept, its text is not."""
    ask(emit)
    error = {"event_id": "create_1", "code": "conversation_already_has_active_response", "message": "my secret"}
    emit("error", error=error)
    ((record, _),) = paper.records
    assert (record.success, record.units, record.error) == (False, {}, "conversation_already_has_active_response")


def test_instructions_of_a_responses_own_are_counted_instead_of_the_sessions(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """`generate_reply(instructions=...)` replaces them for one response."""
    emit("session.updated", session={"instructions": "Be kind. " * 50})
    ask(emit, "a")
    ask(emit, "b", instructions="Be kind. " * 50 + "Greet the caller, and say your name.")
    plain, own = map(estimated, paper.pending)
    assert 5 <= whole_input(own) - whole_input(plain) <= 15


def test_history_that_the_client_brings_is_read_from_the_first_response_on(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """Messages, calls and their outputs; told by the client, confirmed by the server, counted once."""
    content = [{"type": "input_text", "text": "The caller is Ada, she moves her appointment to Thursday."}]
    items: list[dict[str, Any]] = [
        {"id": "a", "type": "message", "role": "user", "content": content},
        {"id": "b", "type": "function_call", "name": "look_up", "arguments": '{"day": "Thursday"}', "call_id": "c"},
        {"id": "c", "type": "function_call_output", "call_id": "c", "output": "Free at ten."},
    ]
    for item in items:
        emit.session.emit("openai_client_event_queued", {"type": "conversation.item.create", "item": item})
    ask(emit, "before")
    for item in items:
        emit("conversation.item.added", item=item)
    ask(emit, "after")
    before, after = map(estimated, paper.pending)
    assert before.units == after.units
    assert 35 <= whole_input(after) <= 60


def test_audio_that_is_committed_without_voice_detection_is_as_long_as_what_was_sent(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """Since the last commit; two seconds of 24 kHz pcm16, 100 ms at a time."""
    client = emit.session
    for _ in range(20):
        client.emit("openai_client_event_queued", {"type": "input_audio_buffer.append", "audio": "A" * 6400})
    emit("input_audio_buffer.committed", item_id="item_1")
    emit("conversation.item.added", item={"id": "item_1", "type": "message", "content": [{"type": "input_audio"}]})
    ask(emit)
    assert estimated(paper.pending[-1]).units == {"input_text": 5, "input_audio": 20}


def test_an_image_is_said_to_be_uncounted_until_figures_tell_what_one_costs(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """No rule is published for realtime models."""
    item = {
        "id": "seen",
        "type": "message",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,"}],
    }
    emit.session.emit("openai_client_event_queued", {"type": "conversation.item.create", "item": item})
    emit("response.created", response={"id": "resp_1"})
    assert paper.left()[-1].metadata == {"uncounted_images": 1}
    done(emit, usage=GOLDEN | {"input_tokens": 239, "input_token_details": {"text_tokens": 139, "image_tokens": 100}})
    emit("response.created", response={"id": "resp_2"})
    assert paper.left()[-1].metadata == {}
    units = paper.left()[-1].units
    assert units["input_image"] + units["cached_input_image"] == 100


# -- what the provider begins by itself --------------------------------------------------------------------------------

HEARS_TURNS = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}


def speak(emit: Callable[..., None], item: str, began: int = 0) -> None:
    emit("input_audio_buffer.speech_started", audio_start_ms=began, item_id=item)
    emit("input_audio_buffer.speech_stopped", audio_end_ms=began + 2_000, item_id=item)
    emit("input_audio_buffer.committed", item_id=item)


def test_a_response_that_the_provider_begins_by_itself_is_in_flight_once_it_has_heard_the_caller_out(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """Should the connection break before it is announced, it was most likely read."""
    emit("session.updated", session=HEARS_TURNS)
    speak(emit, "item_1")
    give_up(emit)
    ((record, _),) = paper.records
    assert (record.provenance, record.low, record.units) == ("estimated", {}, {"input_text": 5, "input_audio": 20})


def test_what_the_provider_did_not_begin_is_forgotten(paper: Paper, emit: Callable[..., None]) -> None:
    """It tells the end of everything that it begins: by the next turn, or by the time an end was waited for."""
    emit("session.updated", session=HEARS_TURNS)
    speak(emit, "item_1")
    speak(emit, "item_2", 5_000)
    give_up(emit, broken=False)
    assert paper.records == []
    assert paper.unpended == [pend.id for pend in paper.pending]


def test_where_the_client_decides_when_to_answer_nothing_is_expected(paper: Paper, emit: Callable[..., None]) -> None:
    """`create_response: false`, or no turn detection at all."""
    turns = {"type": "server_vad", "create_response": False}
    emit("session.updated", session={"audio": {"input": {"turn_detection": turns}}})
    speak(emit, "item_1")
    emit("session.updated", session={"audio": {"input": {"turn_detection": None}}})
    speak(emit, "item_2", 5_000)
    assert paper.pending == []


# -- what comes after the end ------------------------------------------------------------------------------------------


def test_figures_that_come_after_the_estimate_are_kept_beside_it(paper: Paper, emit: Callable[..., None]) -> None:
    """Once, with the estimate's number; nothing more is recorded."""
    emit("response.created", response={"id": "resp_1"})
    give_up(emit)
    done(emit)
    done(emit)
    assert [record.provenance for record, _ in paper.records] == ["estimated"]
    assert [(late.of, late.units["output_audio"]) for late in paper.lates] == [(1, 43)]


def test_a_transcription_in_flight_at_the_end_is_estimated_by_its_audio(
    paper: Paper, emit: Callable[..., None]
) -> None:
    """It is billed when the audio is committed; its figures are kept if they come yet."""
    emit("session.updated", session={"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}})
    speak(emit, "item_1")
    give_up(emit)
    ((record, _),) = paper.records
    assert (record.service, record.provenance, record.units) == (
        "transcriber",
        "estimated",
        {"input_audio": 20, "output_text": 8},
    )
    usage = {"type": "tokens", "input_tokens": 20, "output_tokens": 5}
    emit("conversation.item.input_audio_transcription.completed", item_id="item_1", usage=usage)
    assert len(paper.records) == 1
    assert [late.units for late in paper.lates] == [{"input_audio": 20, "output_text": 5}]


@pytest.mark.parametrize(
    ("on", "off"),
    [
        (
            {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
            {"audio": {"input": {"transcription": None}}},
        ),
        ({"input_audio_transcription": {"model": "whisper-1"}}, {"input_audio_transcription": None}),
    ],
)
def test_a_transcription_that_is_switched_off_is_not_expected(
    paper: Paper, emit: Callable[..., None], on: dict[str, Any], off: dict[str, Any]
) -> None:
    """What was committed before keeps its model; an update that says nothing of it changes nothing."""
    emit("session.updated", session=on)
    speak(emit, "item_1")
    emit("session.updated", session={"instructions": "Be kind."})
    speak(emit, "item_2")
    emit("session.updated", session=off)
    speak(emit, "item_3")
    emit("conversation.item.input_audio_transcription.completed", item_id="item_1", transcript="Hello")
    give_up(emit)
    assert [(record.model, record.request_id) for record, _ in paper.records] == [
        ("whisper-1", "item_1"),
        ("whisper-1", "item_2"),
    ]


# -- other dialects ----------------------------------------------------------------------------------------------------


def test_the_betas_names_of_events_are_understood(paper: Paper, emit: Callable[..., None]) -> None:
    """A server that still speaks them; LiveKit translates them for Azure alone."""
    emit("session.updated", session={"instructions": "Be kind.", "input_audio_transcription": {"model": "whisper-1"}})
    emit("conversation.item.created", item={"id": "a", "content": [{"type": "input_text", "text": "Hello"}]})
    emit("response.created", response={"id": "resp_1"})
    emit("response.audio_transcript.delta", response_id="resp_1", delta="Hello")
    emit("response.audio.delta", response_id="resp_1", delta="A" * 6400)
    assert (paper.mores[-1].audio_ms, paper.mores[-1].tokens) == (100, 1)
    assert whole_input(estimated(paper.pending[0])) > 10


def test_azures_model_is_what_the_session_says(paper: Paper) -> None:
    """LiveKit knows a deployment by its name, and of its model only a default."""
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "azure"), "r1")
    witness.on_event({"type": "session.created", "session": {"model": "gpt-4o-mini-realtime-preview-2024-12-17"}})
    witness.on_event({"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": GOLDEN}})
    assert [(record.model, record.provider) for record, _ in paper.records] == [
        ("gpt-4o-mini-realtime-preview-2024-12-17", "azure")
    ]


def test_a_response_is_recorded_under_the_model_that_began_it(paper: Paper) -> None:
    """A fallback adapter may have gone on to another one by the time its figures come."""
    serving = ["gpt-realtime"]
    witness = RealtimeWitness(paper, lambda: (serving[0], "openai"), "r1")
    witness.on_event({"type": "response.created", "response": {"id": "resp_1"}})
    serving[0] = "gpt-realtime-mini"
    witness.on_event({"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": GOLDEN}})
    assert [record.model for record, _ in paper.records] == ["gpt-realtime"]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
anything = st.recursive(
    scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3), max_leaves=5
)
known_types = st.sampled_from(
    [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.deleted",
        "conversation.item.truncated",
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "error",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.function_call_arguments.delta",
        "response.done",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "rate_limits.updated",
    ]
)
field_names = st.sampled_from(
    [
        "response",
        "response_id",
        "delta",
        "usage",
        "item",
        "item_id",
        "session",
        "audio_start_ms",
        "audio_end_ms",
        "error",
    ]
)
response = st.fixed_dictionaries(
    {},
    optional={"id": st.sampled_from(["a", "b", "", None, 7]), "status": anything, "usage": anything | st.just(GOLDEN)},
)
event = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    known_types | anything,
    st.dictionaries(field_names, anything | response | st.sampled_from(["a", "b"]), max_size=4),
)


@given(st.lists(event | anything, max_size=12))
@settings(max_examples=400)
def test_no_event_makes_a_handler_raise_and_nothing_is_settled_twice(events: list[Any]) -> None:
    """Whatever a provider sends, the call goes on, each request is settled once, and no fault is ours."""
    paper = Paper()
    session: EventEmitter[str] = EventEmitter()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")
    witness.attach(session)
    before = faults.counts().get("a realtime event could not be read", 0)
    for item in events:
        session.emit("openai_server_event_received", item)
    witness.give_up()
    settled = [settles for _, settles in paper.records if settles is not None]
    assert len(settled) == len(set(settled)) == len({pend.id for pend in paper.pending} - set(paper.unpended))
    assert faults.counts().get("a realtime event could not be read", 0) == before


def test_what_figures_teach_is_the_same_whether_the_background_works_it_out_or_the_next_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of two that end before the next begins, and of one that shows that messages were left out unseen."""

    def expected(*, aside: bool) -> list[object]:
        paper = Paper()
        clock = itertools.count(0, 0.02)
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")

        def tell(kind: str, **fields: Any) -> None:
            witness.on_event({"type": kind, **fields})

        for number, text in enumerate([43, 80, 900, 950, 400, 450]):
            name = f"resp_{number}"
            tell("conversation.item.added", item={"id": f"heard_{number}", "content": [{"text": "word " * 90}]})
            tell("response.created", response={"id": name})
            tell("response.output_item.added", item={"id": f"said_{number}"}, response_id=name)
            tell("response.output_audio_transcript.delta", response_id=name, delta="Good day.")
            usage = GOLDEN | {"input_token_details": {"text_tokens": text, "audio_tokens": 0}, "input_tokens": text}
            tell("response.done", response={"id": name, "status": "completed", "usage": usage})
            if aside:
                paper.left_to_do.pop()()
        return [(pend.input, pend.usual) for pend in paper.pending]

    assert expected(aside=True) == expected(aside=False)
    assert len(expected(aside=True)) == 6


def test_the_next_response_takes_what_the_background_has_worked_out(
    paper: Paper, emit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no cheaper otherwise. And it waits for nothing: while the background is at it, it works it out itself."""
    worked: list[str] = []
    learned = expectations._learned
    monkeypatch.setattr(
        expectations, "_learned", lambda *given: worked.append(threading.current_thread().name) or learned(*given)
    )
    for number in range(2):
        emit("response.created", response={"id": f"resp_{number}"})
        done(emit, f"resp_{number}")
        if number == 0:
            aside = threading.Thread(target=paper.left_to_do.pop(), name="aside")
            aside.start()
            aside.join(PATIENCE_SECONDS)
    emit("response.created", response={"id": "resp_2"})
    assert worked == ["aside", threading.current_thread().name]


def test_late_figures_of_an_estimate_that_was_not_written_are_kept_for_nothing(
    paper: Paper, emit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app had told of the response by hand already: there is no record of ours that they could check."""
    emit("response.created", response={"id": "resp_1"})
    monkeypatch.setattr(paper, "write", lambda *_: 0)
    emit.witness.give_up()
    done(emit)
    assert paper.lates == []


@pytest.mark.parametrize("metadata", [None, {"topic": "classify"}])
def test_a_response_that_the_app_asks_for_with_metadata_of_its_own_is_one_record(
    paper: Paper, emit: Callable[..., None], metadata: dict[str, str] | None
) -> None:
    """OpenAI's way to ask beside the conversation. LiveKit's mark is not in it: nothing is awaited, nor estimated."""
    ask(emit, "event_of_the_app", conversation="none", metadata=metadata)
    emit("response.created", response={"id": "resp_1", "metadata": metadata})
    done(emit, metadata=metadata)
    assert emit.witness.awaited == 0
    emit.witness.give_up()
    assert [(record.provenance, record.request_id) for record, _ in paper.records] == [("reported", "resp_1")]


def test_who_writes_on_for_the_same_part_writes_nothing_again(paper: Paper, emit: Callable[..., None]) -> None:
    """A socket asks at every message for whom it is heard."""
    emit("response.created", response={"id": "resp_1"})
    written = len(paper.pending), len(paper.mores)
    emit.witness.write_to(paper)
    assert (len(paper.pending), len(paper.mores)) == written


def test_a_transcription_is_the_agents_that_has_listened(
    paper: Paper, emit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the next one speaks when it is told."""
    emit("session.updated", session={"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}})
    emit("input_audio_buffer.committed", item_id="item_1")
    monkeypatch.setattr(paper, "agent", lambda: "billing")
    usage = {"type": "tokens", "input_tokens": 20, "output_tokens": 4}
    emit("conversation.item.input_audio_transcription.completed", item_id="item_1", content_index=0, usage=usage)
    ((record, _),) = paper.records
    assert record.agent == "greeter"
