"""The report as text, in the layout that existing users know: none of the known lines moves or changes.

Lines of ours follow the known ones in each block. Plain text: no colour, no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from decimal import Decimal
from itertools import groupby

from livekit_tokens.core.reports import Group, Report
from livekit_tokens.domain.money import dollars_shown
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.receipts import cost_text
from livekit_tokens.domain.summary import RecordLine, ServiceLine, SessionSummary
from livekit_tokens.domain.times import Micros, rfc3339, seconds_text, to_datetime
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

_RULE = "=" * 60
_THIN_RULE = "-" * 40

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def summary_text(report: Report, zone: tzinfo) -> str:
    """`TOKEN USAGE SUMMARY`, of a report by service and model."""
    return "\n".join(_summary(report, zone))


def session_text(session: SessionSummary, zone: tzinfo) -> str:
    """`SESSION DETAILS`, with the records if the session was asked for with them."""
    return "\n".join(_session(session, zone))


def _summary(report: Report, zone: tzinfo) -> Iterator[str]:
    yield from (_RULE, "TOKEN USAGE SUMMARY", _RULE)
    yield f"Total Sessions: {report.sessions:,}"
    yield from _tokens(report.totals, "Total ")
    yield from _ours(report.totals, "Total ")
    yield from _rate(report.cost_per_minute)
    yield f"Period: {period_text(report.period, zone, report.timezone)}"
    yield from ("", "BY SERVICE:", _THIN_RULE)
    if not report.groups:
        yield from ("", "No usage in this period.")
    for service, groups in groupby(report.groups, lambda group: group.key["service"]):
        yield from ("", f"{plain(service).upper()} SERVICE:")
        for group in groups:
            yield from _model(group)


def _model(group: Group) -> Iterator[str]:
    yield f"  Model: {plain(group.key['model'])}"
    yield f"    Sessions: {group.sessions:,}"
    for line in _tokens(group.totals):
        yield f"    {line}"
    yield f"    Avg Tokens/Session: {group.avg_tokens_per_session}"
    for line in _ours(group.totals):
        yield f"    {line}"


def _session(session: SessionSummary, zone: tzinfo) -> Iterator[str]:
    yield from (_RULE, f"SESSION DETAILS: {plain(session.session_id)}", _RULE, "")
    for line in session.services:
        yield from _service(line, session, zone)
        yield ""
    if not session.services:
        yield from ("No usage in this session.", "")
    yield "SESSION TOTALS:"
    yield from _tokens(session.totals, "Total ")
    yield from _ours(session.totals, "Total ")
    yield from _rate(session.cost_per_minute)
    yield f"Status: {session.status}" + (f" ({plain(session.close_reason)})" if session.close_reason else "")
    yield f"Duration: {session.duration.total_seconds():,.3f} s"
    if session.records is not None:
        yield from ("", "RECORDS:")
        yield from (_record(line, zone) for line in session.records)


def _service(line: ServiceLine, session: SessionSummary, zone: tzinfo) -> Iterator[str]:
    yield f"Service: {plain(line.service).upper()}"
    yield f"Model: {plain(line.model)}"
    yield f"User: {plain(session.user_name or session.user)}"
    yield from _tokens(line.totals)
    yield f"Session Start: {time_text(line.session_start, zone)}"
    yield f"Session End: {time_text(line.session_end, zone)}"
    yield f"Provider: {plain(line.provider)}"
    yield from _ours(line.totals)


def _tokens(totals: Totals, of: str = "") -> Iterator[str]:
    yield f"{of}Input Tokens: {totals.input_tokens:,}"
    yield f"{of}Output Tokens: {totals.output_tokens:,}"
    yield f"{of or 'Total '}Tokens: {totals.total_tokens:,}"


def _ours(totals: Totals, of: str = "") -> Iterator[str]:
    """What the known layout does not tell; what is zero is left out, but for requests and cost."""
    yield f"{of}Requests: {totals.requests:,}"
    yield f"{of}Cost: {cost_text(totals)}"
    if totals.cached_tokens:
        yield f"{of}Cached Tokens: {totals.cached_tokens:,}"
    if audio := totals.units.get("audio_ms"):
        yield f"{of}Audio Seconds: {seconds_text(audio * 1000)}"
    if characters := totals.units.get("characters"):
        yield f"{of}Characters: {characters:,}"
    if totals.estimated_tokens or totals.estimated_requests:
        yield f"{of}Estimated Requests: {totals.estimated_requests:,} of {totals.requests:,}"
        yield f"{of}Estimated Tokens: {totals.estimated_tokens:,} of {totals.total_tokens:,}"
    if totals.estimated_cost:
        yield f"{of}Estimated Cost: {dollars_shown(totals.estimated_cost)} of {dollars_shown(totals.cost)}"
    if totals.unknown_requests:
        yield f"{of}Unknown Requests: {totals.unknown_requests:,}"
    if totals.failed_requests:
        yield f"{of}Failed Requests: {totals.failed_requests:,}"


def _rate(cost_per_minute: Decimal | None) -> Iterator[str]:
    if cost_per_minute is not None:
        yield f"Cost per Minute of Call: ${cost_per_minute:,.6f}"


def _record(line: RecordLine, zone: tzinfo) -> str:
    r = line.record
    cost = "unpriced" if line.price.total is None else dollars_shown(line.price.total)
    note = f" ({plain(line.price.note)})" if line.price.note else ""
    failed = "" if r.success else f" failed ({plain(r.error)})"
    names = " ".join(plain(name) for name in (r.service, r.model, r.operation))
    return f"{time_text(to_datetime(r.at), zone)} {names}: {quantities(r)}; {cost}{note}, {r.provenance}{failed}"


def quantities(record: UsageRecord) -> str:
    """Every unit by name; those that only inform are marked with a tilde."""
    billed = [f"{name} {n:,}" for name, n in record.units.items()]
    told = [f"~{name} {n:,}" for name, n in record.informational.items()]
    return ", ".join(billed + told) or "no units"


def period_text(period: Period, zone: tzinfo, zone_name: str) -> str:
    return f"{time_text(to_datetime(period.since), zone)} to {time_text(to_datetime(period.until), zone)} ({zone_name})"


def pruned_text(kept_since: Micros) -> str:
    """What it means for a period that a part of its records is gone."""
    return (
        f"note: records from before {rfc3339(kept_since)} are pruned: an edge of the period that lies there is that of "
        "a whole quarter of an hour, and what only records tell (single requests, response times, errors, scores) is "
        "missing"
    )


def time_text(at: datetime | None, zone: tzinfo) -> str:
    """A time as the known layout has it; a session that goes on has no end yet."""
    return "open" if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def percent(part: Decimal | None) -> str:
    return "-" if part is None else f"{part:.1%}"


def plain(text: str | None) -> str:
    """A name for a terminal: a caller chooses their own, and it must not move the cursor or begin a line.

    What joins letters, as in Persian, and faces to a family stays.
    """
    if text is None:
        return "unknown"
    return "".join(c if c.isprintable() or c in _JOINERS else "\N{REPLACEMENT CHARACTER}" for c in text)
