"""Spools of this host that still hold a person: what is in the ledger already need not be kept for a replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from livekit_tokens.core import replay, spool
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.domain.erasure import Person

_LONG_ENOUGH = 6
"""A shorter text is only looked for as a whole value: every spool holds some `ann` within another word."""

LET_GO_SECONDS = 8.0
"""A living process looks every two seconds; its drain may be at work, or its ledger slow."""
_LOOK_SECONDS = 0.1


@dataclass(slots=True)
class SpoolsSwept:
    """`looked_at` spools; `removed` of those that held the person; `held` still do."""

    looked_at: int = 0
    removed: int = 0
    held: int = 0

    def to_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


def sweep(roots: Iterable[Path], known: Mapping[str, Checkpoint], person: Person, *, dry_run: bool) -> SpoolsSwept:
    """Remove what holds the person and is in the ledger (`known` checkpoints), and look again.

    A process that lives is asked to let go of what it has written (`when_let_go`). Held are what a
    call of theirs that goes on must keep, and spools of another ledger: what they bring is forgotten as it arrives,
    and the file goes with its replay window.
    """
    swept, sought = SpoolsSwept(), _sought(person)
    for root in roots:
        if not dry_run:
            spool.remove_gone(root)
        for folder in spool.sources_of(root):
            swept.looked_at += 1
            if not _holds(folder, sought):
                continue
            if not dry_run and folder.name in known:
                _forget(folder, known[folder.name])
            gone = not _holds(folder, sought)
            swept.removed += gone
            swept.held += not gone
    return swept


async def when_let_go(roots: Iterable[Path]) -> bool:
    """Wait until the living owners that were asked have let go; False: not all of them have."""
    folders = [folder for root in roots for folder in spool.sources_of(root)]
    until = time.monotonic() + LET_GO_SECONDS
    while asked := any(map(spool.is_asked_to_let_go, folders)):
        if time.monotonic() > until:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return not asked


def _forget(folder: Path, known: Checkpoint) -> None:
    lock = spool.try_lock(folder)
    if lock is None:  # its owner lives
        spool.ask_to_let_go(folder)
        return
    try:
        if replay.is_finished(folder, known):
            spool.remove(folder)
    finally:
        spool.unlock(lock)


def _holds(folder: Path, sought: list[bytes]) -> bool:
    for number in spool.segments_of(folder):
        try:
            raw = spool.segment_path(folder, number).read_bytes()
        except FileNotFoundError:
            continue
        if any(text in raw for text in sought):
            return True
    return False


def _sought(person: Person) -> list[bytes]:
    """As they stand in a line of JSON."""
    texts = [msgspec.json.encode(text) for text in sorted(person.identities | person.names)]
    return [text[1:-1] if len(text) >= _LONG_ENOUGH + 2 else text for text in texts]
