"""What a request came to, from all that was seen of it: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from livekit_tokens.capture.wire.answers import CONTENT_FILTER, Pace, Reading
from livekit_tokens.capture.wire.requests import Asked
from livekit_tokens.core import faults, whisper
from livekit_tokens.core.cut_requests import Arrived, at_least, cut, transcribed
from livekit_tokens.core.prompts import reasons
from livekit_tokens.core.vocabulary import vocabulary_of
from livekit_tokens.core.whisper import Count
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.pricing import STANDARD_TIERS
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

Ending = Literal["whole", "closed", "broken", "unseen"]
"""whole: its end came. closed: whoever asked wanted no more of it. broken: an error ended it. unseen: it is over, and
what came of it went past us."""

# The names that OpenAI's own client gives to refusals. Source: openai-python, `APIStatusError` and its subclasses.
_REFUSALS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
_NEVER_SENT = ("Connect", "Pool", "Proxy", "UnsupportedProtocol", "InvalidURL")
"""How httpx's and aiohttp's errors begin that come before a request has left."""
LONG_ENOUGH = 0.2
"""Seconds that an output must have come for, to show its pace."""
MOST_UNSHOWN_A_SECOND = 300
"""Tokens that a model makes a second without a stream to show them. An assumption on the safe side: nobody publishes
it, and streams of OpenAI's show up to about half."""
_CANCELLED = ("CancelledError", "GeneratorExit", "KeyboardInterrupt")


class Seen(NamedTuple):
    """A request that is over. `record` holds its input's estimate; times are monotonic, in seconds."""

    record: UsageRecord
    asked: Asked
    status: int | None
    headers: Mapping[str, str]
    reading: Reading | None
    ending: Ending
    error: str | None
    began: float
    first: float | None
    ended: float
    round_trip: float
    usual: Pace | None
    """How fast the model's answers come, if one has come whole."""
    spoke: float | None
    """When its output began."""
    thinks: float | None
    """Tokens a second that the model's last bill shows for the time before its output began."""


def settled(seen: Seen) -> UsageRecord:
    """The record of a request that is over: by the provider's figures, else by what is known of it."""
    record = _named(seen)
    if seen.status is not None and seen.status >= 300:  # a redirect that nobody followed is no answer either
        return _refused(record, seen.status, seen.reading)
    if seen.status is None and (seen.error or "").startswith(_NEVER_SENT):
        return _unbilled(record, seen.error)
    reading = seen.reading
    if reading is not None and reading.usage is not None:
        return _told(record, reading, seen.asked)
    if reading is not None and reading.error is not None and not reading.begun:
        return _unbilled(record, reading.error)  # refused within an answer, before anything was made
    return _untold(_ended_early(record, seen), seen)


def _named(seen: Seen) -> UsageRecord:
    """With its times, and with the id and the model that the answer gave."""
    reading, record, metadata = seen.reading, seen.record, dict(seen.record.metadata)
    request_id = (reading.request_id if reading is not None else None) or seen.headers.get("x-request-id")
    model, served = record.model, reading.model if reading is not None else None
    if served is not None and seen.asked.unread:
        model = served
    elif served is not None and served != model:
        # Azure is asked for a deployment, which is named as one likes; the answer names the model.
        if record.provider == "azure":
            model, metadata["deployment"] = served, model
        else:
            metadata["served_model"] = served
    if reading is not None and reading.service_tier not in (None, *STANDARD_TIERS):
        metadata["service_tier"] = reading.service_tier
    if reading is not None:
        metadata |= reading.calls
    return replace(
        record,
        model=model,
        request_id=request_id[:200] if request_id else None,
        metadata=metadata,
        processing_ms=round((seen.ended - seen.began) * 1000),
        first_output_ms=None if seen.first is None else round((seen.first - seen.began) * 1000),
    )


def _refused(record: UsageRecord, status: int, reading: Reading | None) -> UsageRecord:
    name = _REFUSALS.get(status) or ("InternalServerError" if status >= 500 else "APIStatusError")
    filtered = status == 400 and reading is not None and reading.error == CONTENT_FILTER
    if record.provider == "azure" and (filtered or status == 408):
        refused = _billed_by_azure(record, name, for_certain=filtered)
    else:
        refused = _unbilled(record, name)
    return replace(refused, metadata={**record.metadata, "status_code": status})


def _billed_by_azure(record: UsageRecord, error: str, *, for_certain: bool) -> UsageRecord:
    """A prompt that the content filter refuses is billed, as far as it was answered, too; one that times out may be.

    Source: Microsoft Learn, Azure OpenAI, content filtering ("there will be a charge for this request as the prompt
    was evaluated"), and manage costs (status 400 and 408).
    """
    read = cut(record, Arrived())
    return replace(read, low=record.low if for_certain else read.low, success=False, error=error)


