"""Times are UTC microseconds since 1970 in storage, aware datetimes in Python, RFC 3339 in JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z, as wall clock; also lengths of time."""

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
QUARTER: Micros = 15 * 60 * SECOND
"""Sums are kept per 15 UTC minutes: every zone's days, also those at 45 minutes, can be cut from them."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(at: Micros) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def to_micros(at: datetime) -> Micros:
    """Raises ValueError for a naive datetime: its zone would be a guess."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; give an aware datetime such as datetime.now(UTC)")
    return (at - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at: Micros | None) -> str | None:
    """`2026-11-22T20:15:24.123456Z`; None stays None."""
    if at is None:
        return None
    return to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_text(length: Micros) -> str:
    """A length of time as JSON carries it, in seconds with three decimals: `12.345`."""
    return f"{length // 1000 // 1000}.{length // 1000 % 1000:03d}"


def is_within(at: Micros, since: Micros | None, until: Micros | None) -> bool:
    """Whether a moment is in `[since, until)`, of which None is no end."""
    return (since is None or since <= at) and (until is None or at < until)


def quarter_of(at: Micros) -> Micros:
    """Start of the 15 UTC minutes that `at` falls into."""
    return at - at % QUARTER
