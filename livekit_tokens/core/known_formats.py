"""Records in the formats that users of other trackers know: a sheet's row, a line of a daily log file. Pure.

Behind the fields that they know stand ours, by which an import reads the record back as it was. Names of users and
models are theirs; what was asked or said is not kept, so `query` is always null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import Nanos, dollars_text
from livekit_tokens.domain.pricing import pricing_labels
from livekit_tokens.domain.sheets import harmless
from livekit_tokens.domain.times import rfc3339, seconds_text
from livekit_tokens.domain.usage import EXPORTED_KEY, UsageRecord

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Entry

SHEET = (
    "id",
    "user_id",
    "thread_id",
    "timestamp",
    "model",
    "agent_name",
    "operation_type",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_cost",
    "output_cost",
    "total_cost",
    "request_metadata",
    "service",
    "provider",
    "feature",
    "provenance",
    "units",
    "informational_units",
    "success",
    "error_message",
    "processing_time_ms",
    "first_output_ms",
    "quality_score",
    "safety_score",
)
"""The columns of a sheet of records."""

_encode = msgspec.json.Encoder().encode


def sheet_row(entry: Entry) -> list[object]:
    """The cells of SHEET. Costs are dollars with nine decimals, empty where no price is known."""
    line, record = entry.line, entry.line.record
    tokens = _tokens(record)
    names = (
        identity(entry),
        entry.user,
        entry.session_id,
        rfc3339(record.at),
        record.model,
        record.agent,
        record.operation,
    )
    costs = (line.price.input, line.price.output, line.price.total)
    return [
        *(harmless(name or "") for name in names),
        *tokens,
        sum(tokens),
        *(None if cost is None else dollars_text(cost) for cost in costs),
        _encode(dict(record.metadata)).decode(),
        *map(harmless, (record.service, record.provider, record.feature, record.provenance)),
        *(_encode(u.in_order(units)).decode() for units in (record.units, record.informational)),
        "true" if record.success else "false",
        harmless(record.error or ""),
        record.processing_ms,
        record.first_output_ms,
        record.quality_score,
        record.safety_score,
    ]


def log_line(entry: Entry) -> str:
    """A line of JSON without its newline. Costs are exact numbers with at most nine decimals, null if unpriced.

    Labels that callers choose (agent, feature, metadata) are not in it: they may name a person, and these files are
    freed of one by the identity alone. Of the metadata it has what the price depends on: tier, calls of hosted tools.
    """
    record = entry.line.record
    tokens = _tokens(record)
    line = {
        "timestamp": rfc3339(record.at),
        "user_id": entry.user,
        "operation_type": record.operation,
        "query": None,
        "model_name": record.model,
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
        "cost_estimate": _number(entry.line.price.total),
        "response_time": _seconds(record.processing_ms),
        "success": record.success,
        "error_message": record.error,
        "id": identity(entry),
        "service": record.service,
        "provider": record.provider,
        "provenance": record.provenance,
        "units": u.in_order(record.units),
        "informational_units": u.in_order(record.informational),
        "first_output_ms": record.first_output_ms,
        "quality_score": record.quality_score,
        "safety_score": record.safety_score,
        "request_metadata": pricing_labels(record),
    }
    return _encode(line).decode()


def identity(entry: Entry) -> str:
    """What the record is known by in whichever ledger it is imported: the id in the ledger that it first stood in."""
    key = entry.line.record.idempotency_key or ""
    return key.removeprefix(EXPORTED_KEY) if key.startswith(EXPORTED_KEY) else entry.line.id


def day_of(entry: Entry) -> str:
    """The UTC day whose log file the entry belongs to, as `2026-11-22`."""
    return (rfc3339(entry.line.record.at) or "")[:10]


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return (
        u.input_tokens(record.units) + u.input_tokens(record.informational),
        u.output_tokens(record.units) + u.output_tokens(record.informational),
    )


def _number(nanos: Nanos | None) -> msgspec.Raw | None:
    """An exact number, which a float would not be."""
    return None if nanos is None else msgspec.Raw(dollars_text(nanos).rstrip("0").rstrip(".").encode())


def _seconds(milliseconds: int | None) -> msgspec.Raw | None:
    return None if milliseconds is None else msgspec.Raw(seconds_text(milliseconds * 1000).encode())
