"""`livekit-tokens sessions`: which sessions there were, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import (
    Agent,
    Days,
    Feature,
    Json,
    Model,
    Operation,
    Provider,
    Room,
    Service,
    Since,
    Span,
    Tag,
    Tenant,
    ThisMonth,
    ThisWeek,
    Today,
    Until,
    User,
    Zone,
    read_filters,
)
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.times import to_datetime

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports, SessionList


def sessions(  # noqa: PLR0917 - typer's way to name options
    days: Days = None,
    since: Since = None,
    until: Until = None,
    today: Today = False,
    this_week: ThisWeek = False,
    this_month: ThisMonth = False,
    tz: Zone = None,
    user: User = None,
    service: Service = None,
    model: Model = None,
    provider: Provider = None,
    operation: Operation = None,
    feature: Feature = None,
    agent: Agent = None,
    room: Room = None,
    tenant: Tenant = None,
    tag: Tag = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many.", min=1, max=10_000)] = 50,
    json: Json = False,
) -> None:
    """List the sessions of a period, newest first, with what they spent in it (+ still open, ? abandoned)."""
    span = Span(days, since, until, today, this_week, this_month)
    filters = read_filters(
        tag,
        user=user,
        service=service,
        model=model,
        provider=provider,
        operation=operation,
        feature=feature,
        agent=agent,
        room=room,
        tenant=tenant,
    )
    from livekit_tokens.cli import ledger  # noqa: PLC0415 - `--help` does not wait for it

    settings = ledger.usable_settings()
    zone = tz or settings.timezone
    reader_zone = read_zone(zone)

    async def ask(reports: Reports) -> SessionList:
        period = span.period(reports.now(), zone)
        begin, end = to_datetime(period.since), to_datetime(period.until)
        return await reports.sessions(begin, end, limit=limit, timezone=zone, **filters)

    answer = ledger.asked(ask, settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        from livekit_tokens.cli.table import sessions_text  # noqa: PLC0415

        print(sessions_text(answer, reader_zone))
