"""`livekit-tokens report`: what was spent in a period, or by one session."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.times import to_datetime

if TYPE_CHECKING:
    from livekit_tokens.core.reports import FilterArguments

_GROUPED = "Groups"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The summary that was asked for on the command line."""

    span: Span = field(default_factory=Span)
    filters: FilterArguments = field(default_factory=read_filters)
    by: tuple[str, ...] = ()
    zone: str | None = None
    json: bool = False
    csv: bool = False


def report(  # noqa: PLR0917 - typer's way to name options
    summary: Annotated[bool, typer.Option("--summary", help="The period's summary (the default).")] = False,
    session: Annotated[str | None, typer.Option(metavar="ID", help="One session, all of it.")] = None,
    records: Annotated[bool, typer.Option("--records", help="With --session: every usage record.")] = False,
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
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Group by service, kind (stt, llm, tts, other), model, provider, user, tenant, room, agent, feature, "
            "operation, tag:KEY, hour, day, week or month; at most two, as --by user --by day.",
            rich_help_panel=_GROUPED,
        ),
    ] = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.", rich_help_panel="Output")] = False,
) -> None:
    """What was spent: in a period by service and model (or --by), or by one session."""
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
    wanted = Wanted(span, filters, tuple(by or ()), tz, json, csv)
    if session is None:
        if records:
            raise BadSetting("--records goes with --session ID")
        show_summary(wanted)
        return
    if summary or csv or span != Span() or by or filters != read_filters():
        raise BadSetting("--session ID goes with --records, --tz and --json only: it is about the whole session")
    show_session(session, records=records, zone=tz, json=json)


def show_summary(wanted: Wanted) -> None:
    """Print the summary of a period."""
    from livekit_tokens.cli import ledger  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.core.reports import DEFAULT_BY, Report, Reports, check_by  # noqa: PLC0415

    if wanted.json and wanted.csv:
        raise BadSetting("--json and --csv are two formats; give one of them")
    settings = ledger.usable_settings()
    zone = wanted.zone or settings.timezone
    by = check_by(wanted.by or DEFAULT_BY)
    reader_zone = read_zone(zone)

    async def ask(reports: Reports) -> Report:
        period = wanted.span.period(reports.now(), zone)
        since, until = to_datetime(period.since), to_datetime(period.until)
        return await reports.report(since, until, by=by, timezone=zone, **wanted.filters)

    answer = ledger.asked(ask, settings)
    if wanted.json:
        ledger.print_json(answer.to_dict())
    elif wanted.csv:
        from livekit_tokens.cli.table import groups_csv  # noqa: PLC0415

        print(groups_csv(answer))
    elif wanted.by:
        from livekit_tokens.cli.table import groups_text  # noqa: PLC0415

        print(groups_text(answer, reader_zone))
    else:
        from livekit_tokens.cli.text import summary_text  # noqa: PLC0415

        print(summary_text(answer, reader_zone))


def show_session(session_id: str, *, records: bool, zone: str | None, json: bool) -> None:
    """Print one session."""
    from livekit_tokens.cli import ledger  # noqa: PLC0415
    from livekit_tokens.cli.text import session_text  # noqa: PLC0415

    settings = ledger.usable_settings()
    reader_zone = read_zone(zone or settings.timezone)
    answer = ledger.asked(lambda reports: reports.session(session_id, records=records), settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        print(session_text(answer, reader_zone))
