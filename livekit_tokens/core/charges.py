"""What is billed for a call by its minutes and is no model's: LiveKit's agent minutes, and SIP.

Only where PRICES_FILE has a price for them. A record for the part's own length and one for each telephone's stay,
written when the part ends, by whoever ends it. Their keys make them count once, also where the owner was killed in
between and somebody else ended the part. A telephone that two parts of a session saw (the agent and a transcriber of
its own, or the agent that it was handed to) is told by both under one key: the ledger counts each moment of it once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from livekit_tokens.domain.pricing import AGENT_MINUTES, SIP, Charge
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.stretches import LEAST_MS
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import STRETCH_KEY, UsageRecord

OPERATION = "session_minutes"


def charges_of(part: Part, stays: Iterable[Stay], wanted: Collection[Charge]) -> list[UsageRecord]:
    """The records of an ended part: its length if it had a room, and how long each of its SIP participants stayed.

    The lengths are ours, not the provider's figures: they are estimates.
    """
    if not wanted or part.ended_at is None:
        return []
    agent = [(AGENT_MINUTES, part.key, part.started_at, part.ended_at)] if part.room else []
    phones = [
        (SIP, stay.sid, stay.joined_at, _left_at(stay, part.ended_at))
        for stay in stays
        if stay.part == part.key and stay.sip
    ]
    return [
        UsageRecord(
            part=part.key,
            at=until,
            service=provider,
            provider=provider,
            model=model,
            operation=OPERATION,
            units={"session_ms": (until - since) // 1000},
            provenance="estimated",
            idempotency_key=f"{STRETCH_KEY}{whose}/{model}",
        )
        for (provider, model), whose, since, until in (*agent, *phones)
        if (provider, model) in wanted and until - since >= LEAST_MS * 1000
    ]


def _left_at(stay: Stay, ended_at: Micros) -> Micros:
    return ended_at if stay.left_at is None else min(stay.left_at, ended_at)
