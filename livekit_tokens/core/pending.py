"""Requests in flight, when their figures have come, or can come no more."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from livekit_tokens.core import cut_requests, faults
from livekit_tokens.core.estimates.output import Usual, generated_unheard, output_of
from livekit_tokens.core.estimates.prompt import estimate_of
from livekit_tokens.core.lines import Done, More, Pend
from livekit_tokens.core.whisper import Count, Transcription, unheard, with_duration
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage, split_transcription_usage
from livekit_tokens.domain.usage import UsageRecord


def settled(pend: Pend, done: Done, usage: object = None, transcript: Count | None = None) -> UsageRecord:
    """The record of a realtime session's request by what the provider has told of its end.

    `unknown`, and without units, where the figures contradict each other, or there are none. Those of a request that
    has failed are none: it was refused before anything was generated, and nothing is billed. `usage`: what the provider
    has told where that are no counts. `transcript`: its tokens, which inform where it is billed by duration.
    """
    metadata = {} if done.status is None else {"status": done.status}
    try:
        told = _told(pend.record.operation, done, usage, transcript)
    except ImpossibleUsage as fault:
        faults.note("a request's figures are impossible; recorded as unknown", fault)
        told = Transcription({}, "unknown", metadata={"fault": str(fault)})
    return replace(
        pend.record,
        at=done.at,
        units=told.units,
        provenance=told.provenance,
        informational=told.informational,
        success=done.error is None,
        error=done.error,
        processing_ms=done.processing_ms,
        first_output_ms=done.first_output_ms,
        request_id=done.request_id,
        metadata={**metadata, **told.metadata},
    )


def _told(operation: str, done: Done, usage: object, transcript: Count | None) -> Transcription:
    counts = usage if done.counts is None else msgspec.to_builtins(done.counts)
    if counts is None:
        return Transcription({}, "unknown" if done.error is None else "reported")
    if operation != "transcription":
        return Transcription(split_realtime_usage(counts), "reported")
    units = split_transcription_usage(counts)
    return with_duration(units, transcript) if done.is_by_duration else Transcription(units, "reported")


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
