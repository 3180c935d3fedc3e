"""What components tell of their spending, turned into records: LiveKit's own events, through the real plugins."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import APIConnectionError, APIStatusError, llm, stt, tts
from livekit.agents.metrics import (
    EOUMetrics,
    LLMMetrics,
    RealtimeModelMetrics,
    STTMetrics,
    TTSMetrics,
    VADMetrics,
)
from livekit.plugins import cartesia, deepgram, elevenlabs, openai
from livekit.rtc import EventEmitter

from livekit_tokens.capture import spending
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.pending import estimated
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import QUARTER, quarter_of
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key
from tests.capture.pipeline import Ear, Script, Voice


class Paper:
    """A part that keeps what was written."""

    ended = False

    def __init__(self, job: str | None = None) -> None:
        self.part = Part(key=new_key(), session_id="local_1", started_at=0, job=job)
        self.records: list[UsageRecord] = []
        self.pending: dict[str, Pend] = {}
        self.clock = itertools.count(1_000_000)

    def now(self) -> int:
        return next(self.clock)

    def new_record(self, **fields: Any) -> UsageRecord:
        return UsageRecord(part=self.part.key, **{"at": self.now(), "agent": "greeter"} | fields)

    def write(self, record: UsageRecord, settles: str | None = None) -> int:
        self.pending.pop(settles or "", None)
        self.records.append(record)
        return len(self.records)

    def pend(self, pend: Pend) -> None:
        self.pending[pend.id] = pend


class Owner:
    """What has components: a session or an agent."""

    def __init__(self, **components: Any) -> None:
        self.llm = components.get("llm")
        self.stt = components.get("stt")
        self.tts = components.get("tts")


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def witness(paper: Paper) -> ComponentWitness:
    return ComponentWitness(Payer(lambda: paper))


@pytest.fixture
def told(paper: Paper, witness: ComponentWitness) -> Callable[..., UsageRecord]:
    """Lets a component emit an event, and gives the one record that it became."""

    def tell(component: Any, event: Any, kind: str = "metrics_collected") -> UsageRecord:
        name = "llm" if isinstance(component, llm.LLM) else "stt" if isinstance(component, stt.STT) else "tts"
        witness.listen_to(Owner(**{name: component}))
        component.emit(kind, event)
        (record,) = paper.records
        paper.records.clear()
        return record

    return tell


def llm_metrics(**fields: Any) -> LLMMetrics:
    given = {
        "label": "llm",
        "request_id": "chat_1",
        "timestamp": 0,
        "duration": 0.9,
        "ttft": 0.25,
        "cancelled": False,
        "prompt_tokens": 100,
        "prompt_cached_tokens": 64,
        "completion_tokens": 20,
        "total_tokens": 120,
        "tokens_per_second": 20,
    }
    return LLMMetrics(**given | fields)


def stt_metrics(**fields: Any) -> STTMetrics:
    given = {
        "label": "stt",
        "request_id": "stt_1",
        "timestamp": 0,
        "duration": 0.0,
        "audio_duration": 4.98,
        "streamed": True,
    }
    return STTMetrics(**given | fields)


def tts_metrics(**fields: Any) -> TTSMetrics:
    given = {
        "label": "tts",
        "request_id": "tts_1",
        "timestamp": 0,
        "ttfb": 0.12,
        "duration": 0.7,
        "audio_duration": 2.1,
        "cancelled": False,
        "characters_count": 42,
        "streamed": True,
    }
    return TTSMetrics(**given | fields)


def realtime_metrics(**fields: Any) -> RealtimeModelMetrics:
    given = {
        "request_id": "resp_1",
        "timestamp": 0,
        "duration": 1.5,
        "ttft": 0.3,
        "input_tokens": 100,
        "output_tokens": 50,
        "input_token_details": {"text_tokens": 40, "audio_tokens": 60, "cached_tokens": 30},
        "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
        "metadata": {"model_name": "gemini-live", "model_provider": "Gemini"},
    }
    return RealtimeModelMetrics(**given | fields)


# -- the components of a pipeline -------------------------------------------------------------------------------------


def test_a_completion_is_split_into_units_that_count_no_token_twice(told: Callable[..., UsageRecord]) -> None:
    """Cached and written tokens are parts of the prompt, reasoning one of the completion; times are the metric's."""
    record = told(openai.LLM(model="gpt-4.1", api_key="none"), llm_metrics(reasoning_tokens=5, cache_creation_tokens=9))
    assert record.units == {
        "input_text": 27,
        "cached_input_text": 64,
        "cache_write_text": 9,
        "output_text": 15,
        "output_reasoning": 5,
    }
    assert (record.service, record.operation, record.provenance) == ("agent", "chat_completion", "reported")
    assert (record.model, record.provider, record.request_id) == ("gpt-4.1", "openai", "chat_1")
    assert (record.processing_ms, record.first_output_ms) == (900, 250)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_completion_without_figures_is_unknown_not_free(told: Callable[..., UsageRecord], cancelled: bool) -> None:
    """A cancelled stream reports 0 tokens, as does a provider that tells no usage; both are billed requests."""
    record = told(
        Script(),
        llm_metrics(
            cancelled=cancelled, prompt_tokens=0, prompt_cached_tokens=0, completion_tokens=0, total_tokens=0, ttft=-1
        ),
    )
    assert (record.provenance, record.units, record.success) == ("unknown", {}, True)
    assert record.metadata == ({"cancelled": True} if cancelled else {})
    assert record.first_output_ms is None


