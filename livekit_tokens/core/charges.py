"""What is billed for a call by its minutes and is no model's: LiveKit's agent minutes, and SIP.

Only where PRICES_FILE has a price for them. A record for the part's own length and one for each telephone's stay,
written when the part ends, by whoever ends it. Their keys make them count once: also where the owner was killed in
between and somebody else ended the part, and where two parts of a session saw the same telephone (the agent and a
transcriber of its own): the first that ends tells of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from livekit_tokens.domain.pricing import AGENT_MINUTES, SIP, Charge
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

OPERATION = "session_minutes"


def charges_of(part: Part, stays: Iterable[Stay], wanted: Collection[Charge]) -> list[UsageRecord]:
    """The records of an ended part: its length if it had a room, and how long each of its SIP participants stayed.

    The lengths are ours, not the provider's figures: they are estimates.
    """
    if not wanted or part.ended_at is None:
        return []
    agent = [(AGENT_MINUTES, part.key, part.ended_at - part.started_at)] if part.room else []
    phones = [(SIP, stay.sid, _length(stay, part.ended_at)) for stay in stays if stay.part == part.key and stay.sip]
    return [
        UsageRecord(
            part=part.key,
            at=part.ended_at,
            service=provider,
            provider=provider,
            model=model,
            operation=OPERATION,
            units={"session_ms": length // 1000},
            provenance="estimated",
            idempotency_key=f"{OPERATION}/{whose}/{model}",
        )
        for (provider, model), whose, length in (*agent, *phones)
        if (provider, model) in wanted and length >= 1000
    ]


def _length(stay: Stay, ended_at: Micros) -> Micros:
    left_at = ended_at if stay.left_at is None else min(stay.left_at, ended_at)
    return max(0, left_at - stay.joined_at)
