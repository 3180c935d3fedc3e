"""The recorder: numbers what capture settled and appends it to this process's spool before the callback returns."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from livekit_tokens.core import faults, spool
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Head, Line, More, PartLine, Pend, StayLine, Use, to_bytes
from livekit_tokens.core.tally import NO_PRICES, Tally
from livekit_tokens.domain.pricing import Prices
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

logger = logging.getLogger("livekit_tokens")

_BACKLOG_LINES = 20_000
_RETRY_SECONDS = 0.2
_AT_ONCE = 32
"""Lines that waited for a failing disk are written so many at a time, so that nobody waits for all of them."""
_OPEN = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class Recording(Protocol):
    """What capture needs of a recorder."""

    def put_part(self, part: Part) -> None: ...
    def put_stay(self, stay: Stay) -> None: ...
    def record(self, record: UsageRecord, settles: str | None = None) -> int: ...
    def pend(self, pend: Pend) -> None: ...
    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None: ...
    def tally(self, part: str) -> Tally: ...
    def sync(self) -> bool: ...


class Unrecorded:
    """In place of a Recorder when tracking is off or no folder can be written: sums in memory, and nothing else."""

    def __init__(self, prices: Prices = NO_PRICES) -> None:
        self._prices = prices
        self._tallies: dict[str, Tally] = {}

    def put_part(self, part: Part) -> None:
        if part.status == "open":
            self._tallies.setdefault(part.key, Tally(self._prices))
        else:
            self._tallies.pop(part.key, None)

    def put_stay(self, stay: Stay) -> None: ...

    def record(self, record: UsageRecord, settles: str | None = None) -> int:  # noqa: ARG002
        self.tally(record.part).add(record)
        return 0

    def pend(self, pend: Pend) -> None: ...

    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None: ...

    def tally(self, part: str) -> Tally:
        return self._tallies.get(part) or Tally()

    def sync(self) -> bool:
        return True


class Recorder:
    """Owner of one source: its spool, its numbers, its open parts and the requests in flight.

    Every method is synchronous, thread-safe, does not raise for a full or broken disk, and costs microseconds:
    one `write` a line, no fsync. What a failing disk refuses is kept in memory up to a bound and written when the
    disk is back; what even that cannot hold is counted in `unkept`.
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
        self.folder, self._lock_fd = spool.create(root, source.id)
        self._now = now
        self._on_written = on_written
        self._lock = threading.Lock()
        self._seq = 0
        self._segment = 0
        self._size = 0
        self._fd = -1
        self._torn = False
        self._backlog: deque[bytes] = deque()
        self._retry_at = 0.0
        self._retired: list[int] = []
        self._parts: dict[str, Part] = {}
        self._stays: dict[tuple[str, str], Stay] = {}
        self._tallies: dict[str, Tally] = {}
        self._pending: dict[str, Pend] = {}
        self._progress: dict[str, More] = {}
        self.unkept = 0
        with self._lock:
            self._rotate()

    # -- what capture says ---------------------------------------------------------------------------------------

    def put_part(self, part: Part) -> None:
        """Open a part, change what is known of it, or close it: the line is the part as it is now."""
        with self._lock:
            if part.ended_at is not None:
                self._end_stays(part.key, part.ended_at)
            self._append(PartLine(self._now(), part, self._seq))
            if part.status == "open":
                self._parts[part.key] = part
                self._tallies.setdefault(part.key, Tally(self._prices))
            else:
                self._forget(part.key)
        self._on_written()

    def put_stay(self, stay: Stay) -> None:
        """A participant came or left: the line is the stay as it is now."""
        with self._lock:
            self._append(StayLine(self._now(), stay))
            if stay.left_at is None:
                self._stays[stay.part, stay.sid] = stay
            else:
                self._stays.pop((stay.part, stay.sid), None)
        self._on_written()

    def record(self, record: UsageRecord, settles: str | None = None) -> int:
        """Number a record and make it survive the process; returns its number. `settles` ends a pending request."""
        with self._lock:
            seq = self._seq + 1
            self._append(Use(seq, record, settles))
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
            self._append(pend)

    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None:
        """Output of a request in flight has arrived: all of it so far, in counts."""
        line = More(pending, at, audio_ms, tokens)
        with self._lock:
            if pending in self._pending:
                self._progress[pending] = line
                self._append(line, keep=False)

    def tally(self, part: str) -> Tally:
        """The running sums of an open part."""
        return self._tallies.get(part) or Tally()

    def open_parts(self) -> list[Part]:
        with self._lock:
            return list(self._parts.values())

    # -- what the background says --------------------------------------------------------------------------------

    def sync(self) -> bool:
        """Write what is left over and fsync; blocks for the disk, so never on a call's loop. True: all is durable."""
        self._write_whole_backlog()
        with self._lock:
            done = not self._backlog
            fd = os.dup(self._fd) if self._fd >= 0 else -1
        self._sync_retired()
        if fd < 0:
            return False
        try:
            os.fsync(fd)
        except OSError as error:
            faults.note("spool could not be synced", error)
            done = False
        finally:
            os.close(fd)
        return done

    def tend(self) -> None:
        """Background housekeeping: retry what a failing disk refused, fsync what was rotated away."""
        self._write_whole_backlog()
        self._sync_retired()

    def aclose_files(self) -> None:
        """Give the source up: whoever takes its lock next may finish it."""
        self._sync_retired()
        with self._lock:
            for fd in (self._fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._lock_fd = -1

    def disown(self) -> None:
        """In a forked child: let go of the parent's files, without touching the parent's lock."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    # -- writing, with the lock held -----------------------------------------------------------------------------

    def _append(self, line: Line, *, keep: bool = True) -> None:
        if self._size >= spool.SEGMENT_BYTES and not self._backlog:
            self._rotate()
        raw = to_bytes(line)
        if self._backlog and time.monotonic() >= self._retry_at:
            self._write_backlog()
        if not self._backlog and self._write(raw):
            return
        if not keep:
            return
        if len(self._backlog) < _BACKLOG_LINES:
            self._backlog.append(raw)
        else:
            self.unkept += 1
            faults.note("spool cannot be written and memory for it is full: a line was dropped")

    def _write(self, raw: bytes) -> bool:
        if self._torn:
            raw = b"\n" + raw
        try:
            written = os.write(self._fd, raw)
        except OSError as error:
            faults.note("spool cannot be written", error)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return False
        self._size += written
        if written == len(raw):
            self._torn = False
            return True
        # A short write leaves a torn line behind; the next one begins with a newline, and readers go on there.
        self._torn = True
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        faults.note("spool took only part of a line; it will be written again")
        return False

    def _write_backlog(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._backlog or not self._write(self._backlog[0]):
                return
            self._backlog.popleft()

    def _write_whole_backlog(self) -> None:
        """Piece by piece, so that a call that writes meanwhile waits for one piece only."""
        left = len(self._backlog) + 1
        while self._backlog and len(self._backlog) < left:
            left = len(self._backlog)
            with self._lock:
                self._write_backlog()

    def _rotate(self) -> None:
        """Begin a new segment with all that a reader needs who has only this one."""
        path = spool.segment_path(self.folder, self._segment + 1)
        try:
            fd = os.open(path, _OPEN, 0o600)
        except OSError as error:
            faults.note("spool cannot begin a new segment", error)
            if self._fd < 0:
                raise
            self._size = spool.SEGMENT_BYTES - (1 << 16)  # go on in the old one, try again a little later
            return
        if self._fd >= 0:
            self._retired.append(self._fd)
        self._fd, self._size, self._torn = fd, 0, False
        self._segment += 1
        for line in self._carried():
            raw = to_bytes(line)
            if self._backlog or not self._write(raw):
                self._backlog.append(raw)
        self._size = min(self._size, spool.SEGMENT_BYTES // 2)  # many open parts must not make every line rotate

    def _carried(self) -> Iterable[Line]:
        source, at = self.source, self._now()
        yield Head(source.id, source.host, source.pid, source.started_at, self._segment, self._seq, source.ledger)
        yield from (PartLine(at, part, self._seq) for part in self._parts.values())
        yield from (StayLine(at, stay) for stay in self._stays.values())
        yield from self._pending.values()
        yield from self._progress.values()

    def _forget(self, part: str) -> None:
        self._parts.pop(part, None)
        self._tallies.pop(part, None)

    def _end_stays(self, part: str, at: Micros) -> None:
        """Who is still there when a part ends, left it then."""
        for key in [key for key in self._stays if key[0] == part]:
            self._append(StayLine(at, replace(self._stays.pop(key), left_at=at)))

    def _sync_retired(self) -> None:
        with self._lock:
            retired, self._retired = self._retired, []
        for fd in retired:
            try:
                os.fsync(fd)
            except OSError as error:
                faults.note("spool could not be synced", error)
            finally:
                os.close(fd)


def _say(seq: int, record: UsageRecord) -> None:
    fields = {"part": record.part, "seq": seq, "units": dict(record.units), "provenance": record.provenance}
    logger.debug("a record was written: %s %s", record.service, record.model, extra=fields)