def test_a_cancelled_completion_with_figures_is_reported(told: Callable[..., UsageRecord]) -> None:
    """The provider's own figures win, however the stream ended."""
    record = told(Script(), llm_metrics(cancelled=True))
    assert (record.provenance, record.units["output_text"]) == ("reported", 20)


def test_impossible_figures_are_unknown_and_said(told: Callable[..., UsageRecord]) -> None:
    """More cached than there were: the request is counted, its figures are not believed."""
    record = told(Script(), llm_metrics(prompt_cached_tokens=1000))
    assert (record.provenance, record.units) == ("unknown", {})
    assert "1000" in str(record.metadata["fault"])


def test_a_provider_is_named_by_what_the_event_says(told: Callable[..., UsageRecord]) -> None:
    """An adapter passes on the metrics of the component that served: its names count, not the adapter's."""
    record = told(Script(), llm_metrics(metadata={"model_name": "claude", "model_provider": "Anthropic"}))
    assert (record.model, record.provider) == ("claude", "anthropic")


def deepgram_ear() -> Any:
    return deepgram.STT(api_key="none")


def elevenlabs_ear() -> Any:
    return elevenlabs.STT(api_key="none")


def cartesia_ear() -> Any:
    return cartesia.STT(api_key="none")


@pytest.mark.parametrize(
    ("make", "provider"), [(deepgram_ear, "deepgram"), (elevenlabs_ear, "elevenlabs"), (cartesia_ear, "cartesia")]
)
def test_a_transcriber_is_billed_by_the_audio_it_heard(
    told: Callable[..., UsageRecord], make: Callable[[], Any], provider: str
) -> None:
    """In milliseconds, under the plugin's own model and provider; LiveKit gives such a stream no duration."""
    ear = make()
    record = told(ear, stt_metrics(metadata={"model_name": ear.model, "model_provider": ear.provider}))
    assert (record.service, record.operation, record.units) == ("transcriber", "transcription", {"audio_ms": 4980})
    assert (record.provider, record.model, record.provenance) == (provider, ear.model, "reported")
    assert record.processing_ms is None


def test_reports_that_share_a_request_id_are_each_counted(paper: Paper, witness: ComponentWitness) -> None:
    """Deepgram reuses one id over its reports of a stream: it is stored, and never the key."""
    ear = deepgram_ear()
    witness.listen_to(Owner(stt=ear))
    for _ in range(3):
        ear.emit("metrics_collected", stt_metrics(audio_duration=5.0))
    assert [record.units for record in paper.records] == [{"audio_ms": 5000}] * 3


def test_a_connection_that_was_acquired_is_no_request(paper: Paper, witness: ComponentWitness) -> None:
    """LiveKit reports it as a metric without usage."""
    ear = openai.STT(api_key="none")
    witness.listen_to(Owner(stt=ear))
    ear.emit("metrics_collected", stt_metrics(request_id="", audio_duration=0.0, acquire_time=0.2))
    ear.emit("metrics_collected", stt_metrics(request_id="", audio_duration=0.0, connection_reused=True))
    assert paper.records == []


