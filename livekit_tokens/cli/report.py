"""`livekit-tokens report`: what was spent in a period, or by one session."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Csv, Json, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import read_zone

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Report, Reports
    from livekit_tokens.domain.summary import SessionSummary


@dataclass(frozen=True, slots=True)
class Wanted:
    """The summary that was asked for on the command line."""

    asked: Asked = field(default_factory=Asked)
    by: tuple[str, ...] = ()
    json: bool = False
    csv: bool = False


@scoped
def report(
    asked: Asked,
    *,
    summary: Annotated[bool, typer.Option("--summary", help="The period's summary (the default).")] = False,
    session: Annotated[str | None, typer.Option(metavar="ID", help="One session, all of it.")] = None,
    records: Annotated[bool, typer.Option("--records", help="With --session: every usage record.")] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Group by service, kind (stt, llm, tts, other), model, provider, user, tenant, room, agent, feature, "
            "operation, tag:KEY, hour, day, week or month; at most two, as --by user --by day.",
            rich_help_panel="Groups",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="One page with charts, for a browser; - is stdout.", rich_help_panel="Output"
        ),
    ] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """What was spent: in a period by service and model (or --by), or by one session."""
    if session is not None:
        if summary or csv or html or by or Asked(zone=asked.zone) != asked:
            raise BadSetting("--session ID goes with --records, --tz and --json only: it is about the whole session")
        show_session(session, records=records, zone=asked.zone, json=json)
    elif records:
        raise BadSetting("--records goes with --session ID")
    elif html is not None:
        if json or csv or by:
            raise BadSetting("--html FILE is a page of its own; leave out --by, --json and --csv")
        from livekit_tokens.cli.page import write_page  # noqa: PLC0415

        write_page(asked, html)
    else:
        show_summary(Wanted(asked, tuple(by or ()), json, csv))


def show_summary(wanted: Wanted) -> None:
    """Print the summary of a period."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.core.reports import DEFAULT_BY, check_by  # noqa: PLC0415

    one_format(json=wanted.json, csv=wanted.csv)
    by = check_by(wanted.by or DEFAULT_BY)

    async def question(reports: Reports, about: Within) -> Report:
        return await reports.report(about.since, about.until, by=by, timezone=about.timezone, **wanted.asked.filters)

    answer, about = ask(wanted.asked, question)
    if wanted.json:
        print_json(answer.to_dict())
    elif wanted.csv:
        from livekit_tokens.cli.sheet import groups_csv  # noqa: PLC0415

        print(groups_csv(answer))
    elif wanted.by:
        from livekit_tokens.cli.table import groups_text  # noqa: PLC0415

        print(groups_text(answer, about.zone))
    else:
        from livekit_tokens.cli.text import summary_text  # noqa: PLC0415

        print(summary_text(answer, about.zone))


def show_session(session_id: str, *, records: bool, zone: str | None, json: bool) -> None:
    """Print one session."""
    from livekit_tokens.cli import ledger  # noqa: PLC0415
    from livekit_tokens.cli.text import session_text  # noqa: PLC0415

    settings = ledger.usable_settings()
    reader_zone = read_zone(zone or settings.timezone)

    async def question(reports: Reports) -> SessionSummary:
        answer = await reports.session(session_id, records=records)
        await ledger.tell_pruned(reports, answer.started_at)
        return answer

    answer = ledger.asked(question, settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        print(session_text(answer, reader_zone))
