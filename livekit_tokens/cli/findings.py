"""Findings on the screen: one line each, as soon as it is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red"}


def tell(findings: Iterable[Finding], *, json: bool) -> None:
    """Print what is found; ends with exit code 1 where there is a fault."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.outcome import FAILED  # noqa: PLC0415
    from livekit_tokens.domain.receipts import counted  # noqa: PLC0415

    found = []
    for finding in findings:
        found.append(finding)
        if not json:
            _print(finding)
    faults = sum(finding.state == "fault" for finding in found)
    if json:
        print_json({"state": "fault" if faults else "ok", "findings": [finding.to_dict() for finding in found]})
    else:
        notes = sum(finding.state == "note" for finding in found)
        print(f"{len(found)} looked at: {counted(faults, 'fault')}, {counted(notes, 'note')}")
    if faults:
        raise typer.Exit(FAILED)


def _print(finding: Finding) -> None:
    from livekit_tokens.cli.columns import is_styled  # noqa: PLC0415
    from livekit_tokens.cli.text import plain  # noqa: PLC0415

    state = f"{finding.state:<5}"
    if is_styled():
        state = typer.style(state, fg=_COLOURS[finding.state])
    todo = f" -> {plain(finding.todo)}" if finding.todo else ""
    # At once: some looks take seconds.
    print(f"{state}  {plain(finding.subject)}: {plain(finding.told)}{todo}", flush=True)
