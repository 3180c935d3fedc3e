"""`livekit-tokens sessions`: which sessions there were, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit_tokens.cli.options import Csv, Json, Limit, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports, SessionList


@scoped
def sessions(asked: Asked, *, limit: Limit = 50, json: Json = False, csv: Csv = False) -> None:
    """List the sessions of a period, newest first, with what they spent in it (+ still open, ? abandoned)."""
    one_format(json=json, csv=csv)

    async def question(reports: Reports, about: Within) -> SessionList:
        return await reports.sessions(about.since, about.until, limit=limit, timezone=about.timezone, **asked.filters)

    answer, about = ask(asked, question)
    if json:
        from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415

        print_json(answer.to_dict())
    elif csv:
        from livekit_tokens.cli.sheet import sessions_csv  # noqa: PLC0415

        print(sessions_csv(answer))
    else:
        from livekit_tokens.cli.table import sessions_text  # noqa: PLC0415

        print(sessions_text(answer, about.zone))
