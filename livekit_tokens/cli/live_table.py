"""The table of calls that are going on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta, tzinfo

from livekit_tokens.cli.columns import Table, drawn
from livekit_tokens.cli.table import cost, marks
from livekit_tokens.cli.text import plain, time_text
from livekit_tokens.core.reports import Live, LiveSession
from livekit_tokens.domain.receipts import counted
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.domain.totals import Totals


def live_text(answer: Live, zone: tzinfo, fault: str | None = None) -> str:
    """A row a session and one below it for each of its running parts; `fault` is why it is not newer. "Heard" is how
    long ago their process last brought something.
    """
    table = Table()
    table.names("Session")
    for name in ("Running", "Heard", "Requests", "Input", "Output", "Cost $"):
        table.numbers(name)
    for line in answer.sessions:
        for name, counts in _rows(line, answer.at):
            table.row(name, *counts)
    notes = (*marks(answer.totals), _silent(answer.silent), None if fault is None else plain(fault))
    return drawn(table if answer.sessions else None, _title(answer, zone), notes)


def _title(answer: Live, zone: tzinfo) -> str:
    at = time_text(to_datetime(answer.at), zone)
    if not answer.sessions:
        return f"No call is going on at {at}."
    parts = sum(len(line.running) for line in answer.sessions)
    shown = f"; the newest {len(answer.sessions)} are shown" if answer.more else ""
    return f"{counted(len(answer.sessions), 'session')}, {counted(parts, 'running part')} at {at}{shown}"


def _silent(sessions: int) -> str | None:
    if not sessions:
        return None
    are = "session is" if sessions == 1 else "sessions are"
    return f"{sessions:,} more {are} open, not heard of for a day and left out; `livekit-tokens doctor` says where"


def _rows(line: LiveSession, now: Micros) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield plain(line.session.session_id), _counts(line.session, now - line.heard_at)
    for part in line.running:
        # A session's only part has the session's counts.
        counts = _counts(part.summary, now - part.heard_at) if len(line.session.parts) > 1 else ()
        yield f"  {_part_name(part.summary)}", counts


def _part_name(part: SessionSummary) -> str:
    """Whose it is and what it uses: names that callers choose are made plain."""
    whose = part.user_name or part.user or part.agent_name or part.job
    uses = ", ".join(f"{plain(service.service)} {plain(service.model)}" for service in part.services)
    return f"{plain(whose)}: {uses or 'nothing used yet'}"


def _counts(session: SessionSummary, silent: Micros) -> tuple[str, ...]:
    totals: Totals = session.totals
    counts = (totals.requests, totals.input_tokens, totals.output_tokens)
    heard = _clock(max(timedelta(), timedelta(microseconds=silent)))
    return (_clock(session.duration), heard, *(f"{count:,}" for count in counts), cost(totals))


def _clock(length: timedelta) -> str:
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
