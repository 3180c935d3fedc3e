"""`view-token-usage` and `token-usage-dashboard`: the report with exactly the flags that existing users know."""

from __future__ import annotations

from typing import Annotated

import typer

from livekit_tokens.cli.options import Span, read_filters
from livekit_tokens.cli.report import Wanted, show_session, show_summary
from livekit_tokens.cli.scope import Asked
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import DEFAULT_DAYS


def _app() -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app, dashboard = _app(), _app()

_Days = Annotated[int | None, typer.Option(metavar="N", help=f"The last N x 24 hours (default: {DEFAULT_DAYS}).")]


@app.command()
def view(
    summary: Annotated[bool, typer.Option("--summary", help="The period's summary (the default).")] = False,
    session: Annotated[str | None, typer.Option(metavar="ID", help="One session.")] = None,
    days: _Days = None,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")] = False,
) -> None:
    """What was spent, in the last days or by one session (`livekit-tokens report` can do more)."""
    if session is None:
        show_summary(Wanted(Asked(Span(days)), json=json))
    elif summary:
        raise BadSetting("--summary and --session ID are two reports; give one of them")
    else:
        # --days beside --session has always been accepted, and has never limited a session.
        show_session(session, records=False, zone=None, json=json)


@dashboard.command()
def show(
    days: _Days = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Only this user.")] = None,
    operation: Annotated[str | None, typer.Option(metavar="NAME", help="Only this operation.")] = None,
) -> None:
    """What was spent in the last days, by all or by one user or operation (`livekit-tokens report` can do more)."""
    show_summary(Wanted(Asked(Span(days), filters=read_filters(user=user, operation=operation))))
