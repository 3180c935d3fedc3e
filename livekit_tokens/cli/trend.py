"""`livekit-tokens trend`: how spending went, drawn in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Csv, Json, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports, Series


@scoped
def trend(
    asked: Asked,
    *,
    by: Annotated[
        str | None,
        typer.Option(metavar="UNIT", help="hour, day, week or month (default: hours of two days, days of 92)."),
    ] = None,
    per: Annotated[
        str | None, typer.Option(metavar="NAME", help="A line each for the dearest models, users, agents ... as well.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="cost, tokens, requests or sessions (default: cost, tokens if unpriced)."),
    ] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Draw spending by hour, day, week or month of your time zone, also where there was none."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.plot import check_measure, series_text  # noqa: PLC0415

    one_format(json=json, csv=csv)
    measure = None if of is None else check_measure(of)

    async def question(reports: Reports, about: Within) -> Series:
        cutting = by or _fitting((about.until - about.since).days)
        return await reports.series(
            about.since, about.until, cutting=cutting, per=per, timezone=about.timezone, **asked.filters
        )

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    elif csv:
        from livekit_tokens.cli.sheet import series_csv  # noqa: PLC0415

        print(series_csv(answer))
    else:
        print(series_text(answer, about.zone, measure))


def _fitting(days: int) -> str:
    """As many bars as a terminal has room for."""
    if days <= 2:
        return "hour"
    if days <= 92:
        return "day"
    return "week" if days <= 2 * 366 else "month"
