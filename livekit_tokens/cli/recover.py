"""`livekit-tokens recover`: bring home what killed processes of this host have left behind."""

from __future__ import annotations

from typing import Annotated

import typer

from livekit_tokens.cli.options import Json


def recover(
    host: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another host's spools in the same folder, if it is gone for good."),
    ] = None,
    any_ledger: Annotated[
        bool, typer.Option("--any-ledger", help="Also spools that were written for another DATABASE_URL.")
    ] = False,
    json: Json = False,
) -> None:
    """Write what killed processes of this host left in their spools into the ledger."""
    from livekit_tokens import bootstrap  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, warn  # noqa: PLC0415

    recovered = awaited(bootstrap.recover(usable_settings(), on_host=host, any_ledger=any_ledger))
    if recovered.busy:
        warn("another process is bringing spools home at this moment; look again when it is done")
    if recovered.elsewhere:
        warn(f"{recovered.elsewhere:,} spools were written for another DATABASE_URL and left; --any-ledger takes them")
    if recovered.newer:
        warn(f"{recovered.newer:,} spools were written by a newer version and left; upgrade livekit-tokens")
    found = recovered.to_dict()
    if json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' ')}: {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return (", ".join(map(str, value)) or "none") if isinstance(value, (list, tuple)) else str(value)
