"""The recorder: numbers what capture settled and appends it to this process's spool before the callback returns."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from livekit_tokens.core import faults
from livekit_tokens.core.charges import charges_of
from livekit_tokens.core.ends import MOST, End, Ends, Make, Write
from livekit_tokens.core.ledger import Checkpoint, Source
from livekit_tokens.core.lines import FORMAT, Done, Head, Late, Line, More, PartLine, Pend, StayLine, Unpend, Use
from livekit_tokens.core.tally import NO_PRICES, Tally
from livekit_tokens.core.writer import SpoolWriter
from livekit_tokens.domain.pricing import Prices
from livekit_tokens.domain.sessions import Part, Stay, left
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

logger = logging.getLogger("livekit_tokens")

_MOST_LATER = 64


class Recorder:
    """Owner of one source: its spool, its numbers, its open parts and the requests in flight.

    Every method is synchronous, thread-safe, does not raise for a full or broken disk, and costs microseconds:
    one `write` a line, no fsync. What a failing disk refuses is kept in memory up to a bound and written when the
    disk is back; records that even that cannot hold are counted in `unkept`.
    """

    def __init__(
        self,
        root: Path,
        source: Source,
        now: Callable[[], Micros],
        on_written: Callable[[], None] = lambda: None,
        *,
        prices: Prices = NO_PRICES,
    ) -> None:
        self.source = source
        self._prices = prices
        self._now = now
        self._on_written = on_written
        self._seq = 0
        self._parts: dict[str, Part] = {}
        self._stays: dict[tuple[str, str], Stay] = {}
        self._tallies: dict[str, Tally] = {}
        self._pending: dict[str, Pend] = {}
        self._progress: dict[str, More | Done] = {}
        self._ends = Ends()
        self._later: deque[Callable[[], None]] = deque(maxlen=_MOST_LATER)
        self.unkept = 0
        self._writer = SpoolWriter(root, source.id, self._carried)
        self._lock = self._writer.lock

    @property
    def folder(self) -> Path:
        return self._writer.folder

    # -- what capture says ---------------------------------------------------------------------------------------

    def put_part(self, part: Part) -> None:
        """Open a part, change what is known of it, or close it: the line is the part as it is now."""
        with self._lock:
            if part.ended_at is not None:
                self._end_stays(part.key, part.ended_at)
            self._keep(PartLine(self._now(), part, self._seq))
            if part.status == "open":
                self._parts[part.key] = part
                self._tallies.setdefault(part.key, Tally(self._prices))
            else:
                self._forget(part.key)
        self._on_written()

    def put_stay(self, stay: Stay) -> None:
        """A participant came or left: the line is the stay as it is now."""
        with self._lock:
            self._keep(StayLine(self._now(), stay))
            # A telephone's stay is billed when the part ends.
            if stay.left_at is None or stay.sip:
                self._stays[stay.part, stay.sid] = stay
            else:
                self._stays.pop((stay.part, stay.sid), None)
        self._on_written()

    def record(self, record: UsageRecord, settles: str | None = None) -> int:
        """Number a record and make it survive the process; returns its number. `settles` ends a pending request."""
        with self._lock:
            seq = self._seq + 1
            if not self._writer.append(Use(seq, record, settles)):
                self.unkept += 1
                faults.note("spool cannot be written and memory for it is full: a record was dropped")
            self._seq = seq  # after: a segment that begins with this line says what was before it
            if settles is not None:
                self._pending.pop(settles, None)
                self._progress.pop(settles, None)
            tally = self._tallies.get(record.part)
            if tally is not None:
                tally.add(record)
        self._on_written()
        if logger.isEnabledFor(logging.DEBUG):
            _say(seq, record)
        return seq

    def pend(self, pend: Pend) -> None:
        """A request is in flight. It is never counted unless it is settled, by its figures or by an estimate."""
        with self._lock:
            self._pending[pend.id] = pend
            self._progress.pop(pend.id, None)
            if not self._writer.append(pend):
                faults.note("spool cannot be written and memory for it is full: a request in flight is not known")

    def more(self, more: More) -> None:
        """Output of a request in flight has arrived: all of it so far, in counts."""
        with self._lock:
            if more.id in self._pending:
                self._progress[more.id] = more
                self._writer.append(more, patience=0)

    def done(self, done: Done, make: Make, write: Write) -> None:
        """The provider has told the end of a request in flight. It survives the process from now on, and counts; the
        record that it comes to is made, and given to `write`, aside.

        At once where that cannot be written down, or a record that was told by hand has ended the request before.
        """
        end = End(done, make, write)
        with self._lock:
            pend = self._pending.get(done.id)
            is_aside = pend is not None and self._writer.append(done)
            if pend is not None and is_aside:
                self._progress[done.id] = done
                end.part = pend.record.part
                self._ends.add(end)
        if not is_aside:
            write(end.record(), done.id)
            return
        if len(self._ends) > MOST:
            self._ends.record_one()
        self._on_written()

    def make_records(self) -> None:
        """Have the records of all that is done."""
        while self._ends.record_one():
            pass

    def unmade(self, part: str) -> list[UsageRecord]:
        """What a part's requests come to that are done and not recorded yet; waits for nobody."""
        return self._ends.records_of(part)

    def unpend(self, pending: str) -> None:
        """A request that was expected never began."""
        with self._lock:
            self._progress.pop(pending, None)
            if self._pending.pop(pending, None) is not None:
                self._writer.append(Unpend(pending))

    def in_flight(self, part: str) -> list[Micros]:
        """When the requests began that a part has in flight."""
        with self._lock:
            return [pend.at for pend in self._pending.values() if pend.record.part == part]

    def hand_over(self, part: str, to: str) -> None:
        """What one part has in flight is another's from now on, with all that has come of it."""
        with self._lock:
            for pend in [pend for pend in self._pending.values() if pend.record.part == part]:
                moved = msgspec.structs.replace(pend, record=replace(pend.record, part=to))
                self._pending[pend.id] = moved
                self._writer.append(moved)
                if (progress := self._progress.get(pend.id)) is not None:
                    self._writer.append(progress, patience=0)

    def late(self, late: Late) -> None:
        """Figures came after the estimate of their request was written."""
        with self._lock:
            self._writer.append(late)
        self._on_written()

    def later(self, work: Callable[[], None]) -> None:
        """Work that a call's loop need not do: done by `tend`. The oldest gives way where that does not come."""
        self._later.append(work)

    def tally(self, part: str) -> Tally:
        """The running sums of an open part."""
        return self._tallies.get(part) or Tally()

    def charges(self, part: Part) -> list[UsageRecord]:
        """What its minutes cost an open part that is about to end so; to be recorded before it does."""
        assert part.ended_at is not None
        wanted = self._prices.session_charges(part.ended_at)
        with self._lock:
            return charges_of(part, self._stays.values(), wanted) if part.key in self._parts else []

    def open_parts(self) -> list[Part]:
        with self._lock:
            return list(self._parts.values())

    # -- what the background says --------------------------------------------------------------------------------

    def sync(self) -> bool:
        """Write what is left over and fsync; blocks for the disk, so never on a call's loop. True: all is durable."""
        return self._writer.sync()

    def begin_segment(self) -> None:
        """Write on in a new segment of the spool; blocks for the disk."""
        self._writer.begin_segment()

    def write_on_behind(self, known: Checkpoint) -> None:
        """The ledger knows more of this source than its spool does: the process or its disk went back to a snapshot.
        What comes now has places and numbers that the ledger does not know yet.
        """
        with self._lock:
            self._seq = max(self._seq, known.seq)
            self._writer.write_on_behind(known.segment, known.seq)

    def tend(self) -> None:
        """Background housekeeping: retry what a failing disk refused, fsync what was rotated away, sum up what came,
        do what calls have left to it.

        The drain follows: what is summed up here is to have the prices that it is about to have there.
        """
        self._writer.tend()
        self._prices.look()
        self.make_records()
        with self._lock:
            tallies = list(self._tallies.values())
        for tally in tallies:
            tally.sum_up()
        while self._later:
            work = self._later.popleft()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - one call's fault
                faults.note("what a call had left to the background failed", error)

    @property
    def records(self) -> int:
        """How many were recorded, those that are about to be and those that could not be kept included."""
        return self._seq + len(self._ends)

    @property
    def has_unmade(self) -> bool:
        """Whether anything is done whose record is not made yet."""
        return len(self._ends) > 0

    @property
    def waiting_bytes(self) -> int:
        """Lines that are in memory and not on disk, as the disk refuses them."""
        return self._writer.waiting_bytes

    @property
    def disk_full(self) -> bool:
        """Whether the disk said so when it was last written to."""
        return self._writer.disk_full

    def disown(self) -> None:
        """Let go of the files as they are: in a forked child the parent's, whose lock is not touched."""
        self._ends = Ends()
        self._writer.let_go()

    # -- with the lock held --------------------------------------------------------------------------------------

    def _keep(self, line: Line) -> None:
        """Lines of parts and people are few, and without them records belong to nobody: they get more room."""
        if not self._writer.append(line, patience=2):
            faults.note("spool cannot be written and memory for it is full: what is known of a call was dropped")

    def _carried(self, segment: int, seq: int) -> Iterable[Line]:
        """What a segment begins with, whose last record before it has that number."""
        source, at = self.source, self._now()
        yield Head(source.id, source.host, source.pid, source.started_at, segment, seq, source.ledger, FORMAT)
        yield from (PartLine(at, part, seq) for part in self._parts.values())
        yield from (StayLine(at, stay) for stay in self._stays.values())
        yield from self._pending.values()
        yield from self._progress.values()

    def _forget(self, part: str) -> None:
        self._parts.pop(part, None)
        self._tallies.pop(part, None)

    def _end_stays(self, part: str, at: Micros) -> None:
        """Who is still there when a part ends, left it then."""
        for key in [key for key in self._stays if key[0] == part]:
            stay = self._stays.pop(key)
            if stay.left_at is None:
                self._keep(StayLine(at, left(stay, at)))


def _say(seq: int, record: UsageRecord) -> None:
    fields = {"part": record.part, "seq": seq, "units": dict(record.units), "provenance": record.provenance}
    logger.debug("a record was written: %s %s", record.service, record.model, extra=fields)
