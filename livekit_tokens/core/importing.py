"""Rows of other trackers brought into the ledger, through the same door as a spool: batch by batch, each whole.

A row counts once, however often it is imported: its record has an idempotency key made of the row's id, or, where it
has none, of the row itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from livekit_tokens.core.foreign_files import Numbered
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.foreign import Foreign, Terms, foreign, row_digest
from livekit_tokens.domain.foreign_cells import Unmapped
from livekit_tokens.domain.growth import Known, growth
from livekit_tokens.domain.sessions import Part

BATCH = 1000
_REMEMBERED = 100_000
"""Rows that are the same to the letter are told apart while no more than so many others lie between them."""
SHOWN = 1000
"""So many rows that could not be imported are kept by name; all are counted."""


class Left(NamedTuple):
    """A row that could not be imported: where it stands, and why."""

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

    def leave(self, file: str, line: int, reason: str) -> None:
        self.unmapped += 1
        if len(self.left) < SHOWN:
            self.left.append(Left(file, line, reason))

    def to_dict(self) -> dict[str, object]:
        counts = {name: getattr(self, name) for name in ("rows", "records", "known", "erased", "unmapped")}
        return {**counts, "left": [row.to_dict() for row in self.left]}


class ImportLedger(Protocol):
    """The ledger as an import asks it."""

    async def known(self, found: Sequence[Foreign]) -> Mapping[int, Known]:
        """Which of these, by their place, are in the ledger, and what it has of them."""
        ...

    async def erased(self, found: Sequence[Foreign]) -> set[int]:
        """Which of these, by their place, are of people whom the ledger has forgotten since."""
        ...

    async def parts(self, keys: Iterable[str]) -> Sequence[Part]: ...

    async def apply(self, batch: Batch) -> bool: ...


class _Found(NamedTuple):
    line: int
    row: Foreign


async def bring(
    files: Iterable[tuple[str, Iterable[Numbered]]],
    ledger: ImportLedger,
    source: Source,
    on_rows: Callable[[int], None],
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    dry_run: bool = False,
    done: Imported | None = None,
) -> Imported:
    """Import the rows of these files; on a dry run, say what would be. Raises LedgerUnavailable: what was brought by
    then is there, and is known when it is tried again. It is counted in `done`, also for who is interrupted.
    """
    done = Imported() if done is None else done
    bringing = _Bringing(ledger, source, done, dry_run=dry_run)
    for name, rows in files:
        for batch in _batches(_mapped(name, rows, done, terms._replace(run=source.id))):
            await bringing.bring(name, batch)
            on_rows(done.rows)
    on_rows(done.rows)
    return done


def _mapped(name: str, rows: Iterable[Numbered], done: Imported, terms: Terms) -> Iterator[_Found]:
    seen: OrderedDict[bytes, int] = OrderedDict()
    for line, row, fault in rows:
        done.rows += 1
        if row is None:
            done.leave(name, line, fault)
            continue
        digest = row_digest(row)
        seen[digest] = occurrence = seen.pop(digest, 0) + 1
        if len(seen) > _REMEMBERED:
            seen.popitem(last=False)
        try:
            found = foreign(row, occurrence, terms)
        except Unmapped as unmapped:
            done.leave(name, line, str(unmapped))
            continue
        if found.identified and occurrence > 1:
            done.known += 1
        else:
            yield _Found(line, found)


def _batches(found: Iterator[_Found]) -> Iterator[list[_Found]]:
    """Rows of one id come in different batches: what the second adds to the first, the ledger tells. What was read
    before a file turned out to be damaged is a batch too.
    """
    batch: dict[str | None, _Found] = {}
    fault: LedgerUnavailable | None = None
    try:
        for one in found:
            key = one.row.record.idempotency_key
            if len(batch) == BATCH or key in batch:
                yield list(batch.values())
                batch = {}
            batch[key] = one
    except LedgerUnavailable as damaged:
        fault = damaged
    if batch:
        yield list(batch.values())
    if fault is not None:
        raise fault


@dataclass(slots=True)
class _Bringing:
    ledger: ImportLedger
    source: Source
    done: Imported
    dry_run: bool
    at: Checkpoint | None = None

    async def bring(self, name: str, found: list[_Found]) -> None:
        erased = await self.ledger.erased([one.row for one in found])
        alive = [one for place, one in enumerate(found) if place not in erased]
        known = await self.ledger.known([one.row for one in alive])
        fresh = [one.row for place, one in enumerate(alive) if place not in known]
        there = 0
        for place, known_as in known.items():
            line, row = alive[place]
            try:
                more = growth(row, known_as)
            except Unmapped as changed:
                self.done.leave(name, line, str(changed))
                continue
            if more is None:
                there += 1
            else:
                fresh.append(more)
        self.done.erased += len(found) - len(alive)
        self.done.known += there
        if fresh and not self.dry_run:
            await self._write(fresh)
        else:
            self.done.records += len(fresh)

    async def _write(self, fresh: list[Foreign]) -> None:
        parts = {part.key: part for part in await self.ledger.parts({one.part.key for one in fresh})}
        for one in fresh:
            parts[one.part.key] = _widened(parts.get(one.part.key, one.part), one.part)
        first = 1 if self.at is None else self.at.seq + 1
        numbered = tuple(enumerate((one.record for one in fresh), first))
        after = Checkpoint(1, numbered[-1][0], numbered[-1][0])
        batch = Batch(self.source, self.at, after, tuple(parts.values()), (), numbered)
        writing = asyncio.ensure_future(self.ledger.apply(batch))
        try:
            written = await asyncio.shield(writing)
        except asyncio.CancelledError:  # the batch ends, so that it can be said how far the import came
            self.done.records += len(fresh) if await writing else 0
            raise
        if not written:
            raise LedgerUnavailable("the ledger was replaced during the import; import again, what is there stays once")
        self.at = after
        self.done.records += len(fresh)


def _widened(there: Part, more: Part) -> Part:
    """One part for all rows of a session and user in one import, as long as they tell."""
    ends = [part.ended_at or part.started_at for part in (there, more)]
    begun = min(there.started_at, more.started_at)
    return replace(there, started_at=begun, ended_at=max(ends), user_name=there.user_name or more.user_name)
