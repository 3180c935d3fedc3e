"""Requests in flight, when their figures can come no more."""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.core import cut_requests
from livekit_tokens.core.estimates.output import Usual, generated_unheard, output_of
from livekit_tokens.core.estimates.prompt import estimate_of
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.core.whisper import unheard
from livekit_tokens.domain.usage import UsageRecord


def estimated(pend: Pend, progress: More | None = None) -> UsageRecord:
    """The record of a request from what is known of it: what it was given, and how much output had arrived.

    Of a request over HTTP, `pend.record` holds the estimate of all but the output.
    """
    usual = pend.usual or Usual()
    announced = pend.record.request_id is not None
    more = progress or More(pend.id, pend.at, ahead=generated_unheard(usual) if announced else 0)
    request_id = pend.record.request_id if more.request_id is None else more.request_id
    ended = replace(
        pend.record, at=more.at, processing_ms=max(0, more.at - pend.at) // 1000, request_id=request_id or None
    )
    if pend.complete or pend.spoken_ms is not None:
        return transcribed(ended, pend.spoken_ms)
    if pend.input is None or pend.usual is None:
        begun = more.tokens + more.audio_ms > 0
        return cut_requests.cut(ended, cut_requests.Arrived(more.tokens, more.audio_ms, more.ahead, begun=begun))
    whole = estimate_of(pend.input) + output_of(usual, more.arrived)
    return replace(
        ended,
        units=whole.units,
        low=whole.low if request_id is not None else {},  # never announced, it may not have been read
        high=whole.high,
        provenance="estimated",
        metadata={**ended.metadata, "uncounted_images": pend.input.images} if pend.input.images else ended.metadata,
    )


def transcribed(record: UsageRecord, spoken_ms: int | None) -> UsageRecord:
    """The record of a transcription that brings nothing, by how long its audio is; as it is, where nobody knows."""
    return record if spoken_ms is None else replace(record, **unheard(record.model, spoken_ms)._asdict())
