"""`livekit-tokens prices missing`: what stands in the ledger without a price, and what to do about it."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from livekit_tokens.cli.options import (
    Days,
    Json,
    Model,
    Provider,
    Since,
    Span,
    ThisMonth,
    ThisWeek,
    Today,
    Until,
    Zone,
    read_filters,
)

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Missing, Reports


def missing(  # noqa: PLR0917 - typer's way to name options
    days: Days = None,
    since: Since = None,
    until: Until = None,
    today: Today = False,
    this_week: ThisWeek = False,
    this_month: ThisMonth = False,
    tz: Zone = None,
    provider: Provider = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """List what is in the ledger without a price: model, reason, requests, first and last seen, what to do."""
    from livekit_tokens.bootstrap import price_book  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli import ledger  # noqa: PLC0415
    from livekit_tokens.domain.periods import read_zone  # noqa: PLC0415
    from livekit_tokens.domain.times import to_datetime  # noqa: PLC0415

    span = Span(days, since, until, today, this_week, this_month)
    filters = read_filters(provider=provider, model=model)
    settings = ledger.usable_settings()
    zone = tz or settings.timezone
    reader_zone = read_zone(zone)
    book = price_book(settings)

    async def ask(reports: Reports) -> Missing:
        period = span.period(reports.now(), zone)
        begin, end = to_datetime(period.since), to_datetime(period.until)
        return await reports.missing(book.price, begin, end, timezone=zone, **filters)

    answer = ledger.asked(ask, settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        print(_text(answer, reader_zone))


def _text(answer: Missing, zone: tzinfo) -> str:
    from livekit_tokens.cli.text import period_text, plain, time_text  # noqa: PLC0415
    from livekit_tokens.core.reports.unpriced import remedy  # noqa: PLC0415
    from livekit_tokens.domain.times import to_datetime  # noqa: PLC0415

    period = period_text(answer.period, zone, answer.timezone)
    if not answer.found:
        return f"Everything has a price from {period}."
    lines = [f"{answer.requests:,} requests without a price from {period}"]
    for group, now in answer.found:
        first, last = (time_text(to_datetime(at), zone) for at in (group.first_at, group.last.at))
        lines += [
            "",
            f"{plain(group.last.provider)} {plain(group.last.model)}: {group.requests:,} requests",
            f"  why: {plain(group.why) if group.why else 'written before there were prices'}",
            f"  seen: {first} to {last}",
            f"  do: {plain(remedy(group, now))}",
        ]
    return "\n".join(lines)
