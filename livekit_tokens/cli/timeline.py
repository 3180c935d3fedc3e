"""`livekit-tokens timeline ID`: one session as it went."""

from __future__ import annotations

from typing import Annotated

import typer

from livekit_tokens.cli.options import Json, Zone
from livekit_tokens.domain.periods import read_zone


def timeline(
    session: Annotated[str, typer.Argument(metavar="ID", help="The session; `livekit-tokens sessions` lists them.")],
    tz: Zone = None,
    json: Json = False,
) -> None:
    """Tell one session as it went: who came and left, its turns, each request with units, provenance and cost."""
    from livekit_tokens.cli import ledger  # noqa: PLC0415 - `--help` does not wait for it

    settings = ledger.usable_settings()
    zone = read_zone(tz or settings.timezone)
    answer = ledger.asked(lambda reports: reports.timeline(session), settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        from livekit_tokens.cli.timeline_table import timeline_text  # noqa: PLC0415

        print(timeline_text(answer, zone, tz or settings.timezone))
