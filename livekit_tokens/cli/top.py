"""`livekit-tokens top`: who and what costs most."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Csv, Json, Limit, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports, Top, TopRequests

_KINDS = "users, tenants, agents, sessions, models, operations, features or requests"


@scoped
def top(
    asked: Asked,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"What to rank: {_KINDS}.")],
    *,
    limit: Limit = 10,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Rank users, tenants, agents, sessions, models, operations, features or requests: the dearest first."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.core.reports import check_kind  # noqa: PLC0415

    one_format(json=json, csv=csv)
    ranked = check_kind(kind)

    async def question(reports: Reports, about: Within) -> Top | TopRequests:
        span = (about.since, about.until)
        if ranked == "requests":
            return await reports.top_requests(*span, limit=limit, timezone=about.timezone, **asked.filters)
        return await reports.top(ranked, *span, limit=limit, timezone=about.timezone, **asked.filters)

    answer, about = ask(asked, question)
    print_json(answer.to_dict()) if json else print(_shown(answer, about.zone, csv=csv))


def _shown(answer: Top | TopRequests, zone: tzinfo, *, csv: bool) -> str:
    from livekit_tokens.cli import ranking, sheet  # noqa: PLC0415
    from livekit_tokens.core.reports import Top  # noqa: PLC0415

    if isinstance(answer, Top):
        return sheet.top_csv(answer) if csv else ranking.top_text(answer, zone)
    return sheet.top_requests_csv(answer) if csv else ranking.top_requests_text(answer, zone)
