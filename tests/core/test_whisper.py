"""Transcriptions that report no tokens: what they amount to, and how a realtime call records them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import vocabulary, whisper
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.core.whisper import Count, audio_ms_of, count_by_words, with_duration, without_usage
from livekit_tokens.domain import units as u
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.totals import totals_of
from livekit_tokens.domain.usage import UsageRecord

SEVEN = Count(7, "o200k")
MODELS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-transcribe-diarize", "gpt-transcribe", "nova-3", "unknown")

# Public recordings of gpt-4o-transcribe's usage: transcript, tokens of audio in, tokens out. See benchmarks/whisper.py.
RECORDED = (
    ("Hey, can you hear me?", 13, 9),
    ("Hello from the Gateway Probe.", 16, 8),
    ("4月13日，中国台北选手。", 23, 12),  # noqa: RUF001 - as it was recorded
    ("OK.", 14, 4),
)


@pytest.mark.parametrize(("transcript", "audio", "output"), RECORDED)
def test_the_estimate_is_what_was_recorded_as_billed(transcript: str, audio: int, output: int) -> None:
    """To the token, from the transcript and the milliseconds heard."""
    vocabulary.load("o200k")
    told = with_duration({"audio_ms": audio * 100 + 99}, vocabulary.count_in_call(transcript, "whisper-1"))
    assert told.informational == {"input_audio": audio, "output_text": output}


def test_reported_seconds_are_billed_as_reported_and_tokens_only_inform() -> None:
    """The record is neither estimated nor changed in what it bills."""
    told = with_duration({"audio_ms": 3000}, SEVEN)
    assert (told.units, told.provenance) == ({"audio_ms": 3000}, "reported")
    assert told.informational == {"input_audio": 30, "output_text": 9}
    assert told.metadata == {"counted_by": "o200k"}


def test_measured_audio_of_whisper_is_an_estimate_of_the_bill() -> None:
    """It keeps its milliseconds."""
    told = without_usage("whisper-1", SEVEN, 2345)
    assert (told.units, told.provenance) == ({"audio_ms": 2345}, "estimated")
    assert told.informational == {"input_audio": 23, "output_text": 9}
    assert told.metadata == {"counted_by": "o200k", "audio_from": "measured"}


def test_a_model_billed_by_tokens_has_its_tokens_estimated() -> None:
    """Its tokens are its bill: they do not only inform."""
    told = without_usage("gpt-4o-mini-transcribe", SEVEN, 2345)
    assert (told.units, told.provenance) == ({"input_audio": 23, "output_text": 9}, "estimated")
    assert told.informational == {}


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_billed_from_a_length_that_was_only_inferred(model: str) -> None:
    """What was billed is unknown; the inferred length and its interval stand beside."""
    told = without_usage(model, SEVEN, None)
    assert (told.units, told.provenance) == ({}, "unknown")


def test_without_a_duration_the_seconds_are_inferred_with_their_interval() -> None:
    """About 3 tokens a second, from 1.8 to 4.5."""
    told = without_usage("whisper-1", Count(90, "o200k"), None)
    assert told.metadata["inferred_audio_ms"] == 30_000
    assert told.informational == {"input_audio": 300, "output_text": 92}
    assert told.low == {"audio_ms": 20_000, "input_audio": 200, "output_text": 92}
    assert told.high == {"audio_ms": 50_000, "input_audio": 500, "output_text": 92}
    assert told.metadata["audio_from"] == "inferred"


def test_a_diarized_transcripts_output_is_not_derived() -> None:
    """Its text does not say how many tokens it was."""
    told = without_usage("gpt-4o-transcribe-diarize", SEVEN, 1000)
    assert (told.units, told.provenance, told.informational) == ({}, "unknown", {"input_audio": 10})
    assert without_usage("gpt-4o-transcribe-diarize", SEVEN, None).informational == {}


def test_without_a_transcript_only_the_audio_is_told() -> None:
    """And nothing without either."""
    assert with_duration({"audio_ms": 2000}, None).informational == {"input_audio": 20}
    assert without_usage("whisper-1", None, 2000).units == {"audio_ms": 2000}
    assert without_usage("gpt-4o-transcribe", None, 2000).units == {}
    assert without_usage("whisper-1", None, None) == whisper.Transcription({}, "unknown")


def test_words_are_the_coarser_way_and_say_so() -> None:
    """1.33 tokens a word."""
    assert count_by_words("Hey, can you hear me?") == Count(7, "words")
    assert count_by_words("") == Count(0, "words")
    assert with_duration({"audio_ms": 1000}, count_by_words("a b c")).metadata == {"counted_by": "words"}


counts = st.none() | st.builds(Count, st.integers(0, 10_000), st.sampled_from(["o200k", "cl100k", "words"]))
lengths = st.none() | st.integers(0, 3_600_000)


@given(st.sampled_from(MODELS), counts, lengths)
def test_every_estimate_is_a_valid_record_and_always_marked(
    model: str, transcript: Count | None, measured: int | None
) -> None:
    """Units of the registry above zero, informational ones only tokens, each estimate with its way."""
    told = without_usage(model, transcript, measured)
    assert told.units == u.make_units(told.units)
    assert set(told.informational) <= set(u.TOKENS)
    assert told.informational == u.make_units(told.informational)
    assert told.provenance != "reported"
    assert (told.units != {}) <= (told.provenance == "estimated")
    if transcript is not None and "output_text" in {**told.units, **told.informational}:
        assert told.metadata["counted_by"] == transcript.by
    bounded = told.informational if told.metadata.get("audio_from") == "inferred" else told.units
    for name, quantity in bounded.items():
        assert told.low is not None
        assert told.high is not None
        assert told.low.get(name, 0) <= quantity <= told.high[name]


@given(st.integers(0, 10**6))
def test_the_inferred_length_lies_inside_its_interval(tokens: int) -> None:
    """Of any transcript."""
    length = audio_ms_of(tokens)
    assert 0 <= length.low <= length.likely <= length.high


# -- as a realtime call records it ------------------------------------------------------------------------------------


class Paper:
    """A part that keeps what was written."""

    def __init__(self) -> None:
        self.clock = itertools.count(10_000_000, 1000)
        self.part = Part("0" * 32, "room_abc", 0)
        self.records: list[UsageRecord] = []

    def now(self) -> int:
        return next(self.clock)

    def agent(self) -> str:
        return "greeter"

    def feature(self) -> str:
        return "unknown"

    def write(self, record: UsageRecord, settles: str | None = None) -> int:
        self.records.append(record)
        return len(self.records)

    def pend(self, pend: Pend) -> None: ...
    def more(self, more: More) -> None: ...

    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None:
        self.write(make(done), done.id)

    def unpend(self, pending: str) -> None: ...
    def late(self, late: Late) -> None: ...

    def later(self, work: Callable[[], None]) -> None: ...


Call = Callable[..., UsageRecord]
SECRET = "My account number is 4711."


@pytest.fixture
def transcribe() -> Call:
    """Lets a caller speak (`heard`, ms) and be transcribed; answers the record."""
    vocabulary.load()
    paper = Paper()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")

    def call(model: str | None = "whisper-1", heard: tuple[int, int] | None = None, **completed: Any) -> UsageRecord:
        if model is not None:
            hearing = {"input": {"transcription": {"model": model}}}
            witness.on_event({"type": "session.updated", "session": {"audio": hearing}})
        if heard is not None:
            began, ended = heard
            witness.on_event(
                {"type": "input_audio_buffer.speech_started", "item_id": "item_1", "audio_start_ms": began}
            )
            witness.on_event({"type": "input_audio_buffer.speech_stopped", "item_id": "item_1", "audio_end_ms": ended})
        name = "conversation.item.input_audio_transcription.completed"
        witness.on_event({"type": name, "item_id": "item_1", "content_index": 0, **completed})
        (record,) = paper.records
        return record

    return call


def test_whispers_tokens_inform_beside_its_billed_seconds(transcribe: Call) -> None:
    """They count in the totals and as estimated; the record is neither estimated nor unpriced."""
    record = transcribe(transcript=SECRET, usage={"type": "duration", "seconds": 3})
    assert (record.units, record.provenance) == ({"audio_ms": 3000}, "reported")
    assert record.informational == {"input_audio": 30, "output_text": vocabulary.count_tokens(SECRET, "gpt-4o") + 2}
    assert record.metadata == {"counted_by": "o200k"}
    totals = totals_of(record, Price(300_000, 0))
    assert (totals.estimated_requests, totals.unpriced_requests) == (0, 0)
    assert totals.estimated_tokens == totals.total_tokens == sum(record.informational.values())


def test_reported_tokens_are_left_alone(transcribe: Call) -> None:
    """Nothing is estimated where the provider has said it."""
    usage = {"type": "tokens", "total_tokens": 22, "input_tokens": 13, "output_tokens": 9}
    record = transcribe("gpt-4o-transcribe", transcript="Hey, can you hear me?", usage=usage)
    assert (record.units, record.provenance) == ({"input_audio": 13, "output_text": 9}, "reported")
    assert (record.informational, record.metadata) == ({}, {})


def test_the_callers_speech_is_measured_where_usage_is_missing(transcribe: Call) -> None:
    """By the provider's own voice detection, of the same item."""
    record = transcribe(heard=(1000, 3500), transcript="Hey, can you hear me?")
    assert (record.units, record.provenance) == ({"audio_ms": 2500}, "estimated")
    assert record.informational == {"input_audio": 25, "output_text": 9}


