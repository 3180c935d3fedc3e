"""Tables for the terminal, at most as wide as it is (80 columns where it is none)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from livekit_tokens.cli.columns import Table, drawn
from livekit_tokens.cli.text import period_text, plain
from livekit_tokens.core.reports import Report, SessionLine, SessionList
from livekit_tokens.domain.money import dollars, dollars_shown
from livekit_tokens.domain.totals import Totals

_NUMBERS = ("Sess.", "Requests", "Input", "Output", "Cost $")


def groups_text(report: Report, zone: tzinfo) -> str:
    """A report by anything: a row a group, the totals at the foot; costs are marked as the lines below it say."""
    table = Table()
    for number, name in enumerate(report.by):
        table.names(name, "Total" if number == 0 else "")
    feet = _numbers(report.sessions, report.totals)
    for name, foot in zip(_NUMBERS, feet, strict=True):
        table.numbers(name, foot)
    for group in report.groups:
        table.row(*(cell(value) for value in group.key.values()), *_numbers(group.sessions, group.totals))
    rate = None if report.cost_per_minute is None else f"${report.cost_per_minute:,.6f} a minute of call"
    return drawn(table, period_text(report.period, zone, report.timezone), (rate, *marks(report.totals)))


def sessions_text(found: SessionList, zone: tzinfo) -> str:
    """Sessions, newest first."""
    table = Table()
    table.names("Session")
    table.names("User")
    table.whole("Started")
    for name in ("Length", "Tokens", "Cost $"):
        table.numbers(name)
    for line in found.sessions:
        table.row(*_session(line, zone))
    if not found.sessions:
        return f"No sessions from {period_text(found.period, zone, found.timezone)}."
    more = f"The newest {len(found.sessions)} are shown; --limit shows more." if found.more else None
    return drawn(table, period_text(found.period, zone, found.timezone), (*marks(found.totals), more))


def _session(line: SessionLine, zone: tzinfo) -> tuple[str, ...]:
    session = line.session
    length = int(session.duration.total_seconds())
    minutes = f"{length // 60:,}:{length % 60:02d}"
    # An ended session has its length; the others say how they are.
    status = {"open": f"{minutes}+", "abandoned": f"{minutes}?"}.get(session.status, minutes)
    return (
        cell(session.session_id),
        cell(session.user_name or session.user),
        f"{session.started_at.astimezone(zone):%m-%d %H:%M}",
        status,
        f"{line.totals.total_tokens:,}",
        cost(line.totals),
    )


def _numbers(sessions: int, totals: Totals) -> tuple[str, ...]:
    counts = (sessions, totals.requests, totals.input_tokens, totals.output_tokens)
    return (*(f"{count:,}" for count in counts), cost(totals))


def cost(totals: Totals) -> str:
    if totals.unpriced_requests and not totals.cost:
        return "unpriced"
    return f"{'~' if totals.estimated_cost else ''}{dollars(totals.cost):,.4f}{'+' if totals.unpriced_requests else ''}"


def cell(value: str | None) -> str:
    return "-" if value is None else plain(value)


def marks(totals: Totals) -> Iterator[str]:
    if totals.estimated_cost:
        yield f"~ in part estimated: {dollars_shown(totals.estimated_cost)} of {dollars_shown(totals.cost)}"
    if totals.unpriced_requests:
        yield f"+ and unpriced: {totals.unpriced_requests:,} requests have no known price"
