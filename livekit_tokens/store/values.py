"""Rows of the ledger as the domain's values. Pure."""

from __future__ import annotations

from typing import Any

from livekit_tokens.core.reports import Entry, Group, Question, Unpriced
from livekit_tokens.domain import units as u
from livekit_tokens.domain.periods import CUTTINGS
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.schema import ADDED, INFORMATIONAL


def part_of(row: Any) -> Part:
    return Part(
        key=row.key.hex(),
        session_id=row.session_id,
        started_at=row.started_at,
        room=row.room,
        job=row.job,
        agent_name=row.agent_name,
        user=row.user_id,
        user_name=row.user_name,
        tenant=row.tenant,
        tags=row.tags,
        status=row.status,
        ended_at=row.ended_at,
        close_reason=row.close_reason,
    )


def stay_of(row: Any) -> Stay:
    return Stay(row.part.hex(), row.sid, row.identity, row.name, row.joined_at, row.left_at)


def group_of(question: Question, row: Any) -> Group:
    key = {name: _shown(question, name, row[f"k{i}"]) for i, name in enumerate(question.by)}
    return Group(key, int(row["sessions"]), _totals(row))


def _shown(question: Question, name: str, value: Any) -> str | None:
    if name in CUTTINGS:
        return question.cuts[int(value)].key
    if isinstance(value, bytes):
        return str(value.hex())
    # An agent that was not known is stored as ''.
    return str(value) if value else None


def _totals(row: Any) -> Totals:
    # PostgreSQL sums BIGINT as NUMERIC, which arrives as Decimal.
    amount = {name: int(row[name]) for name in row if name in _TOTALED}
    informational = {name: amount[column] for name, column in INFORMATIONAL.items() if amount[column]}
    return Totals(
        requests=amount["requests"],
        failed_requests=amount["failed_requests"],
        unknown_requests=amount["unknown_requests"],
        estimated_requests=amount["estimated_requests"],
        unpriced_requests=amount["unpriced_requests"],
        units={name: amount[name] for name in u.REGISTRY if amount[name]},
        informational=informational,
        # Informational tokens are always estimates, whatever the record's own provenance is.
        estimated_tokens=amount["estimated_tokens"] + u.total(informational, u.TOKENS),
        input_cost=amount["input_cost"],
        output_cost=amount["output_cost"],
        estimated_cost=amount["estimated_cost"],
    )


_TOTALED = {*ADDED, "unknown_requests", "estimated_requests", "estimated_tokens", "estimated_cost"}


def unpriced_of(row: Any) -> Unpriced:
    return Unpriced(row["price_note"], row["requests"], row["first_at"], record_line_of(row).record)


def record_line_of(row: Any) -> RecordLine:
    record = UsageRecord(
        part=row["part"].hex(),
        at=row["at"],
        service=row["service"],
        provider=row["provider"],
        model=row["model"],
        operation=row["operation"],
        units=row["units"],
        provenance=row["provenance"],
        informational=row["informational"] or {},
        low=row["low"],
        high=row["high"],
        agent=row["agent"] or None,
        feature=row["feature"],
        success=row["success"],
        error=row["error"],
        processing_ms=row["processing_ms"],
        first_output_ms=row["first_output_ms"],
        request_id=row["request_id"],
        idempotency_key=row["idempotency_key"],
        quality_score=row["quality_score"],
        safety_score=row["safety_score"],
        metadata=row["metadata"] or {},
    )
    # The same id as in the view api_usage.
    price = Price(row["input_cost"], row["output_cost"], row["price_note"])
    return RecordLine(f"{record.part}-{row['seq']}", record, price)


def entry_of(row: Any) -> Entry:
    return Entry(
        line=record_line_of(row),
        session_id=row["session_id"],
        user=row["user_id"],
        user_name=row["user_name"],
        tenant=row["tenant"],
        room=row["room"],
        tags=row["tags"],
    )
