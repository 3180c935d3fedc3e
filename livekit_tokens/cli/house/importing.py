"""`livekit-tokens import`: what other trackers have written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json

if TYPE_CHECKING:
    from livekit_tokens.core.importing import Imported

_LISTED = 20


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSONL logs, JSON arrays, CSV, SQLite with token_usage or api_usage."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in, and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Bring in what other trackers have written; a row counts once, however often it is imported."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, leaving  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415
    from livekit_tokens.core.importing import Imported  # noqa: PLC0415

    done = Imported()

    def left() -> str:
        came = "would have come in" if dry_run else "came in; import again, what is there counts once"
        return f"{done.records:,} records {came}"

    with leaving(left), counting(0, "rows") as shown:
        awaited(housekeeping.bring(usable_settings(), files, done, dry_run=dry_run, on_rows=shown))
    print_json({"dry_run": dry_run, **done.to_dict()}) if json else print("\n".join(_lines(done, dry_run=dry_run)))
    if done.rows and done.unmapped == done.rows:
        raise typer.Exit(1)  # it is said above: none of it is what an import knows


def _lines(done: Imported, *, dry_run: bool) -> Iterator[str]:
    from livekit_tokens.cli.text import plain  # noqa: PLC0415

    came = "would come in" if dry_run else "came in"
    yield f"{done.rows:,} rows: {done.records:,} records {came}, {done.known:,} were there already"
    if done.erased:
        yield f"{done.erased:,} are of people who were erased, and stay out"
    if done.unmapped:
        yield f"{done.unmapped:,} could not be imported:"
    for left in done.left[:_LISTED]:
        yield f"  {plain(left.file)}:{left.line}: {plain(left.reason)}"
    if done.unmapped > _LISTED:
        yield f"  and {done.unmapped - _LISTED:,} more (--json names {len(done.left):,} of them)"
