"""Estimates for requests over HTTP whose figures were cut off, or that have none. Pure; constants name their source.

A request's record holds its input's estimate from the moment it is sent; `cut` adds the output, from what arrived.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from livekit_tokens.core import whisper
from livekit_tokens.core.calibration import CACHED_IN_STEPS_OF, Expected
from livekit_tokens.core.estimates.bounds import Estimate
from livekit_tokens.core.estimates.framing import AUDIO_MS_PER_TOKEN, USER_AUDIO_MS_PER_TOKEN, heard_tokens
from livekit_tokens.core.prompts import reasons
from livekit_tokens.core.whisper import Count
from livekit_tokens.domain.billing import billed_by
from livekit_tokens.domain.units import Units, nonzero
from livekit_tokens.domain.usage import UsageRecord

# Recorded OpenAI traffic (55 requests, 2026-11; facts of this project): at most 4.3% off by the last bill, 13% without.
CALIBRATED_MARGIN, MARGIN = 0.05, 0.15
# The same recordings: a whole answer is billed as its o200k tokens and none or one more.
ANSWER_ENDS = 1
# What a provider generates before it notices that nobody listens is not published: so much more than what is likely,
# and so many tokens where nothing had arrived.
AHEAD_AT_MOST = 2.0
NOTHING_ARRIVED = 64
# English is spoken at 150 words (about 900 characters) a minute: a token of text takes as long as 6 of audio. Only for
# an audio format that does not tell its length.
SPOKEN_PER_TOKEN = 6


class Arrived(NamedTuple):
    """What had come of an answer: tokens of text, milliseconds of audio; `begun` if any, `whole` if all of it.

    `ahead` and `ahead_ms` were most likely generated and still on their way when it was cut off; `unshown` of what no
    stream shows (a model's thinking, an answer in one piece), and `unshown_at_most`.
    """

    tokens: int = 0
    audio_ms: int = 0
    ahead: int = 0
    whole: bool = False
    begun: bool = False
    ahead_ms: int = 0
    unshown: int = 0
    unshown_at_most: int = 0


def prompt_units(expected: Expected) -> Estimate:
    """A prompt that was sent: likely units, and bounds should all or none of it have been cached, or written there."""
    margin = CALIBRATED_MARGIN if expected.calibrated else MARGIN
    least, most = round(expected.tokens * (1 - margin)), round(expected.tokens * (1 + margin))
    step = CACHED_IN_STEPS_OF if expected.cacheable else 0
    fresh = expected.tokens - expected.cached - expected.written
    surely = 0 if expected.written else max(0, least - expected.cacheable - step)
    return Estimate(
        nonzero({"input_text": fresh, "cached_input_text": expected.cached, "cache_write_text": expected.written}),
        nonzero({"input_text": surely}),
        nonzero(
            {
                "input_text": most,
                "cached_input_text": expected.cacheable + step,
                "cache_write_text": most if expected.written else 0,
            }
        ),
    )


def speech_units(model: str, characters: int, tokens: int) -> Estimate:
    """A text that was sent to be spoken."""
    units = nonzero({"input_text": tokens} if billed_by(model) == "tokens" else {"characters": characters})
    return Estimate(units, units, units)


def audio_units(model: str, audio_ms: int | None) -> Estimate:
    """Audio that was sent to be transcribed; nothing where its length is not known."""
    units: Units = {}
    if audio_ms is not None:
        timed = billed_by(model) == "duration"
        units = nonzero({"audio_ms": audio_ms} if timed else {"input_audio": heard_tokens(audio_ms)})
    return Estimate(units, *whisper.about(units))


def sent(record: UsageRecord, estimate: Estimate) -> UsageRecord:
    """A request's record with what its input amounts to."""
    return replace(record, units=estimate.units, low=estimate.low, high=estimate.high)


def cut(record: UsageRecord, arrived: Arrived) -> UsageRecord:
    """The record of a request that brought no figures, from its input and what arrived of its output."""
    match record.operation:
        case "speech":
            return _cut_speech(record, arrived)
        case "transcription":
            return _cut_transcription(record, arrived)
        case "embedding":
            return _estimated(record, {})
        case _:
            return _cut_answer(record, arrived)


def at_least(record: UsageRecord, so_far: Units) -> UsageRecord:
    """The estimate of a request of which the provider had told that much before it was cut: the input is that, the
    output may be more."""
    if not so_far or record.provenance != "estimated":
        return record
    return replace(
        record,
        units=_joined(record.units, so_far),
        low=_joined(record.low or {}, so_far),
        high=_joined(record.high or {}, so_far),
    )


def _joined(estimate: Units, so_far: Units) -> Units:
    is_told = any(not name.startswith("output_") for name in so_far)
    kept = {name: quantity for name, quantity in estimate.items() if name.startswith("output_") or not is_told}
    return kept | {name: max(quantity, kept.get(name, 0)) for name, quantity in so_far.items()}


def transcribed(record: UsageRecord, audio_ms: int | None, transcript: Count | None) -> UsageRecord:
    """A transcription that came without figures: by the length of its audio, where that is known."""
    told = whisper.without_usage(record.model, transcript, audio_ms)
    return replace(
        record,
        units=told.units,
        provenance=told.provenance,
        informational=told.informational,
        low=told.low,
        high=told.high,
        metadata={**record.metadata, **told.metadata},
    )


def _cut_transcription(record: UsageRecord, arrived: Arrived) -> UsageRecord:
    """Its transcript had not come: as much as is usually said in its audio."""
    if "input_audio" not in record.units:
        return _estimated(record, {})
    seconds = record.units["input_audio"] * USER_AUDIO_MS_PER_TOKEN / 1000
    likely = max(arrived.tokens, round(seconds * whisper.TOKENS_PER_SECOND)) + whisper.OUTPUT_FRAMING
    most = max(arrived.tokens, round(seconds * whisper.MOST_PER_SECOND)) + whisper.OUTPUT_FRAMING
    return _estimated(record, {"output_text": likely}, low={"output_text": arrived.tokens}, high={"output_text": most})


def _cut_answer(record: UsageRecord, arrived: Arrived) -> UsageRecord:
    spoken = -(-arrived.audio_ms // AUDIO_MS_PER_TOKEN)
    if arrived.whole:
        ends = arrived.tokens + ANSWER_ENDS if arrived.tokens else 0
        output = low = {"output_text": arrived.tokens, "output_audio": spoken}
        high = {**output, "output_text": ends}
    else:
        likely = arrived.tokens + arrived.ahead
        most = round((likely + arrived.ahead) * AHEAD_AT_MOST) if arrived.tokens else 0
        output = {"output_text": likely, "output_audio": spoken}
        low = {"output_text": arrived.tokens, "output_audio": spoken}
        high = {"output_text": most + NOTHING_ARRIVED, "output_audio": round(spoken * AHEAD_AT_MOST)}
    unit = "output_reasoning" if reasons(record.model) else "output_text"
    return _estimated(
        record,
        _with(output, unit, arrived.unshown),
        low=low,
        high=_with(high, unit, arrived.unshown_at_most),
        # Of a request without any answer nobody knows whether it has been read.
        reached=arrived.whole or arrived.tokens > 0,
    )


def _with(units: Units, unit: str, more: int) -> Units:
    return {**units, unit: units.get(unit, 0) + more}


def _cut_speech(record: UsageRecord, arrived: Arrived) -> UsageRecord:
    if billed_by(record.model) != "tokens":
        if arrived.begun or arrived.whole:  # billed by what was sent, as soon as it is answered
            return replace(record, provenance="reported", low=None, high=None)
        return _estimated(record, {}, reached=False)
    heard = -(-arrived.audio_ms // AUDIO_MS_PER_TOKEN)
    if arrived.whole and heard:
        return _estimated(record, {"output_audio": heard})
    likely = -(-(arrived.audio_ms + arrived.ahead_ms) // AUDIO_MS_PER_TOKEN)
    if arrived.begun and not heard:
        likely = record.units.get("input_text", 0) * SPOKEN_PER_TOKEN
    most = round(likely * AHEAD_AT_MOST) + 1000 // AUDIO_MS_PER_TOKEN
    return _estimated(
        record,
        {"output_audio": likely},
        low={"output_audio": heard},
        high={"output_audio": most},
        reached=arrived.begun,
    )


def _estimated(
    record: UsageRecord, output: Units, *, low: Units | None = None, high: Units | None = None, reached: bool = True
) -> UsageRecord:
    units = {**record.units, **nonzero(output)}
    if not units:
        return replace(record, provenance="unknown", low=None, high=None)
    return replace(
        record,
        units=units,
        provenance="estimated",
        low={**(record.low or {}), **nonzero(output if low is None else low)} if reached else {},
        high={**(record.high or {}), **nonzero(output if high is None else high)},
    )
