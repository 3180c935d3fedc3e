"""The drain: brings a source's spool into the ledger, batch by batch, each with its checkpoint in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.core import faults, replay, spool
from livekit_tokens.core.ledger import START, Batch, Checkpoint, LedgerConnection, Source
from livekit_tokens.core.lines import Head, Late, Line, PartLine, StayLine, Use
from livekit_tokens.core.reading import READ_BYTES, Reading, agrees, read
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.usage import UsageRecord

if TYPE_CHECKING:
    from livekit_tokens.core.daily_logs import DailyLogs

logger = logging.getLogger("livekit_tokens")

_MOST_REFUSALS = 5


@dataclass(slots=True)
class Drained:
    """What a drain brought into the ledger."""

    records: int = 0
    damaged: int = 0
    lost: int = 0
    refused: int = 0


class SpoolDrain:
    """Drains one source over one connection. The checkpoint is read from the ledger once a connection, then followed.

    A new connection means a new SpoolDrain: a failover, a restored backup or a deleted database has an older
    checkpoint, and the drain goes on from there as far as the replay window reaches. `write_on_behind` tells a living
    owner that the ledger knows more of its source than its spool does, `sync` has it bring what it writes to the disk.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        connection: LedgerConnection,
        *,
        piece: int = READ_BYTES,
        logs: DailyLogs | None = None,
        write_on_behind: Callable[[Checkpoint], None] = lambda _: None,
        sync: Callable[[], object] = lambda: None,
    ) -> None:
        self._folder = folder
        self._piece = piece  # bytes a batch: smaller ones leave the interpreter to a call more often
        self._source = source
        self.connection = connection
        self._followed = None if logs is None else logs.of(folder, source.id, connection)
        self._write_on_behind = write_on_behind
        self._sync = sync
        self.acknowledged = replay.NOTHING
        self._known: Checkpoint | None = None  # as the ledger has it
        self._at: Checkpoint | None = None  # how far was read; lines that bring nothing move only this
        self._carried: set[str] | None = None  # parts that a segment begins with, while its beginning is being read

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where the ledger has the source to, as far as it was asked."""
        return self._known

    async def drain(self, *, ended: Checkpoint | None = None, replay_seconds: float = spool.REPLAY_SECONDS) -> Drained:
        """Bring everything that the spool holds now. Raises what the connection raises; nothing is half done then.

        What the ledger has for good, is kept for `replay_seconds` more. `ended`: no owner writes any more, and this is
        where it was seen to end; what is not found up to there is lost.
        """
        done = Drained()
        while await self.drain_piece(done, ended=ended, replay_seconds=replay_seconds):
            pass
        return done

    async def drain_piece(self, done: Drained, *, ended: Checkpoint | None, replay_seconds: float) -> bool:
        """One batch of it, added to what is done; True: there is more."""
        if await self._bring(done, ended):
            return True
        if self._followed is not None:
            await self._followed.catch_up()
        await self._acknowledge(replay_seconds, ended=ended is not None)
        return False

    async def _bring(self, done: Drained, ended: Checkpoint | None) -> bool:
        confirmed = self._at is None
        at = self._at or await self._begin()
        reading = read(self._folder, at.segment, at.offset, self._piece)
        batch = await self._batch(at, reading, is_end=ended is not None and not reading.more)
        if _brings_something(batch):
            if not await self._apply(batch, done):
                return self._begin_again(done)
            confirmed = True
        self._at = batch.after
        done.damaged += len(reading.damaged)
        if reading.damaged:
            faults.note("damaged lines in a spool were passed over", source=self._source.id)
        if reading.more:
            return True
        if ended is not None and batch.after < ended:
            confirmed = await self._miss(batch.after, ended, done)
        # Nothing was brought: a ledger that was restored meanwhile must not wait for this source's next record.
        if confirmed or await self.connection.checkpoint(self._source.id) == self._known:
            return False
        return self._begin_again(done)

    def _begin_again(self, done: Drained) -> bool:
        """The ledger's checkpoint is not where it was followed to (another drain, a restored backup)."""
        self._at = None
        done.refused += 1
        if done.refused == _MOST_REFUSALS:
            raise LedgerUnavailable("another writer keeps moving this source's checkpoint")
        return True

    async def _miss(self, at: Checkpoint, ended: Checkpoint, done: Drained) -> bool:
        """The end that was there is not: somebody has just removed the spool, and no line behind it will say so."""
        self._at = ended
        lost = max(0, ended.seq - at.seq)
        batch = Batch(self._source, self._known, ended, (), (), (), lost=lost, still_open=frozenset())
        return await self._apply(batch, done)

    async def _begin(self) -> Checkpoint:
        """Where to go on: at the ledger's checkpoint, if that is a place of this spool."""
        self._known = known = await self.connection.checkpoint(self._source.id)
        self._carried = None
        at = known or START
        if self._followed is not None:
            self._followed.begin(at.seq)
        replay.take_back(self._folder, at)
        if known is not None and not agrees(self._folder, known):
            faults.note(
                "a spool went back behind the ledger; it is read again from its beginning", source=self._source.id
            )
            self._write_on_behind(known)
            at = Checkpoint(START.segment, START.offset, known.seq)
        self._at = at
        return at

    async def _apply(self, batch: Batch, done: Drained) -> bool:
        if not await self.connection.apply(batch):
            return False
        self._known = batch.after
        done.records += len(batch.records)
        done.lost += batch.lost
        if self._followed is not None and batch.records:
            self._followed.brought({record.part for _, record in batch.records})
        if batch.lost:
            faults.note("records of a spool are lost", source=self._source.id, lost=batch.lost)
        _say(batch)
        return True

    async def _acknowledge(self, replay_seconds: float, *, ended: bool) -> None:
        """Note what the ledger has for good, and remove what it has had for long enough.

        A spool that brought nothing (its owner had only begun) is one whose checkpoint is the start.
        """
        known = self._known or START
        passed = [number for number in spool.segments_of(self._folder) if ended or number < known.segment]
        noted = replay.acknowledged(self._folder)
        if (ended and noted.checkpoint != known) or any(number not in noted.since for number in passed):
            self._sync()  # ends that are not recorded yet stand in the segment after these, too, and there alone soon
            await self.connection.make_durable(self._source.id)
            noted = replay.acknowledge(self._folder, known, passed, time.time())
        self.acknowledged = noted  # also where a full disk did not take the note
        replay.forget(self._folder, noted, time.time(), replay_seconds)

    async def _batch(self, at: Checkpoint, reading: Reading, *, is_end: bool) -> Batch:
        found = _Found(at.seq)
        still_open: frozenset[str] | None = None
        for line, _, _ in reading.lines:
            if (opened := self._open_at(line)) is not None:  # nothing at all, as a rule: a process has one call
                still_open = opened
            found.take(line)
        if is_end and self._carried is not None:
            still_open, self._carried = frozenset(self._carried), None
        conflicts = await self._conflicts(found)
        return Batch(
            source=self._source,
            before=self._known,
            after=Checkpoint(reading.segment, reading.offset, found.seq),
            parts=tuple(found.parts.values()),
            stays=tuple(found.stays.values()),
            records=tuple(found.records.items()),
            lost=found.missing + conflicts,
            still_open=None if still_open is None else still_open | found.parts.keys(),
            late=tuple(found.late),
        )

    async def _conflicts(self, found: _Found) -> int:
        """How many records have a number that another one has: of a living owner whose spool was taken over, as on a
        volume without locks between hosts, or of one that went back to a snapshot.

        The same record twice is none: it is in the ledger, or a short write had taken all of it but its newline, and
        it was written again. What counts once a session is looked up by other means.
        """
        doubtful = [
            (seq, record)
            for seq, record in found.repeated
            if found.records.get(seq) != record and record.idempotency_key is None
        ]
        lacking = await self.connection.lacks(self._source.id, doubtful) if doubtful else 0
        if lacking:
            faults.note("records have numbers that others have already: two processes wrote one spool, or it went back")
        return lacking

    def _open_at(self, line: Line) -> frozenset[str] | None:
        """All parts that were open where a segment begins, once the last of those lines has been read."""
        if isinstance(line, Head):
            self._carried = set() if line.segment > START.segment else None
        elif self._carried is not None:
            if isinstance(line, PartLine):
                self._carried.add(line.part.key)
            else:
                carried, self._carried = self._carried, None
                return frozenset(carried)
        return None


