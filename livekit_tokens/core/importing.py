"""Rows of other trackers brought into the ledger, through the same door as a spool: batch by batch, each whole.

A row counts once, however often it is imported: its record has an idempotency key made of the row itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from livekit_tokens.core.foreign_files import Numbered
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.foreign import Foreign, Unmapped, foreign, row_digest
from livekit_tokens.domain.identity import PLAIN, Identities
from livekit_tokens.domain.sessions import Part

BATCH = 1000
_REMEMBERED = 100_000
"""Rows that are the same to the letter are told apart while no more than so many others lie between them."""
SHOWN = 1000
"""So many rows that could not be mapped are kept by name; all are counted."""


class Left(NamedTuple):
    """A row that could not be mapped: where it stands, and why."""

    file: str
    line: int
    reason: str

    def to_dict(self) -> dict[str, object]:
        return {"file": self.file, "line": self.line, "reason": self.reason}


@dataclass(slots=True)
class Imported:
    """What became of the rows. `known` were in the ledger already, `erased` are of people it has forgotten."""

    rows: int = 0
    records: int = 0
    known: int = 0
    erased: int = 0
    unmapped: int = 0
    left: list[Left] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        counts = {name: getattr(self, name) for name in ("rows", "records", "known", "erased", "unmapped")}
        return {**counts, "left": [row.to_dict() for row in self.left]}


class ImportLedger(Protocol):
    """The ledger as an import asks it."""

    async def known(self, found: Sequence[Foreign]) -> set[int]:
        """Which of these, by their place, are in the ledger."""
        ...

    async def erased(self, users: Iterable[str]) -> set[str]:
        """Which of these the ledger has forgotten."""
        ...

    async def parts(self, keys: Iterable[str]) -> Sequence[Part]: ...

    async def apply(self, batch: Batch) -> bool: ...


async def bring(
    files: Iterable[tuple[str, Iterable[Numbered]]],
    ledger: ImportLedger,
    source: Source,
    on_rows: Callable[[int], None],
    *,
    keep: Identities = PLAIN,
    dry_run: bool = False,
) -> Imported:
    """Import the rows of these files; on a dry run, say what would be. Raises LedgerUnavailable: what was brought by
    then is there, and is known when it is tried again.
    """
    done = Imported()
    bringing = _Bringing(ledger, source, done, dry_run=dry_run)
    for file in files:
        for batch in _batches(_mapped(*file, done, keep, source.id)):
            await bringing.bring(batch)
            on_rows(done.rows)
    on_rows(done.rows)
    return done


def _mapped(name: str, rows: Iterable[Numbered], done: Imported, keep: Identities, run: str) -> Iterator[Foreign]:
    seen: OrderedDict[bytes, int] = OrderedDict()
    for line, row, fault in rows:
        done.rows += 1
        reason = fault
        if row is not None:
            digest = row_digest(row)
            seen[digest] = occurrence = seen.pop(digest, 0) + 1
            if len(seen) > _REMEMBERED:
                seen.popitem(last=False)
            try:
                yield foreign(row, occurrence, keep, run=run)
                continue
            except Unmapped as unmapped:
                reason = str(unmapped)
        done.unmapped += 1
        if len(done.left) < SHOWN:
            done.left.append(Left(name, line, reason))


def _batches(found: Iterator[Foreign]) -> Iterator[list[Foreign]]:
    batch: list[Foreign] = []
    for one in found:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(slots=True)
class _Bringing:
    ledger: ImportLedger
    source: Source
    done: Imported
    dry_run: bool
    at: Checkpoint | None = None

    async def bring(self, found: list[Foreign]) -> None:
        erased = await self.ledger.erased({one.part.user for one in found if one.part.user})
        alive = [one for one in found if one.part.user not in erased]
        known = await self.ledger.known(alive)
        fresh = [one for place, one in enumerate(alive) if place not in known]
        self.done.erased += len(found) - len(alive)
        self.done.known += len(known)
        self.done.records += len(fresh)
        if fresh and not self.dry_run:
            await self._write(fresh)

    async def _write(self, fresh: list[Foreign]) -> None:
        parts = {part.key: part for part in await self.ledger.parts({one.part.key for one in fresh})}
        for one in fresh:
            parts[one.part.key] = _widened(parts.get(one.part.key, one.part), one.part)
        first = 1 if self.at is None else self.at.seq + 1
        numbered = tuple(enumerate((one.record for one in fresh), first))
        after = Checkpoint(1, numbered[-1][0], numbered[-1][0])
        if not await self.ledger.apply(Batch(self.source, self.at, after, tuple(parts.values()), (), numbered)):
            raise LedgerUnavailable("the ledger was replaced during the import; import again, what is there stays once")
        self.at = after


def _widened(there: Part, more: Part) -> Part:
    """One part for all rows of a session and user in one import, as long as they tell."""
    ends = [part.ended_at or part.started_at for part in (there, more)]
    begun = min(there.started_at, more.started_at)
    return replace(there, started_at=begun, ended_at=max(ends), user_name=there.user_name or more.user_name)
