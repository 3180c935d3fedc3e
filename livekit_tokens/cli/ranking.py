"""The tables of what costs most and of what changed most."""

from __future__ import annotations

from datetime import tzinfo
from decimal import Decimal

from livekit_tokens.cli.columns import Table, drawn
from livekit_tokens.cli.table import cell, cost, marks
from livekit_tokens.cli.text import percent, period_text, time_text
from livekit_tokens.core.reports import Change, Comparison, Entry, Top, TopRequests
from livekit_tokens.domain.money import dollars
from livekit_tokens.domain.shares import share
from livekit_tokens.domain.times import to_datetime
from livekit_tokens.domain.totals import Totals, totals_of


def top_text(top: Top, zone: tzinfo) -> str:
    title = period_text(top.period, zone, top.timezone)
    if not top.groups:
        return f"No usage from {title}."
    table = Table()
    table.names(top.kind.removesuffix("s"))
    for name in ("Sess.", "Requests", "Tokens", "Cost $", "Share"):
        table.numbers(name)
    for group in top.groups:
        (value,) = group.key.values()
        totals = group.totals
        counts = (group.sessions, totals.requests, totals.total_tokens)
        part = percent(share(totals.cost, top.totals.cost))
        table.row(cell(value), *(f"{count:,}" for count in counts), cost(totals), part)
    more = f"The dearest {len(top.groups)} are shown; --limit shows more." if top.more else None
    return drawn(table, title, (*marks(top.totals), more))


def top_requests_text(top: TopRequests, zone: tzinfo) -> str:
    title = period_text(top.period, zone, top.timezone)
    if not top.entries:
        return f"No usage from {title}."
    table = Table()
    table.whole("Time")
    table.names("Session")
    table.names("Model")
    for name in ("Tokens", "Cost $"):
        table.numbers(name)
    for entry in top.entries:
        table.row(*_request(entry, zone))
    more = f"The dearest {len(top.entries)} are shown; --limit shows more." if top.more else None
    return drawn(table, title, (more,))


def comparison_text(answer: Comparison, zone: tzinfo) -> str:
    """Before, now and the change in per cent, what changed most in cost first; the whole at the foot."""
    table = Table()
    for number, name in enumerate(answer.by):
        table.names(name, "Total" if number == 0 else "")
    for name, foot in zip(("Before $", "Now $", "Change", "Tokens", "Change"), _compared(answer.whole), strict=True):
        table.numbers(name, foot)
    for change in answer.groups:
        table.row(*(cell(value) for value in change.key.values()), *_compared(change))
    now, before = (period_text(span, zone, answer.timezone) for span in (answer.period, answer.before))
    more = f"The {len(answer.groups)} that changed most are shown; --limit shows more." if answer.more else None
    return drawn(table, f"before: {before}\nnow:    {now}", (*marks(answer.whole.totals), more))


def _compared(change: Change) -> tuple[str, ...]:
    money = (cost(change.before), cost(change.totals), _grown(change.cost_ratio, change.totals.cost))
    tokens = change.totals.total_tokens
    return (*money, f"{tokens:,}", _grown(change.tokens_ratio, tokens))


def _grown(ratio: Decimal | None, now: int) -> str:
    if ratio is None:
        return "new" if now else "-"
    return f"{ratio - 1:+,.1%}"


def _request(entry: Entry, zone: tzinfo) -> tuple[str, ...]:
    record = entry.line.record
    totals: Totals = totals_of(record, entry.line.price)
    return (
        time_text(to_datetime(record.at), zone)[5:],
        cell(entry.session_id),
        cell(f"{record.model} {record.operation}"),
        f"{totals.total_tokens:,}",
        "unpriced" if totals.unpriced_requests else f"{dollars(totals.cost):,.6f}",
    )
