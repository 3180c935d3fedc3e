"""What the turns of one plausible call bill: a realtime agent or a pipeline, with tools, failures and cut answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from livekit_tokens.domain.times import SECOND, Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, UsageRecord

_MOST_TURNS, _MEAN_TURNS = 60, 9
_SHORTEST_TURN, _LONGEST_TURN = 7.0, 28.0
LONGEST_CALL: Micros = int((_MOST_TURNS + 1) * _LONGEST_TURN) * SECOND

_FAILED, _UNKNOWN, _CUT, _TOOL = 0.012, 0.002, 0.04, 0.15
"""Shares of answers that fail, of which nothing is known, that are cut off and estimated; of turns with a tool."""

_ERRORS = ("APITimeoutError", "APIConnectionError", "RateLimitError")
_AGENTS = ("Receptionist", "Billing", "Scheduler")
_FEATURES = ("support", "support", "booking", "billing", UNKNOWN_FEATURE)


class _Task(NamedTuple):
    """What a request was for, and who was asked."""

    service: str
    provider: str
    model: str
    operation: str


_WHISPER = _Task("transcriber", "openai", "whisper-1", "transcription")
_TRANSCRIBE = _Task("transcriber", "openai", "gpt-4o-mini-transcribe", "transcription")
_NOVA = _Task("transcriber", "deepgram", "nova-3", "transcription")
# On purpose of a model without a known price: so a demo's ledger shows what unpriced requests look like everywhere.
_SONIC = _Task("tts", "cartesia", "sonic-2", "speech")
_EMBED = _Task("tool", "openai", "text-embedding-3-small", "query_embedding")
_SHORTEN = _Task("tool", "openai", "gpt-4o-mini", "rag_answer")


@dataclass(slots=True)
class _Talk:
    """A call while it goes on: who speaks, and how much has been said that every further request sends again."""

    rng: random.Random
    part: str
    feature: str
    model: str
    agent: str = _AGENTS[0]
    said_text: int = 450
    said_audio: int = 0

    def used(self, at: Micros, task: _Task, units: Units) -> UsageRecord:
        return UsageRecord(self.part, at, *task, units, agent=self.agent, feature=self.feature)


def records_of_call(rng: random.Random, part: str, start: Micros) -> list[UsageRecord]:
    """At least one record, in order of time; the last one within LONGEST_CALL."""
    kind, model = rng.choices(_KINDS, _SHARES)[0]
    talk = _Talk(rng, part, rng.choice(_FEATURES), model)
    records: list[UsageRecord] = []
    at = start
    for turn in range(min(_MOST_TURNS, 2 + int(rng.expovariate(1 / _MEAN_TURNS)))):
        at += int(rng.uniform(_SHORTEST_TURN, _LONGEST_TURN) * SECOND)
        if turn and rng.random() < 0.04:
            talk.agent = rng.choice(_AGENTS)
        records.extend(kind(talk, at))
    return records


def _realtime_turn(talk: _Talk, at: Micros) -> Iterator[UsageRecord]:
    """The caller speaks, and hears an answer; before it, a tool may have been asked."""
    rng = talk.rng
    heard_ms = rng.randrange(800, 9_000)
    yield _heard(talk, at + SECOND // 2, heard_ms)
    talk.said_audio += heard_ms // 100  # OpenAI: a token for 100 ms of a caller's audio
    after = SECOND
    if rng.random() < _TOOL:
        yield _realtime_answer(talk, at + after, heard_ms // 100, spoken=False)
        yield from _tool(talk, at + 2 * after)
        after *= 3
    yield _realtime_answer(talk, at + after + rng.randrange(SECOND), heard_ms // 100, spoken=True)


def _realtime_answer(talk: _Talk, at: Micros, fresh_audio: int, *, spoken: bool) -> UsageRecord:
    rng = talk.rng
    cached_text, cached_audio = talk.said_text // 64 * 64, max(0, talk.said_audio - fresh_audio) // 64 * 64
    text, audio = rng.randrange(12, 70), rng.randrange(40, 700) if spoken else 0
    units = {
        "input_text": talk.said_text - cached_text or 1,
        "input_audio": talk.said_audio - cached_audio,
        "output_text": text,
    }
    if cached_text:
        units["cached_input_text"] = cached_text
    if cached_audio:
        units["cached_input_audio"] = cached_audio
    if audio:
        units["output_audio"] = audio
    talk.said_text += text
    talk.said_audio += audio // 2  # OpenAI: the agent's own audio is 50 ms a token, and comes back at 100 ms
    record = talk.used(at, _Task("agent", "openai", talk.model, "realtime_response"), units)
    return _ended(rng, _timed(rng, record, "resp"), "output_audio" if spoken else "output_text")


def _heard(talk: _Talk, at: Micros, heard_ms: int) -> UsageRecord:
    """What transcribes beside a realtime agent: by the token, or by the second with tokens that only inform."""
    tokens = {"input_audio": heard_ms // 100, "output_text": 1 + heard_ms // 350}
    if talk.model == "gpt-realtime-mini":
        return talk.used(at, _TRANSCRIBE, tokens)
    return replace(talk.used(at, _WHISPER, {"audio_ms": heard_ms}), informational=tokens)


def _pipeline_turn(talk: _Talk, at: Micros) -> Iterator[UsageRecord]:
    """Speech to text, a language model (twice, if it asks a tool), text to speech."""
    rng = talk.rng
    heard_ms = rng.randrange(800, 9_000)
    yield talk.used(at + SECOND // 3, _NOVA, {"audio_ms": heard_ms})
    talk.said_text += 1 + heard_ms // 350
    after = SECOND
    if rng.random() < _TOOL:
        yield _written_answer(talk, at + after)
        yield from _tool(talk, at + 2 * after)
        after *= 3
    yield _written_answer(talk, at + after)
    yield talk.used(at + after + SECOND, _SONIC, {"characters": rng.randrange(40, 420)})


def _written_answer(talk: _Talk, at: Micros) -> UsageRecord:
    cached, text = talk.said_text // 128 * 128, talk.rng.randrange(10, 130)
    units = {"input_text": talk.said_text - cached or 1, "output_text": text}
    if cached:
        units["cached_input_text"] = cached
    talk.said_text += text
    record = talk.used(at, _Task("agent", "openai", talk.model, "chat_completion"), units)
    return _ended(talk.rng, _timed(talk.rng, record, "chatcmpl"), "output_text")


def _tool(talk: _Talk, at: Micros) -> Iterator[UsageRecord]:
    """A search in the documents: a query embedded, and sometimes what was found made shorter."""
    rng = talk.rng
    yield talk.used(at, _EMBED, {"input_text": rng.randrange(4, 40)})
    if rng.random() < 0.4:
        found = {"input_text": rng.randrange(300, 3_000), "output_text": rng.randrange(40, 300)}
        shortened = talk.used(at + SECOND // 2, _SHORTEN, found)
        yield replace(_timed(rng, shortened, "chatcmpl"), feature="knowledge")


def _timed(rng: random.Random, record: UsageRecord, kind: str) -> UsageRecord:
    first_ms = rng.randrange(180, 900)
    return replace(
        record,
        first_output_ms=first_ms,
        processing_ms=first_ms + rng.randrange(200, 4_000),
        request_id=f"{kind}_{rng.getrandbits(64):016x}",
    )


def _ended(rng: random.Random, record: UsageRecord, cut: str) -> UsageRecord:
    """The answer as it ended: mostly whole; else failed, unknown, or cut off and its unit `cut` estimated."""
    draw = rng.random()
    if draw > _FAILED + _UNKNOWN + _CUT:
        return record
    if draw < _FAILED:
        return replace(record, units={}, success=False, error=rng.choice(_ERRORS), first_output_ms=None)
    if draw < _FAILED + _UNKNOWN:
        return replace(record, units={}, provenance="unknown")
    low, high = (record.units | {cut: max(1, int(record.units[cut] * share))} for share in (0.9, 1.1))
    cancelled = {"status": "cancelled"} if record.operation == "realtime_response" else {"cancelled": True}
    return replace(record, provenance="estimated", low=low, high=high, metadata=cancelled)


_KINDS: tuple[tuple[Callable[[_Talk, Micros], Iterator[UsageRecord]], str], ...] = (
    (_realtime_turn, "gpt-realtime"),
    (_realtime_turn, "gpt-realtime-mini"),
    (_pipeline_turn, "gpt-4.1-mini"),
)
_SHARES = (40, 25, 35)
