"""`livekit-tokens doctor`: what is wrong on this machine, one line each, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from livekit_tokens.cli.options import Json

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red"}


def doctor(json: Json = False) -> None:
    """Look at settings, versions, folders, ledger and spools: ok, note, or fault and what to do (then exit 1)."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.outcome import FAILED  # noqa: PLC0415

    found = []
    for finding in _findings():
        found.append(finding)
        if not json:
            _print(finding)
    faults = sum(finding.state == "fault" for finding in found)
    if json:
        print_json({"state": "fault" if faults else "ok", "findings": [finding.to_dict() for finding in found]})
    else:
        notes = sum(finding.state == "note" for finding in found)
        print(f"{len(found)} looked at: {_counted(faults, 'fault')}, {_counted(notes, 'note')}")
    if faults:
        raise typer.Exit(FAILED)


def _findings() -> Iterator[Finding]:
    from livekit_tokens.bootstrap import checks  # noqa: PLC0415
    from livekit_tokens.core.findings import findings_of  # noqa: PLC0415
    from livekit_tokens.settings import load_settings  # noqa: PLC0415

    # With defaults in place of what cannot be used, as a call has them.
    return findings_of(checks(*load_settings()))


def _print(finding: Finding) -> None:
    from livekit_tokens.cli.text import plain  # noqa: PLC0415

    state = f"{finding.state:<5}"
    if sys.stdout.isatty():
        state = typer.style(state, fg=_COLOURS[finding.state])
    todo = f" -> {plain(finding.todo)}" if finding.todo else ""
    # At once: some looks take seconds.
    print(f"{state}  {plain(finding.subject)}: {plain(finding.told)}{todo}", flush=True)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
