"""Requests in flight: the record of one that has brought its figures, and of one whose figures can come no more."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from livekit_tokens.core import cut_requests, whisper
from livekit_tokens.core.estimates.output import Usual, generated_ahead, output_of
from livekit_tokens.core.estimates.prompt import Expected, estimate_of
from livekit_tokens.core.lines import Begun, Ended, More, Pend, Usage
from livekit_tokens.core.whisper import Count, Transcription
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage, split_transcription_usage
from livekit_tokens.domain.usage import UsageRecord

TRANSCRIPTION = "transcription"
_NOTHING_READ = Expected((0, 0, 0), (0, 0, 0), (0, 0, 0), (0.0, 0.0, 0.0), calibrated=False)


def usage_of(told: object) -> Usage:
    """The figures of a usage object as JSON gave it. Raises ImpossibleUsage where it holds something else."""
    try:
        return msgspec.convert(told, Usage)
    except msgspec.ValidationError:
        split_realtime_usage(told)
        split_transcription_usage(told)  # says what is wrong with it
        raise ImpossibleUsage("usage is not as it is documented") from None


def as_pend(begun: Begun | Pend) -> Pend:
    """What it amounts to: an input to be estimated, or a transcription by the length of its audio."""
    if isinstance(begun, Pend):
        return begun
    expected = begun.input or _NOTHING_READ
    record = UsageRecord(
        begun.part,
        begun.at,
        begun.service,
        begun.provider,
        begun.model,
        begun.operation,
        {},
        "estimated",
        agent=begun.agent,
        feature=begun.feature,
        request_id=begun.request_id,
        metadata={"uncounted_images": expected.images} if expected.images else {},
    )
    if begun.operation == TRANSCRIPTION:
        return Pend(begun.id, begun.at, heard(record, whisper.unheard(begun.model, begun.heard_ms)), complete=True)
    return Pend(begun.id, begun.at, record, expected, begun.usual or Usual())


def settled(pend: Pend, progress: More | Ended | None = None) -> UsageRecord:
    """The record of a request of which nothing more will come: by its figures if it brought them, else estimated."""
    return told(pend, progress) if isinstance(progress, Ended) else estimated(pend, progress)


def told(begun: Begun | Pend, ended: Ended, transcript: Count | None = None) -> UsageRecord:
    """The record of a request of a realtime conversation by what the provider told at its end.

    Impossible figures are not believed: the record is `unknown`, and says them.
    """
    pend = as_pend(begun)
    record = replace(
        pend.record,
        at=ended.at,
        units={},
        provenance="reported" if ended.usage is not None or ended.error is not None else "unknown",
        informational={},
        low=None,
        high=None,
        metadata={} if ended.status is None else {"status": ended.status},
        success=ended.error is None,
        error=ended.error,
        request_id=pend.record.request_id if ended.request_id is None else ended.request_id,
        processing_ms=ended.processing_ms,
        first_output_ms=ended.first_output_ms,
    )
    if ended.fault is not None:
        return _not_believed(record, ended.fault)
    if ended.usage is None:
        return record
    usage = msgspec.to_builtins(ended.usage)
    try:
        if record.operation != TRANSCRIPTION:
            return replace(record, units=split_realtime_usage(usage))
        units = split_transcription_usage(usage)
    except ImpossibleUsage as error:
        return _not_believed(record, str(error))
    by_duration = ended.usage.seconds is not None
    return heard(record, whisper.with_duration(units, transcript) if by_duration else Transcription(units, "reported"))


def _not_believed(record: UsageRecord, fault: str) -> UsageRecord:
    return replace(record, provenance="unknown", metadata={**record.metadata, "fault": fault})


def heard(record: UsageRecord, transcription: Transcription) -> UsageRecord:
    """The record of a transcription, with what is known of it."""
    return replace(record, **transcription._asdict())


def estimated(pend: Pend, progress: More | None = None) -> UsageRecord:
    """The record of a request from what is known of it: what it was given, and how much output had arrived.

    Of a request over HTTP, `pend.record` holds the estimate of all but the output.
    """
    usual = pend.usual or Usual()
    more = progress or More(pend.id, pend.at, ahead=generated_ahead(usual, 0, 0, 0.0, usual.lag_ms))
    ended = replace(pend.record, at=more.at, processing_ms=max(0, more.at - pend.at) // 1000)
    if pend.complete:
        return ended
    if pend.input is None or pend.usual is None:
        begun = more.tokens + more.audio_ms > 0
        return cut_requests.cut(ended, cut_requests.Arrived(more.tokens, more.audio_ms, more.ahead, begun=begun))
    whole = estimate_of(pend.input) + output_of(pend.usual, more.arrived)
    low = whole.low if ended.request_id is not None else {}  # never announced, it may not have been read
    return replace(ended, units=whole.units, low=low, high=whole.high, provenance="estimated")
