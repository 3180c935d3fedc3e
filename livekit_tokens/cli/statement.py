"""`livekit-tokens statement --user NAME` or `--tenant NAME`: what one of them spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit_tokens.cli.options import Json, Limit
from livekit_tokens.cli.scope import Asked, Within, ask, scoped
from livekit_tokens.domain.errors import BadSetting

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports, Statement, Whose


@scoped
def statement(asked: Asked, *, limit: Limit = 20, json: Json = False) -> None:
    """Tell what one --user or --tenant spent: by service and model, by day, and in their newest sessions."""
    whose: Whose = "user" if asked.filters.get("user") else "tenant"
    if not (name := asked.filters.get(whose)):
        raise BadSetting("whose statement? give --user NAME or --tenant NAME; `livekit-tokens top users` lists them")
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it

    async def question(reports: Reports, about: Within) -> Statement:
        return await reports.statement(
            whose, name, about.since, about.until, limit=limit, timezone=about.timezone, **asked.filters
        )

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    else:
        from livekit_tokens.cli.plot import series_text  # noqa: PLC0415
        from livekit_tokens.cli.table import sessions_text  # noqa: PLC0415
        from livekit_tokens.cli.text import plain, summary_text  # noqa: PLC0415

        print(f"STATEMENT OF {whose.upper()} {plain(name)}")
        print(summary_text(answer.report, about.zone))
        print(f"\n{series_text(answer.days, about.zone)}\n\n{sessions_text(answer.sessions, about.zone)}")