@dataclass(slots=True)
class _Found:
    """What is found behind a place with this number: `missing` records are told of and not there, `repeated` have a
    number that was given before.
    """

    seq: int
    missing: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    stays: dict[tuple[str, str], Stay] = field(default_factory=dict)
    records: dict[int, UsageRecord] = field(default_factory=dict)
    repeated: list[tuple[int, UsageRecord]] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)

    def take(self, line: Line) -> None:
        match line:
            case Use() if line.seq <= self.seq:
                self.repeated.append((line.seq, line.record))
            case Use():
                self._reach(line.seq - 1)
                self.seq = line.seq
                self.records[line.seq] = line.record
            case Head():
                # Without it, damage at the very end of a segment would be counted as damaged lines only.
                self._reach(line.seq)
            case PartLine():
                self.parts[line.part.key] = line.part
                self._reach(line.seq)
            case StayLine():
                self.stays[line.stay.part, line.stay.sid] = line.stay
            case Late():
                self.late.append(line)

    def _reach(self, seq: int) -> None:
        """All numbers up to this one had been given."""
        self.missing += max(0, seq - self.seq)
        self.seq = max(self.seq, seq)


def _say(batch: Batch) -> None:
    counts = {"records": len(batch.records), "parts": len(batch.parts), "stays": len(batch.stays), "lost": batch.lost}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    logger.debug("a batch is in the ledger: %s", told, extra={"source": batch.source.id, **counts})


def _brings_something(batch: Batch) -> bool:
    return bool(batch.parts or batch.stays or batch.records or batch.lost or batch.late or batch.still_open is not None)
