"""`livekit-tokens db`: the database itself, looked at and tended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json
from livekit_tokens.domain.errors import BadSetting

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding

app = typer.Typer(
    help="The database of the ledger: check, upgrade, sql, vacuum.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DIALECTS = ("sqlite", "postgresql")


@app.command()
def check(json: Json = False) -> None:
    """Look whether the ledger is whole: its file, schema, sums beside their records; a fault is exit code 1."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.findings import tell  # noqa: PLC0415
    from livekit_tokens.cli.ledger import usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415

    async def look() -> list[Finding]:
        with counting(0, "days of sums compared") as shown:
            return [finding async for finding in housekeeping.check(settings, shown)]

    settings = usable_settings()
    tell(awaited(look()), json=json)


@app.command()
def upgrade(json: Json = False) -> None:
    """Bring the database to this version's schema, or make it there; each process that writes does so by itself."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited  # noqa: PLC0415

    before, now = awaited(housekeeping.upgrade(usable_settings()))
    if json:
        print_json({"before": before, "now": now})
    elif before == now:
        print(f"schema {now}, nothing to do")
    else:
        print(f"schema {before or 'none'} -> {now}")


@app.command()
def sql(
    dialect: Annotated[
        str | None, typer.Option(metavar="NAME", help="sqlite or postgresql (default: DATABASE_URL's).")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="REVISION", help="For a database of this schema, not an empty one.")
    ] = None,
) -> None:
    """Print the SQL that a DBA must run where livekit-tokens may not make tables itself. Connects to nothing."""
    from livekit_tokens.cli.ledger import usable_settings  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.store import migrations  # noqa: PLC0415
    from livekit_tokens.store.address import SqliteAddress, address_of  # noqa: PLC0415

    if dialect is None:
        is_file = isinstance(address_of(usable_settings().database_url), SqliteAddress)
        dialect = _DIALECTS[not is_file]
    if dialect not in _DIALECTS:
        raise BadSetting(f"--dialect {dialect!r} is not known; accepted: {' or '.join(_DIALECTS)}")
    if since is not None and since not in migrations.REVISIONS:
        raise BadSetting(f"--from {since!r} is no revision; accepted: {', '.join(migrations.REVISIONS)}")
    print(migrations.upgrade_sql(dialect, since), end="")


@app.command()
def vacuum(json: Json = False) -> None:
    """Give back the space of what was removed; while a SQLite file is written anew, calls go on into their spools."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited  # noqa: PLC0415
    from livekit_tokens.cli.progress import waited  # noqa: PLC0415
    from livekit_tokens.core.places import size_text  # noqa: PLC0415

    done = awaited(waited(housekeeping.vacuum(usable_settings()), "vacuum"))
    if json:
        print_json(done.to_dict())
    else:
        print(f"{size_text(done.before)} -> {size_text(done.after)}")
