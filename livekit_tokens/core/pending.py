"""Requests in flight, when their figures can come no more."""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.core import cut_requests
from livekit_tokens.core.estimates.output import Usual, generated_unheard, output_of
from livekit_tokens.core.estimates.prompt import estimate_of
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.domain.usage import UsageRecord


def estimated(pend: Pend, progress: More | None = None) -> UsageRecord:
    """The record of a request from what is known of it: what it was given, and how much output had arrived.

    Of a request over HTTP, `pend.record` holds the estimate of all but the output.
    """
    usual = pend.usual or Usual()
    more = progress or More(pend.id, pend.at, ahead=generated_unheard(usual))
    ended = replace(pend.record, at=more.at, processing_ms=max(0, more.at - pend.at) // 1000)
    if pend.complete:
        return ended
    if pend.input is None or pend.usual is None:
        begun = more.tokens + more.audio_ms > 0
        return cut_requests.cut(ended, cut_requests.Arrived(more.tokens, more.audio_ms, more.ahead, begun=begun))
    whole = estimate_of(pend.input) + output_of(pend.usual, more.arrived)
    low = whole.low if ended.request_id is not None else {}  # never announced, it may not have been read
    return replace(ended, units=whole.units, low=low, high=whole.high, provenance="estimated")
