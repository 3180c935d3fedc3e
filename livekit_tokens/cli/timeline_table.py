"""The table of one session's events."""

from __future__ import annotations

from datetime import tzinfo

from livekit_tokens.cli.columns import Table, drawn
from livekit_tokens.cli.table import cell, marks
from livekit_tokens.cli.text import plain, quantities, time_text
from livekit_tokens.core.reports import Event, Timeline
from livekit_tokens.domain.money import dollars
from livekit_tokens.domain.receipts import cost_text
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.times import Micros

_WHAT = {"part_began": "begins", "joined": "joins", "left": "leaves", "part_ended": "ends"}


def timeline_text(timeline: Timeline, zone: tzinfo, timezone: str) -> str:
    table = Table()
    table.numbers("After")
    table.names("What")
    table.names("Units")
    table.whole("")
    table.numbers("Cost $")
    turn = 0
    for event in timeline.events:
        if event.line is None:
            table.row(_clock(event.after), *_event(event))
            continue
        if (event.turn or 0) > turn:
            turn = event.turn or 0
            table.row("", f"Turn {turn}")
        table.row(_clock(event.after), *_request(event.line))
    session, totals = timeline.session, timeline.session.totals
    reason = f", {plain(session.close_reason)}" if session.close_reason else ""
    title = (
        f"{plain(session.session_id)}: {session.status}{reason}\n"
        f"{time_text(session.started_at, zone)} to {time_text(session.ended_at, zone)} ({timezone})"
    )
    whole = (
        f"{timeline.turns:,} turns, {totals.requests:,} requests, {totals.total_tokens:,} tokens, {cost_text(totals)}"
    )
    return drawn(table, title, (whole, *marks(totals)))


def _event(event: Event) -> tuple[str, ...]:
    named = plain(event.name) if event.name else ("part" if event.what.startswith("part") else "someone")
    return f"{named} {_WHAT[event.what]}", cell(event.detail or ""), "", ""


def _request(line: RecordLine) -> tuple[str, ...]:
    record = line.record
    failed = "" if record.success else f" failed ({plain(record.error)})"
    cost = "unpriced" if line.price.total is None else f"{dollars(line.price.total):,.6f}"
    if line.price.total is None and not record.units:
        cost = "-"
    what = f"{record.service} {record.model} {record.operation}"
    return cell(what + failed), cell(quantities(record)), cell(record.provenance), cost


def _clock(after: Micros) -> str:
    tenths = after // 100_000
    seconds, minutes = tenths // 10 % 60, tenths // 600
    clock = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{clock}:{seconds:02d}.{tenths % 10}"
