"""Tables for the terminal, at most as wide as it is (80 columns where it is none), and sheets for other programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from livekit_tokens.cli.text import period_text, plain
from livekit_tokens.core.reports import Group, Report, SessionLine, SessionList
from livekit_tokens.domain.money import dollars, dollars_shown
from livekit_tokens.domain.totals import Totals

_NUMBERS = ("Sess.", "Requests", "Input", "Output", "Cost $")


def groups_text(report: Report, zone: tzinfo) -> str:
    """A report by anything: a row a group, the totals at the foot; costs are marked as the lines below it say."""
    table = Table(show_footer=True, box=None, pad_edge=False, header_style="bold", footer_style="bold")
    for number, name in enumerate(report.by):
        table.add_column(name, "Total" if number == 0 else "", overflow="fold")
    feet = _numbers(report.sessions, report.totals)
    for name, foot in zip(_NUMBERS, feet, strict=True):
        table.add_column(name, foot, justify="right", no_wrap=True)
    for group in report.groups:
        table.add_row(*(_cell(value) for value in group.key.values()), *_numbers(group.sessions, group.totals))
    rate = None if report.cost_per_minute is None else f"${report.cost_per_minute:,.6f} a minute of call"
    return _drawn(table, period_text(report.period, zone, report.timezone), report.totals, rate)


def sessions_text(found: SessionList, zone: tzinfo) -> str:
    """Sessions, newest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Session", overflow="fold", ratio=3)
    table.add_column("User", overflow="fold", ratio=2)
    table.add_column("Started", no_wrap=True)
    for name in ("Length", "Tokens", "Cost $"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in found.sessions:
        table.add_row(*_session(line, zone))
    if not found.sessions:
        return f"No sessions from {period_text(found.period, zone, found.timezone)}."
    whole = sum((line.totals for line in found.sessions), Totals())
    text = _drawn(table, period_text(found.period, zone, found.timezone), whole)
    return text + f"\nThe newest {len(found.sessions)} are shown; --limit shows more." if found.more else text


def groups_csv(report: Report) -> str:
    """The names of `by`, then the fields of totals; units are JSON in their column."""
    names = ["sessions", *Totals().to_dict()]
    return _csv([*report.by, *names], (_csv_row(group, names) for group in report.groups))


def _csv_row(group: Group, names: Sequence[str]) -> list[object]:
    facts = group.to_dict()
    cells = (facts[name] for name in names)
    return [*(value or "" for value in group.key.values()), *(_csv_cell(cell) for cell in cells)]


def _csv_cell(cell: object) -> object:
    return json.dumps(cell, separators=(",", ":")) if isinstance(cell, dict) else cell


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return sheet.getvalue().rstrip("\n")


def _session(line: SessionLine, zone: tzinfo) -> tuple[Text | str, ...]:
    session = line.session
    length = int(session.duration.total_seconds())
    minutes = f"{length // 60:,}:{length % 60:02d}"
    # An ended session has its length; the others say how they are.
    status = {"open": f"{minutes}+", "abandoned": f"{minutes}?"}.get(session.status, minutes)
    return (
        _cell(session.session_id),
        _cell(session.user_name or session.user),
        f"{session.started_at.astimezone(zone):%m-%d %H:%M}",
        status,
        f"{line.totals.total_tokens:,}",
        _cost(line.totals),
    )


def _numbers(sessions: int, totals: Totals) -> tuple[str, ...]:
    counts = (sessions, totals.requests, totals.input_tokens, totals.output_tokens)
    return (*(f"{count:,}" for count in counts), _cost(totals))


def _cost(totals: Totals) -> str:
    if totals.unpriced_requests and not totals.cost:
        return "unpriced"
    return f"{'~' if totals.estimated_cost else ''}{dollars(totals.cost):,.4f}{'+' if totals.unpriced_requests else ''}"


def _cell(value: str | None) -> Text:
    # Text, not str: rich would read [brackets] in a name as its markup.
    return Text("-" if value is None else plain(value))


def _drawn(table: Table, title: str, totals: Totals, rate: str | None = None) -> str:
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty() or None, width=_width())
    console.print(Text(title, style="dim"))
    console.print(table)
    for line in (rate, *_marks(totals)):
        if line is not None:
            console.print(Text(line, style="dim"))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip("\n").split("\n"))


def _marks(totals: Totals) -> Iterator[str]:
    if totals.estimated_cost:
        yield f"~ in part estimated: {dollars_shown(totals.estimated_cost)} of {dollars_shown(totals.cost)}"
    if totals.unpriced_requests:
        yield f"+ and unpriced: {totals.unpriced_requests:,} requests have no known price"


def _width() -> int:
    return max(40, Console().width) if sys.stdout.isatty() else 80
