"""`livekit-tokens prune`: records that have become old are removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json, Tenant
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import DAY, HOUR, MOST_DAYS
from livekit_tokens.domain.times import Micros, rfc3339

if TYPE_CHECKING:
    from livekit_tokens.store.keeping.pruning import Pruned

_LENGTH = re.compile(r"([1-9]\d*)([hdwy])", re.ASCII)
_UNITS: dict[str, Micros] = {"h": HOUR, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="How old: 90d, also in h, w or y of 365 days.")],
    tenant: Tenant = None,
    sums: Annotated[
        bool, typer.Option("--sums", help="Remove the sums of that time too, and sessions with nothing left.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove old records, a few at a time while calls go on. Sums stay, and with them every report, unless --sums."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, leaving  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415

    age, removed = read_age(older_than), 0

    def on_rows(rows: int) -> None:
        nonlocal removed
        removed = rows
        shown(rows)

    with (
        leaving(lambda: f"{removed:,} rows were removed; prune again for the rest"),
        counting(0, "rows removed") as shown,
    ):
        work = housekeeping.prune(usable_settings(), age, tenant=tenant, sums=sums, dry_run=dry_run, on_rows=on_rows)
        done = awaited(work)
    print_json(done.to_dict()) if json else print(_line(done))


def read_age(text: str) -> Micros:
    """`90d`, `12h`, `8w`, `1y`; raises BadSetting for anything else."""
    found = _LENGTH.fullmatch(text.strip().lower())
    age = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < age <= MOST_DAYS * DAY:
        raise BadSetting(f"--older-than {text!r} cannot be read; accepted: a length of time such as 90d, 12h, 8w, 1y")
    return age


def _line(done: Pruned) -> str:
    from livekit_tokens.cli.text import plain  # noqa: PLC0415

    counts = {"records": done.records, "sums": done.sums, "parts of sessions": done.parts}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)
    whose = "" if done.asked.tenant is None else f" of tenant {plain(done.asked.tenant)}"
    kept = "; sums stay" if done.sums is None else ""
    would = "would be removed" if done.dry_run else "removed"
    return f"before {rfc3339(done.asked.until)}{whose}: {told} {would}{kept}"
