"""CSV for spreadsheets and other programs: whole numbers and money as they are, names made harmless."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from livekit_tokens.core.reports import (
    Change,
    Comparison,
    Entry,
    PerformanceReport,
    Report,
    Series,
    SessionList,
    Top,
    TopRequests,
)
from livekit_tokens.core.reports.performance import BY as PERFORMANCE_BY
from livekit_tokens.domain.sheets import harmless
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

_AMOUNTS = ("sessions", *Totals().to_dict())
_NO_ENTRY = Entry(RecordLine("", UsageRecord("", 0, "", "", "", "", {})), "", None, None, None, None, {})


def groups_csv(report: Report) -> str:
    """The names of `by`, then the fields of totals; units are JSON in their column."""
    return _sheet((*report.by, *_AMOUNTS), (_flat(group.to_dict()) for group in report.groups))


def sessions_csv(found: SessionList) -> str:
    """What the list's JSON says of each session; tags are JSON in their column."""
    rows = [_flat(line.to_dict()) for line in found.sessions]
    head = ("session_id", "status", "room", "user", "user_name", "tenant", "agent_name", "tags", "started_at")
    return _sheet((*head, "ended_at", "duration_seconds", "close_reason", *_AMOUNTS[1:]), rows)


def top_csv(top: Top) -> str:
    """The name, its share of the cost, and the fields of totals."""
    rows = [_flat({"cost_share": top.cost_share(group), **group.to_dict()}) for group in top.groups]
    return _sheet((top.kind.removesuffix("s"), "cost_share", *_AMOUNTS), rows)


def top_requests_csv(top: TopRequests) -> str:
    """What the JSON says of each request; what has parts is JSON in its column."""
    rows = [_flat(entry.to_dict()) for entry in top.entries]
    return _sheet(tuple(_NO_ENTRY.to_dict()), rows)


def series_csv(series: Series) -> str:
    """A row a point: its key, its begin and end, and the fields of totals; of a split, by the name of the line."""
    if series.per is None:
        rows = [_flat(point.to_dict()) for point in series.points]
        return _sheet(("key", "since", "until", *_AMOUNTS), rows)
    rows = [{series.per: line.name, **_flat(point.to_dict())} for line in series.lines for point in line.points]
    return _sheet((series.per, "key", "since", "until", *_AMOUNTS), rows)


def comparison_csv(comparison: Comparison) -> str:
    """The names of `by`, then the fields of totals of both periods and the changes."""
    rows = [{**change.key, **_compared(change)} for change in comparison.groups]
    return _sheet((*comparison.by, *_compared(comparison.whole)), rows)


def _compared(change: Change) -> dict[str, object]:
    facts = change.to_dict()
    return _spread({name: facts[name] for name in ("before", "now", "change")})


def performance_csv(report: PerformanceReport) -> str:
    """A row for each provider, model and operation; times in milliseconds."""
    rows = [_spread(line.to_dict()) for line in report.models]
    return _sheet((*PERFORMANCE_BY, *_spread(report.whole.to_dict())), rows)


def _flat(facts: Mapping[str, object]) -> dict[str, object]:
    """`key` and `totals` laid out beside the rest."""
    row: dict[str, object] = {}
    for name, value in facts.items():
        row |= value if name in ("key", "totals") and isinstance(value, dict) else {name: value}
    return row


def _spread(facts: Mapping[str, object]) -> dict[str, object]:
    """Figures inside figures under a name of their own: `response_ms_p95`; errors stay together as JSON."""
    row: dict[str, object] = {}
    for name, value in facts.items():
        parts = isinstance(value, dict) and name != "errors"
        row |= {f"{name}_{field}": v for field, v in value.items()} if parts else {name: value}  # type: ignore[attr-defined]
    return row


def _sheet(head: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow([harmless(name) for name in head])
    writer.writerows([_cell(row.get(name)) for name in head] for row in rows)
    return sheet.getvalue().rstrip("\n")


def _cell(value: object) -> object:
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return harmless(value) if isinstance(value, str) else value
