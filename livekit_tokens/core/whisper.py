"""What a transcription amounts to that reports no tokens, from its transcript and the length of its audio.

Whisper is billed by duration: its tokens only inform, and are always estimates. Pure functions; every constant names
its source. A transcript is counted and dropped: nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from livekit_tokens.core.estimates.framing import heard_tokens
from livekit_tokens.domain.billing import billed_by
from livekit_tokens.domain.units import Units, nonzero
from livekit_tokens.domain.usage import Provenance

CountedBy = Literal["o200k", "cl100k", "words"]
"""What a transcript's tokens were counted by; `words` is the coarser way, where no vocabulary is loaded."""

# Recorded OpenAI usage (facts/prices-and-tokens.md, 2026-11; `python -m benchmarks.whisper` has public recordings):
# gpt-4o-transcribe bills the transcript's o200k tokens and two of framing, and one token per 100 ms heard.
OUTPUT_FRAMING = 2
# The common approximation for English. Against o200k it is off by 35% on average, most where words are not spaced.
TOKENS_PER_WORD = 1.33
# Recorded speech, all languages (same source): about 3 tokens of transcript a second.
TOKENS_PER_SECOND, FEWEST_PER_SECOND, MOST_PER_SECOND = _PER_SECOND = 3.0, 1.8, 4.5


class Count(NamedTuple):
    """Tokens of a text, and what they were counted by."""

    tokens: int
    by: CountedBy


class Interval(NamedTuple):
    """A figure that was inferred, and the bounds that the true one most likely lies within."""

    likely: int
    low: int
    high: int


class Transcription(NamedTuple):
    """A transcription request as it is recorded; the fields are those of a UsageRecord.

    `metadata` marks what was estimated: `counted_by`, and where the provider reported no duration `audio_from`
    (`measured`, or `inferred` with `inferred_audio_ms`). `low` and `high` bound what follows from an inferred length.
    """

    units: Units
    provenance: Provenance
    informational: Units = {}  # noqa: RUF012 - never changed; so are all of a record's
    low: Units | None = None
    high: Units | None = None
    metadata: Mapping[str, str | int] = {}


def count_by_words(text: str) -> Count:
    """The coarser way, where no vocabulary is loaded."""
    return Count(round(len(text.split()) * TOKENS_PER_WORD), "words")


def audio_ms_of(tokens: int) -> Interval:
    """How long it most likely took to say what has so many tokens, in milliseconds. Nothing is ever billed from it.

    Short utterances often lie outside the interval: two of the four public recordings in benchmarks/whisper.py do.
    """
    likely, low, high = (
        round(tokens * 1000 / per_second) for per_second in (TOKENS_PER_SECOND, MOST_PER_SECOND, FEWEST_PER_SECOND)
    )
    return Interval(likely, low, high)


def with_duration(units: Units, transcript: Count | None) -> Transcription:
    """A transcription whose seconds the provider reported: billed as reported, its tokens only inform."""
    informational = _tokens(units.get("audio_ms", 0), transcript)
    return Transcription(units, "reported", informational, metadata=_marks(transcript))


def without_usage(model: str, transcript: Count | None, measured_ms: int | None) -> Transcription:
    """A transcription that reported nothing.

    With its audio measured, what the model is billed by is estimated. Without, the length is inferred from the
    transcript: that only informs, and what was billed stays unknown.
    """
    if _tells_speakers(model):
        transcript = None
    if measured_ms is None:
        return _inferred(transcript)
    tokens = _tokens(measured_ms, transcript)
    marks = {**_marks(transcript), "audio_from": "measured"}
    match billed_by(model):
        case "duration":
            units = nonzero({"audio_ms": measured_ms})
            low, high = about(units)
            return Transcription(units, "estimated", tokens, low=low, high=high, metadata=marks)
        case "tokens" if transcript is not None:
            low, high = about(tokens)
            return Transcription(tokens, "estimated", low=low, high=high, metadata=marks)
        case _:
            return Transcription({}, "unknown", tokens, metadata=marks)


def unheard(model: str, measured_ms: int | None) -> Transcription:
    """A transcription whose transcript never came: from the length of its audio, what it is billed by."""
    likely, low, high = (_with_speech(measured_ms or 0, each) for each in _PER_SECOND)
    marks: dict[str, str | int] = {"audio_from": "measured"}
    match billed_by(model) if measured_ms and not _tells_speakers(model) else None:
        case "duration":
            units = {"audio_ms": measured_ms or 0}
            low, high = about(units)
            return Transcription(units, "estimated", likely, low=low, high=high, metadata=marks)
        case "tokens":
            return Transcription(likely, "estimated", low=low, high=high, metadata=marks)
        case _:
            return Transcription({}, "unknown")


def about(units: Units) -> tuple[Units, Units]:
    """Low and high of what was measured: tokens are exact to one; whisper is billed by whole seconds, and nobody says
    which way they are rounded.
    """
    low = {name: quantity - 1 for name, quantity in units.items()}
    high = {name: quantity + 1 for name, quantity in units.items()}
    if (measured := units.get("audio_ms")) is not None:
        low["audio_ms"] = measured // 1000 * 1000
        high["audio_ms"] = low["audio_ms"] + 1000
    return nonzero(low), high


def _tells_speakers(model: str) -> bool:
    """Then its output cannot be derived from what was said."""
    return "diarize" in model.lower()


def _with_speech(audio_ms: int, per_second: float) -> Units:
    spoken = round(audio_ms / 1000 * per_second)
    return nonzero({"input_audio": heard_tokens(audio_ms), "output_text": spoken + OUTPUT_FRAMING})


def _inferred(transcript: Count | None) -> Transcription:
    if transcript is None:
        return Transcription({}, "unknown")
    length = audio_ms_of(transcript.tokens)
    return Transcription(
        {},
        "unknown",
        _tokens(length.likely, transcript),
        low=nonzero({"audio_ms": length.low, **_tokens(length.low, transcript)}),
        high=nonzero({"audio_ms": length.high, **_tokens(length.high, transcript)}),
        metadata={**_marks(transcript), "audio_from": "inferred", "inferred_audio_ms": length.likely},
    )


def _tokens(audio_ms: int, transcript: Count | None) -> Units:
    units: Units = {}
    if audio := heard_tokens(audio_ms):
        units["input_audio"] = audio
    if transcript is not None:
        units["output_text"] = transcript.tokens + OUTPUT_FRAMING
    return units


def _marks(transcript: Count | None) -> dict[str, str | int]:
    return {} if transcript is None else {"counted_by": transcript.by}
