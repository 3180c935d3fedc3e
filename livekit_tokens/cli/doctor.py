"""`livekit-tokens doctor`: what is wrong on this machine, one line each, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.findings import tell
from livekit_tokens.cli.options import Json

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding


Live = Annotated[bool, typer.Option("--live", help="Also make one small call by OPENAI_API_KEY, and show its record.")]


def doctor(json: Json = False, live: Live = False) -> None:
    """Look at settings, versions, folders, ledger and spools: ok, note, or fault and what to do (then exit 1)."""
    tell(_findings(live=live), json=json)


def _findings(*, live: bool) -> Iterator[Finding]:
    from livekit_tokens.checks import checks  # noqa: PLC0415
    from livekit_tokens.core.findings import findings_of  # noqa: PLC0415
    from livekit_tokens.settings import load_settings  # noqa: PLC0415

    # With defaults in place of what cannot be used, as a call has them.
    return findings_of(checks(*load_settings(), live=live))