def test_a_transcription_without_figures_is_unknown(told: Callable[..., UsageRecord]) -> None:
    """A request happened, and nothing can be said about its size."""
    record = told(Ear(), stt_metrics(audio_duration=0.0))
    assert (record.provenance, record.units) == ("unknown", {})


def test_a_transcriber_billed_by_tokens_is_counted_by_tokens(told: Callable[..., UsageRecord]) -> None:
    """Without a split (before 1.8.9) all of its input is audio; with one, the rest is text."""
    assert told(Ear(), stt_metrics(input_tokens=20, output_tokens=4)).units == {"input_audio": 20, "output_text": 4}
    if "input_audio_tokens" not in STTMetrics.model_fields:
        return
    split = stt_metrics(input_tokens=20, input_audio_tokens=15, output_tokens=4)
    assert told(Ear(), split).units == {"input_audio": 15, "input_text": 5, "output_text": 4}


def deepgram_voice() -> Any:
    return deepgram.TTS(api_key="none")


def elevenlabs_voice() -> Any:
    return elevenlabs.TTS(api_key="none")


def cartesia_voice() -> Any:
    return cartesia.TTS(api_key="none")


@pytest.mark.parametrize(
    ("make", "provider"),
    [(deepgram_voice, "deepgram"), (elevenlabs_voice, "elevenlabs"), (cartesia_voice, "cartesia")],
)
async def test_a_voice_is_billed_by_the_characters_it_was_given(
    told: Callable[..., UsageRecord], make: Callable[[], Any], provider: str
) -> None:
    """Under the plugin's own model and provider, with the time to its first audio."""
    voice = make()
    record = told(voice, tts_metrics(metadata={"model_name": voice.model, "model_provider": voice.provider}))
    assert (record.service, record.operation, record.units) == ("tts", "speech", {"characters": 42})
    assert (record.provider, record.model, record.first_output_ms) == (provider, voice.model, 120)


def test_a_voice_billed_by_tokens_is_counted_by_tokens(told: Callable[..., UsageRecord]) -> None:
    """Its characters are not billed; when its figures were cut off, they are no substitute."""
    voice = openai.TTS(model="gpt-4o-mini-tts", api_key="none")
    assert told(voice, tts_metrics(input_tokens=11, output_tokens=80)).units == {"input_text": 11, "output_audio": 80}
    cut = told(voice, tts_metrics(cancelled=True))
    assert (cut.provenance, cut.units, cut.metadata["characters"]) == ("unknown", {}, 42)


def test_a_cancelled_voice_was_paid_for_if_it_had_begun(told: Callable[..., UsageRecord]) -> None:
    """All characters were sent. Without any audio it is not known whether they were: an estimate, with bounds."""
    voice = openai.TTS(model="tts-1", api_key="none")
    begun, not_begun = told(voice, tts_metrics(cancelled=True)), told(voice, tts_metrics(cancelled=True, ttfb=-1))
    assert (begun.provenance, begun.units) == ("reported", {"characters": 42})
    assert (not_begun.provenance, not_begun.low, not_begun.high) == ("estimated", {}, {"characters": 42})


def test_what_is_not_billed_by_request_makes_no_record(paper: Paper, witness: ComponentWitness) -> None:
    """Voice activity and ends of turns are local, or part of the service."""
    ear = Ear()
    witness.listen_to(Owner(stt=ear))
    vad = VADMetrics(label="vad", timestamp=0, idle_time=0, inference_duration_total=0, inference_count=1)
    turn = EOUMetrics(timestamp=0, end_of_utterance_delay=0, transcription_delay=0, on_user_turn_completed_delay=0)
    for event in (vad, turn, None, "metrics"):
        ear.emit("metrics_collected", event)
    assert paper.records == []


def test_a_failed_attempt_is_a_failed_request_that_says_no_text(told: Callable[..., UsageRecord]) -> None:
    """A status is a refusal and costs nothing; of a connection that broke nothing is known."""
    refusal = APIStatusError("what the caller said", status_code=429)
    record = told(Script(), llm.LLMError(timestamp=0, label="llm", error=refusal, recoverable=True), "error")
    assert (record.success, record.error, record.provenance, record.units) == (False, "APIStatusError", "reported", {})
    assert record.metadata == {"status_code": 429}
    assert "said" not in repr(record)
    broken = tts.TTSError(timestamp=0, label="tts", error=APIConnectionError(), recoverable=False)
    record = told(Voice(), broken, "error")
    assert (record.service, record.success, record.provenance) == ("tts", False, "unknown")


