"""`livekit-tokens backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json

if TYPE_CHECKING:
    from livekit_tokens.store.keeping.files import Copied

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup: a ledger in one SQLite file.")]


def backup(
    file: _File,
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="Write over FILE; the one before becomes FILE.1; N in all stay.")
    ] = 0,
    json: Json = False,
) -> None:
    """Copy the ledger, SQLite or PostgreSQL, into one file while calls go on, and look whether the copy is whole."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, leaving  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415

    with leaving(lambda: f"no backup was made, {file} is as it was"), counting(0, "rows") as shown:
        _tell(
            awaited(housekeeping.backup(usable_settings(), file.expanduser().absolute(), keep=keep, on_rows=shown)),
            json=json,
        )


def restore(
    file: _File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also over a ledger that is newer than the backup, or being written.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a backup in the ledger's place, SQLite or PostgreSQL, whole or not at all."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, leaving  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415

    with leaving(lambda: "nothing was restored, the ledger is as it was"), counting(0, "rows") as shown:
        _tell(
            awaited(
                housekeeping.restore(usable_settings(), file.expanduser().absolute(), replace=replace, on_rows=shown)
            ),
            json=json,
        )


def _tell(copied: Copied, *, json: bool) -> None:
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415
    from livekit_tokens.core.places import size_text  # noqa: PLC0415

    if json:
        print_json(copied.to_dict())
        return
    print(f"{copied.place}: {size_text(copied.size)}, schema {copied.revision}, whole")
    for name, count in copied.rows.items():
        print(f"  {name}: {count:,}")