def _unbilled(record: UsageRecord, error: str | None) -> UsageRecord:
    return replace(record, units={}, low=None, high=None, provenance="reported", success=False, error=error)


def _told(record: UsageRecord, reading: Reading, asked: Asked) -> UsageRecord:
    error, usage = reading.error, reading.usage or {}
    record = replace(record, low=None, high=None, success=error is None, error=error)
    try:
        units = asked.endpoint.split(usage)
    except ImpossibleUsage as fault:
        faults.note("an answer holds impossible usage; recorded as unknown", fault)
        return replace(record, units={}, provenance="unknown", metadata={**record.metadata, "fault": str(fault)})
    record = replace(record, units=units, provenance="reported" if units else "unknown")
    if asked.endpoint.kind == "image":
        counts = {name: usage[name] for name in ("input_tokens", "output_tokens") if isinstance(usage.get(name), int)}
        return replace(record, metadata={**record.metadata, **counts})
    if asked.endpoint.kind == "transcription" and "audio_ms" in units:
        told = whisper.with_duration(units, _transcript(reading, asked))
        metadata = {**record.metadata, **told.metadata}
        return replace(record, informational=told.informational, metadata=metadata)
    return record


def _ended_early(record: UsageRecord, seen: Seen) -> UsageRecord:
    finished = seen.reading is not None and seen.reading.finished
    if seen.reading is not None and seen.reading.error is not None:
        return replace(record, success=False, error=seen.reading.error)
    if seen.ending in ("whole", "unseen") or finished:
        return record
    if seen.ending == "closed" or seen.error in _CANCELLED:
        return replace(record, metadata={**record.metadata, "cancelled": True})
    return replace(record, success=False, error=seen.error)


def _untold(record: UsageRecord, seen: Seen) -> UsageRecord:
    """No figures came: how much of it was there?"""
    reading = seen.reading
    if seen.asked.unread or (seen.ending == "unseen" and seen.asked.endpoint.kind != "embedding"):
        return replace(record, units={}, low=None, high=None, provenance="unknown")
    if reading is None:
        return cut(record, _with_unshown(Arrived(), record, seen))
    whole = seen.ending == "whole" or reading.finished
    if seen.asked.endpoint.kind == "transcription" and whole:
        return transcribed(record, seen.asked.audio_ms, _transcript(reading, seen.asked))
    arrived = Arrived(reading.tokens, reading.audio_ms, whole=whole, begun=reading.begun)
    if not whole and seen.first is not None:
        pace = pace_of(reading, seen.ended - seen.first, seen.usual)
        arrived = on_its_way(arrived, pace, seen.round_trip)
    return at_least(cut(record, _with_unshown(arrived, record, seen)), _so_far(reading, seen.asked))


def _with_unshown(arrived: Arrived, record: UsageRecord, seen: Seen) -> Arrived:
    """With what no stream shows: the tokens of a model that thinks before it answers, and an answer in one piece."""
    asked = seen.asked
    thinks = reasons(record.model)
    if asked.endpoint.kind not in ("chat", "responses") or not (thinks or not (asked.streamed or arrived.whole)):
        return arrived
    until = seen.spoke if thinks and seen.spoke is not None else seen.ended
    seconds = max(0.0, until - seen.began - seen.round_trip)
    rate = (seen.thinks or 0.0) if thinks else 0.0
    limit = math.inf if asked.most_output is None else asked.most_output
    most = seconds * max(MOST_UNSHOWN_A_SECOND, 2 * rate)
    return arrived._replace(unshown=round(min(limit, seconds * rate)), unshown_at_most=math.ceil(min(limit, most)))


def _so_far(reading: Reading, asked: Asked) -> Units:
    try:
        return asked.endpoint.split(reading.so_far or {})
    except ImpossibleUsage:  # it is not counted by; how it ends may be told yet
        return {}


def pace_of(reading: Reading, seconds: float, usual: Pace | None) -> Pace:
    """The pace of an output that has been coming for so long. Too short a time shows none (a host that was busy reads
    all that has waited at once): then it is the model's usual one, or as if LONG_ENOUGH had passed."""
    if usual is not None and seconds < LONG_ENOUGH:
        return usual
    return reading.pace(max(seconds, LONG_ENOUGH))


def on_its_way(arrived: Arrived, pace: Pace, unseen: float) -> Arrived:
    """With what was generated and not seen when it was cut off: half a round trip's worth is on its way, and as much
    follows until the provider hears of it. `unseen` is in seconds.
    """
    return arrived._replace(ahead=round(pace.tokens * unseen), ahead_ms=round(pace.audio_ms * unseen))


def _transcript(reading: Reading, asked: Asked) -> Count | None:
    return Count(reading.tokens, vocabulary_of(asked.model))