# -- listening --------------------------------------------------------------------------------------------------------


def test_a_component_is_listened_to_once(paper: Paper, witness: ComponentWitness) -> None:
    """A session and its agents may have the same one; handoffs come back to it."""
    script = Script()
    for _ in range(3):
        witness.listen_to(Owner(llm=script))
    script.emit("metrics_collected", llm_metrics())
    assert len(paper.records) == 1


def test_an_adapter_and_its_inner_component_tell_one_request_once(paper: Paper, witness: ComponentWitness) -> None:
    """A session has the adapter, an agent the inner one; the event is the same."""
    first, second = Script(), Script()
    adapter = llm.FallbackAdapter([first, second])
    witness.listen_to(Owner(llm=adapter))
    witness.listen_to(Owner(llm=first))
    first.emit("metrics_collected", llm_metrics())
    second.emit("metrics_collected", llm_metrics())
    assert len(paper.records) == 2


@pytest.mark.parametrize("in_call", [True, False])
def test_in_a_session_by_hand_it_spends_that_sessions_money(
    paper: Paper, witness: ComponentWitness, in_call: bool
) -> None:
    """A tool uses the call's model for a thread of its own. Outside of calls such a session is told by hand only."""
    thread, model = Paper(), openai.LLM(model="gpt-4.1", api_key="not-a-key")
    payer = Payer(lambda: thread, by_hand=True)
    witness.listen_to(Owner(llm=model))
    spending.spend(Spending(payer, in_call=in_call))
    model.emit("metrics_collected", llm_metrics())
    spending.spend(None)
    assert (len(thread.records), paper.records) == (int(in_call), [])


def test_after_the_end_nothing_is_heard(paper: Paper, witness: ComponentWitness) -> None:
    """Of what no context says that it is the call's. A component may serve many calls, with one listener."""
    script = Script()
    for _ in range(3):
        witness.listen_to(Owner(llm=script))
        witness.stop()
    script.emit("metrics_collected", llm_metrics())
    assert paper.records == []
    assert len(script._events["metrics_collected"]) == 1


def test_a_component_is_held_weakly(witness: ComponentWitness) -> None:
    """It goes when the app lets it go."""
    script = Script()
    alive = weakref.ref(script)
    witness.listen_to(Owner(llm=script))
    del script
    gc.collect()
    assert alive() is None


# -- realtime ---------------------------------------------------------------------------------------------------------


class Model:
    model = "some-model"
    provider = "some.example"


class Conversation(EventEmitter[str]):
    """A realtime session as LiveKit's are to a listener."""

    realtime_model = Model()


@pytest.fixture
def conversation(witness: ComponentWitness) -> Conversation:
    conversation = Conversation()
    witness.listen_to_realtime(conversation)
    return conversation


def test_a_realtime_model_without_raw_events_is_counted_by_its_metrics(
    paper: Paper, conversation: Conversation
) -> None:
    """Other providers' figures, disjoint; cached tokens without a split are text first."""
    conversation.emit("metrics_collected", realtime_metrics())
    (record,) = paper.records
    assert record.units == {
        "input_text": 10,
        "cached_input_text": 30,
        "input_audio": 60,
        "output_text": 10,
        "output_audio": 40,
    }
    assert (record.model, record.provider, record.operation) == ("gemini-live", "gemini", "realtime_response")


def test_where_raw_events_speak_the_metrics_are_silent(paper: Paper, conversation: Conversation) -> None:
    """They come first, and hold more; the transcriptions' metrics are theirs too."""
    conversation.emit("openai_server_event_received", {"type": "session.created"})
    conversation.emit("metrics_collected", realtime_metrics())
    conversation.emit("metrics_collected", stt_metrics())
    assert paper.records == []


def test_after_a_swap_to_another_provider_its_metrics_speak(paper: Paper, conversation: Conversation) -> None:
    """A RealtimeModelFallbackAdapter says that it reconnected; which witness speaks is open again, each time."""
    for _ in range(2):
        conversation.emit("openai_server_event_received", {"type": "session.created"})
        conversation.emit("metrics_collected", realtime_metrics())
        conversation.emit("session_reconnected", object())
        conversation.emit("metrics_collected", realtime_metrics())
    assert len(paper.records) == 2


