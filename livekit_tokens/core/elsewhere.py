"""Spools under other hosts' names that this host must leave alone, and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from livekit_tokens.core import spool
from livekit_tokens.domain.receipts import counted

SILENT_SECONDS = 3600.0
"""A spool that nobody has written to for so long may have lost its host: those of the living are written to, or have
been brought home and gone (`spool.REPLAY_SECONDS`)."""

_NAMED = 3


def told_of(folders: Iterable[Path], silent_seconds: float = SILENT_SECONDS) -> str | None:
    """One line about the spools in other hosts' folders that nobody writes to; None: there are none."""
    now = time.time()
    found: dict[Path, int] = {}
    for folder in folders:
        silent = sum(now - _written_at(source) >= silent_seconds for source in spool.sources_of(folder))
        if silent:
            found[folder] = silent
    if not found:
        return None
    names = ", ".join(sorted(folder.name for folder in found)[:_NAMED]) + (" ..." if len(found) > _NAMED else "")
    home = next(iter(found)).parent
    spools = counted(sum(found.values()), "spool")
    return (
        f"{spools} of other hosts in {home} ({names}), silent for an hour or more; where such a host is gone for good: "
        "livekit-tokens recover --host NAME; and give what comes in its place the same SPOOL_HOST"
    )


def _written_at(source: Path) -> float:
    """Seconds since the epoch; a spool that is removed meanwhile was written to just now."""
    try:
        return max(path.stat().st_mtime for path in (source, *source.iterdir()))
    except FileNotFoundError:
        return time.time()
