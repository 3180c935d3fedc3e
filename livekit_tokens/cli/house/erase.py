"""`livekit-tokens erase`: a person is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json
from livekit_tokens.domain.errors import BadSetting

if TYPE_CHECKING:
    from livekit_tokens.housekeeping import Forgotten
    from livekit_tokens.store.keeping.erasing import Erased


def erase(
    user: Annotated[
        str,
        typer.Option(
            metavar="ID", help="The identity, as LiveKit has it or as reports show it; a name, where none is known."
        ),
    ],
    rooms: Annotated[
        bool, typer.Option("--rooms", help="Rename all rooms and sessions of theirs, not only those that name them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is found, and change nothing.")] = False,
    json: Json = False,
) -> None:
    """Forget a person: parts, stays, names, ids, in ledger, spools and daily logs, now and when more arrives.

    Sums and costs stay. What is found afterwards is printed; exit code 1 where that is not nothing.
    """
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import Failed, awaited, leaving, warn  # noqa: PLC0415
    from livekit_tokens.cli.progress import waited  # noqa: PLC0415

    if not user.strip():
        raise BadSetting("--user is empty; expected the identity of the person to forget")
    work = housekeeping.erase(usable_settings(), user, all_rooms=rooms, dry_run=dry_run)
    with leaving(lambda: "it may be half done; erase again, and it says what is left"):
        forgotten = awaited(waited(work, "erasing"))
    erased, spools = forgotten.ledger, forgotten.spools
    if json:
        print_json({"dry_run": dry_run, **forgotten.to_dict()})
    else:
        print("\n".join(_lines(forgotten, dry_run=dry_run)))
    if not (erased.parts or erased.stays or spools.removed or spools.held or forgotten.log_lines):
        warn(f"note: nothing of {user!r} was found; expected is the identity, as `livekit-tokens top users` shows it")
    if not dry_run and (erased.left or spools.held):
        raise Failed(_still_held(erased, spools.held))


def _still_held(erased: Erased, spools: int) -> str:
    others = erased.left - erased.left_in_models
    told = []
    if others or spools:
        told.append(
            f"{others:,} rows and {spools:,} spools of this host still hold them: a call of theirs that goes on, a "
            "process that did not answer, or a spool of another DATABASE_URL; what these bring comes without them, "
            "and the files go by themselves, two hours after the call's end at the latest; erase again to see"
        )
    if erased.left_in_models:
        told.append(
            f"{erased.left_in_models:,} rows of theirs have a name of theirs in that of a model, a provider or an "
            "operation, which stays, as prices are found by it; `prune --sums` removes old rows"
        )
    return "; ".join(told)


def _lines(forgotten: Forgotten, *, dry_run: bool) -> list[str]:
    erased, spools = forgotten.ledger, forgotten.spools
    would = "would be " if dry_run else ""
    lines = [
        f"parts of sessions: {erased.parts:,} {would}made nobody's",
        f"stays in rooms: {erased.stays:,} {would}made nobody's",
        f"records: {erased.records:,} {would}freed of ids and labels; their units and costs stay",
        f"names: {erased.sessions_renamed:,} sessions and {erased.rooms_renamed:,} rooms {would}renamed",
        f"spools of this host: {spools.looked_at:,} looked at, {spools.removed:,} removed, {spools.held:,} hold them",
    ]
    if forgotten.log_files:
        files, found = forgotten.log_files, forgotten.log_lines
        lines.append(f"daily logs: {files:,} files looked at, {found:,} lines {would}made nobody's")
    return lines if dry_run else [*lines, f"looked at again: {erased.left:,} rows found"]
