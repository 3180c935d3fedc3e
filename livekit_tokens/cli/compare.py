"""`livekit-tokens compare`: a period beside the one before it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from livekit_tokens.cli.options import By, Csv, Json, Limit, Span, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped
from livekit_tokens.domain.periods import Calendar, Period, so_far_and_before
from livekit_tokens.domain.times import to_datetime

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Comparison, Reports


@scoped
def compare(asked: Asked, *, by: By = None, limit: Limit = 20, json: Json = False, csv: Csv = False) -> None:
    """Set a period beside the one before: as long, or the last day, week or month up to the same time by the clock."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.core.reports import DEFAULT_BY  # noqa: PLC0415

    one_format(json=json, csv=csv)

    async def question(reports: Reports, about: Within) -> Comparison:
        since, until, before = about.since, about.until, None
        if (name := _calendar(asked.span)) is not None:
            now, then = so_far_and_before(name, about.now, about.zone)
            (since, until), before = _moments(now), _moments(then)
        names = by or DEFAULT_BY
        span, zone = (since, until), about.timezone
        return await reports.compare(*span, before=before, by=names, limit=limit, timezone=zone, **asked.filters)

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    elif csv:
        from livekit_tokens.cli.sheet import comparison_csv  # noqa: PLC0415

        print(comparison_csv(answer))
    else:
        from livekit_tokens.cli.ranking import comparison_text  # noqa: PLC0415

        print(comparison_text(answer, about.zone))


def _calendar(span: Span) -> Calendar | None:
    if span.today:
        return "today"
    if span.this_week:
        return "this-week"
    return "this-month" if span.this_month else None


def _moments(period: Period) -> tuple[datetime, datetime]:
    return to_datetime(period.since), to_datetime(period.until)
