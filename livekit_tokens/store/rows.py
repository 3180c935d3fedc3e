"""The domain's values as rows: plain tuples in the order of the tables' columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part, Stay, suffix
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.schema import records as records_table

Row = tuple[object, ...]

Columns = tuple[str, ...]
Numbered = tuple[int, UsageRecord]
Priced = tuple[Numbered, Price]

_encode = msgspec.json.Encoder().encode


def json_text(value: Mapping[str, object]) -> str:
    return _encode(value if type(value) is dict else dict(value)).decode()


WHOLE: Columns = tuple(column.name for column in records_table.columns)
SELDOM = frozenset(
    {"low", "high", "error", "idempotency_key", "quality_score", "safety_score", "metadata", "price_note"}
)
PLAIN: Columns = tuple(name for name in WHOLE if name not in SELDOM)
"""What there is to be written of most records; the rest stays NULL. A NULL that is given costs sqlite3 a quarter of a
microsecond, as it looks for an adapter of whatever is no int, float, str or bytearray: so these records are written in
two thirds of the time. Source: CPython, Modules/_sqlite/statement.c, need_adapt."""


def is_plain(told: Numbered, price: Price) -> bool:
    """Whether all that is to be written of a record is in the columns PLAIN. A failure has its error."""
    record = told[1]
    return (
        record.success
        and not record.metadata
        and record.low is None
        and record.high is None
        and record.error is None
        and record.idempotency_key is None
        and record.quality_score is None
        and record.safety_score is None
        and price[2] is None
    )


def plain_rows(records: Iterable[Priced], *, true: int) -> Iterator[Row]:
    """Rows of the columns PLAIN. `true` is how the driver takes it soonest: sqlite3 does 1, asyncpg only True."""
    keys = _PartKeys()
    encode = _encode
    return (
        (
            keys[r.part],
            seq,
            r.at,
            r.service,
            r.provider,
            r.model,
            r.operation,
            r.agent or "",
            r.feature,
            r.provenance,
            encode(r.units).decode(),
            encode(r.informational).decode() if r.informational else None,
            true,
            r.processing_ms,
            r.first_output_ms,
            r.request_id,
            price[0],
            price[1],
        )
        for (seq, r), price in records
    )


def whole_rows(records: Iterable[Priced]) -> Iterator[Row]:
    """Rows of all columns. Empty informational units, bounds and metadata are NULL, not `{}`."""
    keys = _PartKeys()
    return (
        (
            keys[r.part],
            seq,
            r.at,
            r.service,
            r.provider,
            r.model,
            r.operation,
            r.agent or "",
            r.feature,
            r.provenance,
            json_text(r.units),
            json_text(r.informational) if r.informational else None,
            None if r.low is None else json_text(r.low),
            None if r.high is None else json_text(r.high),
            r.success,
            r.error,
            r.processing_ms,
            r.first_output_ms,
            r.request_id,
            r.idempotency_key,
            r.quality_score,
            r.safety_score,
            json_text(r.metadata) if r.metadata else None,
            *price,
        )
        for (seq, r), price in records
    )


class _PartKeys(dict[str, bytearray]):
    """Part keys as the drivers take them soonest, remembered: a batch names few parts many times."""

    def __missing__(self, part: str) -> bytearray:
        key = self[part] = bytearray.fromhex(part)
        return key


def part_row(source: str, part: Part) -> Row:
    return (
        bytes.fromhex(part.key),
        source,
        part.session_id,
        part.room,
        part.job,
        part.agent_name,
        part.user,
        part.user_name,
        part.tenant,
        json_text(part.tags),
        part.status,
        part.started_at,
        part.ended_at,
        part.close_reason,
    )


def stay_row(stay: Stay) -> Row:
    return bytes.fromhex(stay.part), stay.sid, stay.identity, stay.name, stay.joined_at, stay.left_at


def last_parts(source: str, parts: Iterable[Part]) -> list[Row]:
    """One row a part, the last line of each, in key order."""
    return _last(part_row(source, part) for part in parts)


def last_stays(stays: Iterable[Stay]) -> list[Row]:
    return _last((stay_row(stay) for stay in stays), width=2)


def _last(rows: Iterable[Row], width: int = 1) -> list[Row]:
    # A fixed order of keys, so that two writers can never wait for each other crosswise.
    return [row for _, row in sorted({row[:width]: row for row in rows}.items())]


def unannounced(key: str, at: Micros) -> Part:
    """A stand-in for a part whose own line the ledger has not seen (a deleted database, a gap in the spool).

    Its records must not vanish from the reports meanwhile; the part's next line replaces it whole. If none comes,
    nobody would ever close it: so it is abandoned, not open.
    """
    session = f"unattributed_{suffix(int(key, 16))}"
    return Part(key=key, session_id=session, started_at=at, ended_at=at, status="abandoned")