def test_a_missing_usage_of_a_token_billed_model_is_estimated(transcribe: Call) -> None:
    """As it would have been billed."""
    record = transcribe("gpt-4o-transcribe", heard=(0, 1399), transcript="Hey, can you hear me?")
    assert (record.units, record.provenance) == ({"input_audio": 13, "output_text": 9}, "estimated")


def test_an_unknown_transcription_model_is_counted_by_cl100k(transcribe: Call) -> None:
    """Whatever it bills by is unknown; its tokens inform."""
    record = transcribe(None, transcript="안녕하세요, 예약하고 싶어요.")
    assert (record.model, record.provenance, record.units) == ("unknown", "unknown", {})
    assert record.metadata["counted_by"] == "cl100k"
    assert record.informational["output_text"] == vocabulary.count_tokens("안녕하세요, 예약하고 싶어요.") + 2


@pytest.mark.parametrize("usage", [None, {"type": "duration", "seconds": 2}, {"type": "tokens", "input_tokens": -1}])
@pytest.mark.parametrize("model", [*MODELS, None])
def test_nothing_of_a_transcript_is_kept(transcribe: Call, model: str | None, usage: object) -> None:
    """Only how many tokens it was."""
    assert "4711" not in repr(transcribe(model, transcript=SECRET, usage=usage))


@pytest.mark.parametrize("transcript", [None, 7, ["x"], {"a": 1}])
def test_a_transcript_that_is_no_text_is_passed_over(transcribe: Call, transcript: object) -> None:
    """The record is written all the same."""
    record = transcribe(transcript=transcript, usage={"type": "duration", "seconds": 2})
    assert (record.units, record.informational) == ({"audio_ms": 2000}, {"input_audio": 20})
