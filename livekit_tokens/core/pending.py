"""Requests in flight, when their figures can come no more."""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.core.cut_requests import Arrived, cut
from livekit_tokens.core.estimates import cut_response
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.domain.usage import UsageRecord


def estimated(pend: Pend, progress: More | None = None) -> UsageRecord:
    """The record of a request from what is known of it: its conversation, and how much output had arrived."""
    last = progress or pend
    if pend.conversation is None:
        ended = replace(pend.record, at=last.at, processing_ms=max(0, last.at - pend.at) // 1000)
        return cut(ended, Arrived(last.tokens, last.audio_ms))
    estimate = cut_response(pend.conversation, last.audio_ms, last.tokens)
    return replace(
        pend.record,
        at=last.at,
        units=estimate.units,
        low=estimate.low,
        high=estimate.high,
        provenance="estimated",
        processing_ms=max(0, last.at - pend.at) // 1000,
    )