def grown(conversation: Conversation, seconds: float, connection: str = "sess_1") -> None:
    """The provider tells that a connection billed by time has gone on."""
    nothing: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "duration": 0.0}
    nothing |= {"input_token_details": {}, "output_token_details": {}, "request_id": connection}
    conversation.emit("metrics_collected", realtime_metrics(**nothing, session_duration=seconds))


def test_time_billed_by_the_connection_is_one_record_a_connection(
    paper: Paper, witness: ComponentWitness, conversation: Conversation
) -> None:
    """Beside raw events, which tell the tokens: written when it is over, whatever ends it."""
    conversation.emit("openai_server_event_received", {"type": "session.created"})
    for _ in range(4):
        grown(conversation, 2.5)
    assert paper.records == []
    conversation.emit("session_reconnected", object())
    grown(conversation, 1.0, "sess_2")
    witness.stop()
    assert [(record.units, record.operation, record.provenance) for record in paper.records] == [
        ({"session_ms": 10_000}, "realtime_session", "reported"),
        ({"session_ms": 1_000}, "realtime_session", "reported"),
    ]
    assert paper.pending == {}


def test_a_long_connection_is_a_record_each_15_minutes(
    paper: Paper, witness: ComponentWitness, conversation: Conversation
) -> None:
    """Each at a time within its own, so that a period's costs are in it."""
    for quarter in range(3):
        for second in (1, 2):
            paper.clock = itertools.count(quarter * QUARTER + second * 1_000_000)
            grown(conversation, 60)
    witness.stop()
    assert [(record.units["session_ms"], quarter_of(record.at)) for record in paper.records] == [
        (120_000, 0),
        (120_000, QUARTER),
        (120_000, 2 * QUARTER),
    ]


def test_a_connection_in_flight_survives_a_kill(paper: Paper, conversation: Conversation) -> None:
    """What was told by then, and half of what is usually told at a time; marked, with bounds."""
    grown(conversation, 30)
    grown(conversation, 10)
    (pend,) = paper.pending.values()
    record = estimated(pend)
    assert (record.provenance, record.units) == ("estimated", {"session_ms": 45_000})
    assert (record.low, record.high) == ({"session_ms": 40_000}, {"session_ms": 50_000})


def test_a_duplex_connection_that_broke_is_estimated_to_its_end(paper: Paper, witness: ComponentWitness) -> None:
    """GPT-Live tells its end where it can; where it has not, the time since it last told something is ours."""

    class Duplex(Conversation):
        def __init__(self) -> None:
            super().__init__()
            self.duplex_session: EventEmitter[str] = EventEmitter()

    told, broken = Duplex(), Duplex()
    for conversation in (told, broken):
        witness.listen_to_realtime(conversation)
        grown(conversation, 5)
    told.duplex_session.emit("openai_server_event_received", {"type": "session.closed"})
    witness.stop()
    assert [record.provenance for record in paper.records] == ["reported", "estimated"]
    assert paper.records[1].low == {"session_ms": 5_000}


def test_what_is_no_response_is_no_request(paper: Paper, conversation: Conversation) -> None:
    """A connection that was acquired; a connection's time that did not grow."""
    nothing: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "duration": 0.0, "request_id": ""}
    nothing |= {"input_token_details": {}, "output_token_details": {}}
    conversation.emit("metrics_collected", realtime_metrics(**nothing, acquire_time=0.3))
    conversation.emit("metrics_collected", realtime_metrics(**nothing))
    assert paper.records == []


def test_the_backend_of_a_duplex_model_is_counted_under_its_own_name(
    paper: Paper, witness: ComponentWitness, conversation: Conversation
) -> None:
    """GPT-Live reports its backend's tokens as an LLM's, its voice as the connection's time."""
    conversation.emit("metrics_collected", llm_metrics(duration=0, metadata={"model_name": "gpt-5"}))
    grown(conversation, 1)
    witness.stop()
    assert [(record.model, record.operation) for record in paper.records] == [
        ("gpt-5", "chat_completion"),
        ("gemini-live", "realtime_session"),
    ]
