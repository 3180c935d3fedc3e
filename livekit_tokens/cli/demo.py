"""`livekit-tokens demo`: a call with a stand-in provider, so that there is something to see without an account."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from livekit_tokens.demo.run import Ledgered


def demo(
    seed: Annotated[int, typer.Option(help="What is drawn by chance is drawn from this.")] = 1,
    records: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="No call: fill the ledger with N records of a plausible year's traffic."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --records: the year's end (default: the last whole hour).")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="With --records: also into a ledger that has other data.")] = False,
) -> None:
    """Hold a call with a stand-in provider, without an account: its receipt, its report, and three counts of it."""
    if records is not None:
        from livekit_tokens.cli.traffic import fill_ledger  # noqa: PLC0415 - `--help` does not wait for it

        fill_ledger(records, seed, until, add=add)
        return
    if until is not None or add:
        raise typer.BadParameter("--until and --add go with --records")
    _hold_a_call(seed)


def _hold_a_call(seed: int) -> None:
    from livekit_tokens.cli.outcome import Failed, awaited  # noqa: PLC0415 - `--help` does not wait for it

    try:
        from livekit_tokens.demo.run import run_demo  # noqa: PLC0415
    except ImportError as missing:
        raise Failed(f"the demo needs livekit-agents and livekit-plugins-openai: {missing}") from missing
    # Progress is for watching, also through a pipe.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = awaited(run_demo(read_ledger=_read_ledger, seed=seed))
    sys.stdout.flush()
    # Everything is over, and every child has ended. LiveKit's native client sometimes aborts the process while Python
    # is being taken down (rtc 1.1.21, seen once in about 15 runs); there is nothing left to take down.
    os._exit(code)


async def _read_ledger(database_url: str, spool_dir: Path) -> Ledgered:
    """The demo's own ledger: its units by model, and the report as anybody would print it."""
    from livekit_tokens.cli.text import summary_text  # noqa: PLC0415
    from livekit_tokens.demo.run import Ledgered  # noqa: PLC0415
    from livekit_tokens.domain.periods import read_zone  # noqa: PLC0415
    from livekit_tokens.reading import open_ledger  # noqa: PLC0415
    from livekit_tokens.settings import Settings  # noqa: PLC0415

    settings = Settings(database_url=database_url, spool_dir=spool_dir)
    async with open_ledger(settings) as ledger:
        report = await ledger.report()
    units = {
        (str(group.key["model"]), unit): quantity
        for group in report.groups
        for unit, quantity in group.totals.units.items()
    }
    return Ledgered(units, summary_text(report, read_zone(settings.timezone)))
