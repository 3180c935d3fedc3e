"""What is billed for a call by its minutes and is no model's: LiveKit's agent minutes, and SIP.

Only where PRICES_FILE has a price for them. One record a part and charge, written when the part ends, by whoever ends
it; its key makes it count once, also where its owner was killed in between and somebody else ended the part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from livekit_tokens.domain.pricing import AGENT_MINUTES, SIP, Charge
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

OPERATION = "session_minutes"


def charges_of(part: Part, stays: Iterable[Stay], wanted: Collection[Charge]) -> list[UsageRecord]:
    """The records of an ended part: its length if it had a room, and how long its SIP participants stayed.

    The lengths are ours, not the provider's figures: they are estimates.
    """
    if not wanted or part.ended_at is None:
        return []
    lengths = {
        AGENT_MINUTES: part.ended_at - part.started_at if part.room else 0,
        SIP: sum(_length(stay, part.ended_at) for stay in stays if stay.part == part.key and stay.sip),
    }
    return [
        UsageRecord(
            part=part.key,
            at=part.ended_at,
            service=provider,
            provider=provider,
            model=model,
            operation=OPERATION,
            units={"session_ms": milliseconds},
            provenance="estimated",
            idempotency_key=f"{OPERATION}/{part.key}/{model}",
        )
        for provider, model in wanted
        if (milliseconds := lengths[provider, model] // 1000) > 0
    ]


def _length(stay: Stay, ended_at: Micros) -> Micros:
    left_at = ended_at if stay.left_at is None else min(stay.left_at, ended_at)
    return max(0, left_at - stay.joined_at)
