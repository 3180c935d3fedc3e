"""What a session, or one part of it, has spent: the values that the receipt, the report and the JSON show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import Nanos, dollars, dollars_shown, dollars_text
from livekit_tokens.domain.pricing import UNPRICED, Price
from livekit_tokens.domain.receipts import receipt_line, units_text
from livekit_tokens.domain.sessions import Part, Status, Stay, call_time, state_of, why_ended
from livekit_tokens.domain.times import Micros, rfc3339, seconds_text, to_datetime, to_micros
from livekit_tokens.domain.totals import Totals, cost_per_minute
from livekit_tokens.domain.usage import UsageRecord

_FIRST = ("transcriber", "agent")


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """What one service and model of one provider spent. It runs from the start to the end of the parts that used it."""

    service: str
    provider: str
    model: str
    session_start: datetime
    session_end: datetime | None = None
    totals: Totals = field(default_factory=Totals)

    @property
    def cost(self) -> Decimal:
        """Dollars, of the priced requests."""
        return dollars(self.totals.cost)

    def to_dict(self) -> dict[str, object]:
        return {
            "service": self.service,
            "provider": self.provider,
            "model": self.model,
            "session_start": _time(self.session_start),
            "session_end": _time(self.session_end),
            **self.totals.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class RecordLine:
    """One usage record with its id and its price."""

    id: str
    record: UsageRecord
    price: Price = UNPRICED

    def to_dict(self) -> dict[str, object]:
        r = self.record
        return {
            "id": self.id,
            "time": rfc3339(r.at),
            "service": r.service,
            "provider": r.provider,
            "model": r.model,
            "operation": r.operation,
            "agent": r.agent,
            "feature": r.feature,
            "units": u.in_order(r.units),
            "informational_units": u.in_order(r.informational),
            "input_tokens": u.input_tokens(r.units) + u.input_tokens(r.informational),
            "output_tokens": u.output_tokens(r.units) + u.output_tokens(r.informational),
            "provenance": r.provenance,
            "input_cost_usd": _money(self.price.input),
            "output_cost_usd": _money(self.price.output),
            "cost_usd": _money(self.price.total),
            "processing_time_ms": r.processing_ms,
            "first_output_ms": r.first_output_ms,
            "quality_score": r.quality_score,
            "safety_score": r.safety_score,
            "success": r.success,
            "error": r.error,
            "request_id": r.request_id,
            "metadata": dict(r.metadata),
            "price_note": self.price.note,
        }


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session, or one part of it, with all that it spent: so far while it is open, for good once it ended.

    `totals` are the sums of `services`; `call_time` is how long any of its parts ran. `records` is None where they
    were not asked for. `str()` is the receipt for the log: it names neither the user nor anyone else.
    """

    session_id: str
    started_at: datetime
    user: str | None = None
    user_name: str | None = None
    room: str | None = None
    tenant: str | None = None
    agent_name: str | None = None
    job: str | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    status: Status = "open"
    ended_at: datetime | None = None
    duration: timedelta = timedelta()
    call_time: timedelta = timedelta()
    close_reason: str | None = None
    services: tuple[ServiceLine, ...] = ()
    totals: Totals = field(default_factory=Totals)
    parts: tuple[Part, ...] = ()
    participants: tuple[Stay, ...] = ()
    records: tuple[RecordLine, ...] | None = None

    @property
    def cost(self) -> Decimal:
        """Dollars, of the priced requests; `totals.unpriced_requests` stands beside it."""
        return dollars(self.totals.cost)

    @property
    def cost_per_minute(self) -> Decimal | None:
        """Dollars a minute of call, of the priced requests; None before the call, and where nothing has a price."""
        nanos = self._cost_per_minute()
        return None if nanos is None else dollars(nanos)

    def _cost_per_minute(self) -> Nanos | None:
        return cost_per_minute(self.totals, self.call_time // timedelta(microseconds=1))

    def to_dict(self) -> dict[str, object]:
        answer: dict[str, object] = {
            "session_id": self.session_id,
            "status": self.status,
            "room": self.room,
            "user": self.user,
            "user_name": self.user_name,
            "tenant": self.tenant,
            "agent_name": self.agent_name,
            "tags": dict(self.tags),
            "started_at": _time(self.started_at),
            "ended_at": _time(self.ended_at),
            "duration_seconds": seconds_text(self.duration // timedelta(microseconds=1)),
            "close_reason": self.close_reason,
            "parts": [_part_dict(part) for part in self.parts],
            "participants": [_stay_dict(stay) for stay in self.participants],
            "services": [line.to_dict() for line in self.services],
            "totals": self.totals.to_dict(),
            "call_seconds": seconds_text(self.call_time // timedelta(microseconds=1)),
            "cost_per_minute_usd": _money(self._cost_per_minute()),
        }
        if self.records is not None:
            answer["records"] = [record.to_dict() for record in self.records]
        return answer

    def __str__(self) -> str:
        reason = f" ({self.close_reason})" if self.close_reason else ""
        lasted = f"{'so far' if self.status == 'open' else self.status} after {_short_seconds(self.duration)}{reason}"
        a_minute = self._cost_per_minute()
        rate = "" if a_minute is None else f", {dollars_shown(a_minute)} a minute"
        lines = [f"{self.session_id} {lasted}: {receipt_line(self.totals)}{rate}"]
        lines += [f"  {s.service} {s.model}: {units_text(s.totals)}{receipt_line(s.totals)}" for s in self.services]
        return "\n".join(lines)


def summarize(
    parts: Sequence[Part],
    services: Iterable[ServiceLine],
    stays: Iterable[Stay] = (),
    *,
    now: Micros,
    records: Iterable[RecordLine] | None = None,
) -> SessionSummary:
    """The summary of a session by its parts (at least one): of the whole session, or of one part of it alone."""
    ordered = sorted(parts, key=lambda part: (part.started_at, part.key))
    lines = tuple(sorted(services, key=lambda line: service_order(line.service, line.model, line.provider)))
    status = state_of(part.status for part in ordered)
    ended_at = None if status == "open" else max(part.ended_at or 0 for part in ordered)
    tags: dict[str, str] = {}
    for part in ordered:
        tags |= part.tags
    return SessionSummary(
        session_id=ordered[0].session_id,
        started_at=to_datetime(ordered[0].started_at),
        user=_first(part.user for part in ordered),
        user_name=_first(part.user_name for part in ordered),
        room=_first(part.room for part in ordered),
        tenant=_first(part.tenant for part in ordered),
        agent_name=_first(part.agent_name for part in ordered),
        job=_first(part.job for part in ordered),
        tags=MappingProxyType(tags),
        status=status,
        ended_at=None if ended_at is None else to_datetime(ended_at),
        duration=timedelta(microseconds=max(0, (now if ended_at is None else ended_at) - ordered[0].started_at)),
        call_time=timedelta(microseconds=call_time(ordered, now)),
        close_reason=None if status == "open" else why_ended(ordered),
        services=lines,
        totals=sum((line.totals for line in lines), Totals()),
        parts=tuple(ordered),
        participants=_seen(stays),
        records=None if records is None else tuple(records),
    )


def service_order(service: str | None, *rest: str | None) -> tuple[object, ...]:
    """Where a line stands: the transcriber first, then the agent, then the rest by name."""
    place = _FIRST.index(service) if service in _FIRST else len(_FIRST)
    return (place, service or "", *(name or "" for name in rest))


def _short_seconds(length: timedelta) -> str:
    return f"{length.total_seconds():,.1f} s"


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)


def _seen(stays: Iterable[Stay]) -> tuple[Stay, ...]:
    """Each stay once, although every part of the session saw it: first join, last leave that anyone noticed."""
    seen: dict[str, Stay] = {}
    for stay in stays:
        other = seen.get(stay.sid, stay)
        seen[stay.sid] = Stay(
            part=other.part,
            sid=stay.sid,
            identity=other.identity or stay.identity,
            name=other.name or stay.name,
            joined_at=min(other.joined_at, stay.joined_at),
            left_at=max((left for left in (other.left_at, stay.left_at) if left is not None), default=None),
        )
    return tuple(sorted(seen.values(), key=lambda stay: (stay.joined_at, stay.sid)))


def _part_dict(part: Part) -> dict[str, object]:
    return {
        "job": part.job,
        "agent_name": part.agent_name,
        "user": part.user,
        "status": part.status,
        "started_at": rfc3339(part.started_at),
        "ended_at": rfc3339(part.ended_at),
        "close_reason": part.close_reason,
    }


def _stay_dict(stay: Stay) -> dict[str, object]:
    return {
        "identity": stay.identity,
        "name": stay.name,
        "joined_at": rfc3339(stay.joined_at),
        "left_at": rfc3339(stay.left_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(to_micros(at))


def _money(nanos: Nanos | None) -> str | None:
    return None if nanos is None else dollars_text(nanos)
