"""The drain: brings a source's spool into the ledger, batch by batch, each with its checkpoint in one transaction."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.core import faults, spool
from livekit_tokens.core.ledger import START, Batch, Checkpoint, LedgerConnection, Source
from livekit_tokens.core.lines import Head, Late, Line, PartLine, StayLine, Use
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


class SpoolDrain:
    """Drains one source over one connection. The checkpoint is read from the ledger once a connection, then followed.

    A new connection means a new SpoolDrain: a failover, a restored backup or a deleted database has an older
    checkpoint, and the drain goes on from there as far as the replay window reaches.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        connection: LedgerConnection,
        piece: int = spool.READ_BYTES,
        logs: DailyLogs | None = None,
    ) -> None:
        self._folder = folder
        self._piece = piece  # bytes a batch: smaller ones leave the interpreter to a call more often
        self._source = source
        self._connection = connection
        self._followed = None if logs is None else logs.of(folder, source.id, connection)
        self._known: Checkpoint | None = None  # as the ledger has it
        self._at: Checkpoint | None = None  # how far was read; lines that bring nothing move only this
        self._gap = 0
        self._carried: set[str] | None = None  # parts that a segment begins with, while its beginning is being read

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where the ledger has the source to, as far as it was asked."""
        return self._known

    async def drain(self) -> Drained:
        """Bring everything that the spool holds now. Raises what the connection raises; nothing is half done then."""
        done = Drained()
        refusals = 0
        while True:
            at = self._at or await self._begin()
            reading = spool.read(self._folder, at.segment, at.offset, self._piece)
            batch = self._batch(at, reading)
            if _brings_something(batch):
                if not await self._connection.apply(batch):
                    refusals += 1
                    self._at = None
                    if refusals >= _MOST_REFUSALS:
                        raise LedgerUnavailable("another writer keeps moving this source's checkpoint")
                    continue
                self._known = batch.after
                done.records += len(batch.records)
                done.lost += batch.lost
                self._gap = 0
                if self._followed is not None and batch.records:
                    self._followed.brought({record.part for _, record in batch.records})
                _say(batch)
            self._at = batch.after
            done.damaged += reading.damaged
            if reading.damaged:
                faults.note("damaged lines in a spool were passed over", source=self._source.id)
            if not reading.more:
                break
        if self._followed is not None:
            await self._followed.catch_up()
        if self._known is not None:
            spool.forget_acknowledged(self._folder, self._known, time.time())
        return done

    async def _begin(self) -> Checkpoint:
        """Where to go on: at the ledger's checkpoint, or at the oldest segment that is still kept."""
        self._known = known = await self._connection.checkpoint(self._source.id)
        at = known or START
        if self._followed is not None:
            self._followed.begin(at.seq)
        kept = spool.segments_of(self._folder)
        self._gap = 0
        self._carried = None
        if kept and kept[0] > at.segment:
            head = spool.head_of(self._folder, kept[0])
            self._gap = max(0, head.seq - at.seq) if head else 0
            at = Checkpoint(kept[0], 0, head.seq if head else at.seq)
            faults.note("the ledger is older than what the spool still keeps", source=self._source.id, lost=self._gap)
        self._at = at
        return at

    def _batch(self, at: Checkpoint, reading: spool.Reading) -> Batch:
        parts: dict[str, Part] = {}
        stays: dict[tuple[str, str], Stay] = {}
        records: list[tuple[int, UsageRecord]] = []
        late: list[Late] = []
        seq, missing = at.seq, 0
        still_open: frozenset[str] | None = None
        for found in reading.lines:
            line = found.line
            still_open = self._open_at(line) or still_open
            if isinstance(line, Use):
                if line.seq <= seq:  # a short write had taken all of it but the newline, and it was written again
                    continue
                missing += line.seq - seq - 1
                seq = line.seq
                records.append((seq, line.record))
            elif isinstance(line, Head):
                # It says what was written before it: without this, damage at the very end of a source would be
                # counted as damaged lines, and not as lost records.
                missing += max(0, line.seq - seq)
                seq = max(seq, line.seq)
            elif isinstance(line, PartLine):
                parts[line.part.key] = line.part
                missing += max(0, line.seq - seq)
                seq = max(seq, line.seq)
            elif isinstance(line, StayLine):
                stays[line.stay.part, line.stay.sid] = line.stay
            elif isinstance(line, Late):
                late.append(line)
        return Batch(
            source=self._source,
            before=self._known,
            after=Checkpoint(reading.segment, reading.offset, seq),
            parts=tuple(parts.values()),
            stays=tuple(stays.values()),
            records=tuple(records),
            lost=self._gap + missing,
            still_open=None if still_open is None else still_open | parts.keys(),
            late=tuple(late),
        )

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


def _say(batch: Batch) -> None:
    counts = {"records": len(batch.records), "parts": len(batch.parts), "stays": len(batch.stays), "lost": batch.lost}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    logger.debug("a batch is in the ledger: %s", told, extra={"source": batch.source.id, **counts})


def _brings_something(batch: Batch) -> bool:
    return bool(batch.parts or batch.stays or batch.records or batch.lost or batch.late or batch.still_open is not None)
