"""`livekit-tokens live`: the calls that are going on, and their counts as they grow."""

from __future__ import annotations

import asyncio
import sys
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from livekit_tokens.cli.options import Agent, Json, Room, Tag, Tenant, User, Zone, read_filters
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.periods import read_zone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from livekit_tokens.core.reports import Live, Reports


def live(
    *,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="On a terminal, how often it is drawn again.", min=0.2, max=3600)
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One look, also on a terminal.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many, the newest.", min=1, max=10_000)] = 50,
    user: User = None,
    agent: Agent = None,
    room: Room = None,
    tenant: Tenant = None,
    tag: Tag = None,
    tz: Zone = None,
    json: Json = False,
) -> None:
    """The calls that are going on with what they have spent so far, redrawn until Ctrl-C (once through a pipe).

    Those whose process has brought nothing for a day are left out, and counted.
    """
    from livekit_tokens.cli import ledger  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.outcome import Interrupted  # noqa: PLC0415

    settings = ledger.usable_settings()
    zone = read_zone(tz or settings.timezone)
    filters = read_filters(tag, user=user, agent=agent, room=room, tenant=tenant)

    async def look(reports: Reports) -> Live:
        return await reports.live(limit=limit, **filters)

    if not (once or json) and sys.stdout.isatty():
        try:
            ledger.asked(lambda reports: _watch(lambda: look(reports), every, zone), settings, shown=True)
        except Interrupted:  # it is how one leaves it, and needs no line
            raise Interrupted from None
    answer = ledger.asked(look, settings)
    if json:
        ledger.print_json(answer.to_dict())
    else:
        from livekit_tokens.cli.live_table import live_text  # noqa: PLC0415

        print(live_text(answer, zone))


async def _watch(look: Callable[[], Awaitable[Live]], every: float, zone: tzinfo) -> NoReturn:
    """Draw it again and again; a ledger that is away for a while is said below the last picture."""
    from rich.live import Live as Screen  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from livekit_tokens.cli.live_table import live_text  # noqa: PLC0415

    answer, fault = await look(), None
    with Screen(auto_refresh=False) as screen:
        while True:
            screen.update(Text.from_ansi(live_text(answer, zone, fault)), refresh=True)
            await asyncio.sleep(every)
            try:
                answer, fault = await look(), None
            except LedgerUnavailable as unavailable:
                fault = str(unavailable)
