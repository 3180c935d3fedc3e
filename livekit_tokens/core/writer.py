"""The writer's end of a spool: lines are appended to the newest segment, whatever the disk does."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from livekit_tokens.core import faults, spool
from livekit_tokens.core.files import OPEN, copied, folder_synced, rewrite, synced
from livekit_tokens.core.lines import Line, Use, to_bytes

WAITING_BYTES = 8 << 20
"""Lines that a failing disk refuses wait in memory up to so much: about 18,000 records."""

_RETRY_SECONDS = 0.2
_AT_ONCE = 32
"""Lines that waited for a failing disk are written so many at a time, so that nobody waits for all of them."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


_Encoded = tuple[bytes, int]
"""A line as bytes, and a record's number, 0 for other lines. No class: one is made at every event of a call."""


class _Retired(NamedTuple):
    """A segment that was rotated away and may not be on the disk yet; `fd` is -1 once an fsync of it has failed."""

    segment: int
    fd: int


class SpoolWriter:
    """A source's folder, its lock and its newest segment.

    `append` is for callers that hold `lock`; everything else takes it. Nothing here raises for a full or broken disk.
    `begin(segment, seq)` gives the lines that every segment begins with; `seq` is the last record's number before it.
    """

    def __init__(self, root: Path, source: str, begin: Callable[[int, int], Iterable[Line]]) -> None:
        self.folder, self._lock_fd = spool.create(root, source)
        self.lock = threading.Lock()
        self.disk_full = False
        self._begin = begin
        self._segment = 0
        self._seq = 0  # of the last record on disk
        self._size = 0
        self._fd = -1
        self._torn = False
        self._is_fresh, self._begun_at = True, 0.0  # nothing but what a segment begins with; since when (monotonic)
        self._waiting: deque[_Encoded] = deque()
        self._waiting_bytes = 0
        self._retry_at = 0.0
        self._unsynced: list[_Retired] = []
        self._syncing = threading.Lock()  # before `lock`: who syncs lets others write, and nobody close a file
        self._entered = 0  # the newest segment whose name is on disk for certain
        with self.lock:
            self._rotate()

    @property
    def waiting_bytes(self) -> int:
        """What is in memory and not on disk."""
        return self._waiting_bytes

    def append(self, line: Line, patience: int = 1) -> bool:
        """Write a line, or let it wait while `patience` x WAITING_BYTES are not there yet; False: it is dropped."""
        raw, seq = to_bytes(line), line.seq if type(line) is Use else 0
        if self._waiting and time.monotonic() >= self._retry_at:
            self._write_waiting()
        if not self._waiting and self._write_in_turn(raw, seq):
            return True
        if self._fd < 0 or self._waiting_bytes >= patience * WAITING_BYTES:  # let go of: no disk will be back for it
            return False
        self._waiting.append((raw, seq))
        self._waiting_bytes += len(raw)
        return True

    def write_on_behind(self, segment: int, seq: int) -> None:
        """Begin a segment behind this one and this number; for callers that hold `lock`, like `append`."""
        self._seq = max(self._seq, seq)
        self._rotate(segment)

    # -- what the background says ---------------------------------------------------------------------------------

    def tend(self) -> None:
        """Retry what a failing disk refused, fsync what was rotated away, see that the files are still there.

        A segment that is as old as the replay window is ended, too: what a quiet process once wrote goes with it.
        """
        self._restore_if_gone()
        self._write_all_waiting()
        with self.lock:
            if time.monotonic() - self._begun_at >= spool.REPLAY_SECONDS:
                self._begin_another()
        with self._syncing:
            self._sync_retired()

    def begin_segment(self) -> None:
        """Write on in a new segment, so that the one before may go."""
        with self.lock:
            self._begin_another()
        with self._syncing:
            self._sync_retired()

    def sync(self) -> bool:
        """Write what is left over and fsync; blocks for the disk. True: all is durable."""
        self._write_all_waiting()
        with self._syncing:
            with self.lock:
                done, fd, segment = not self._waiting, self._fd, self._segment
            if not self._sync_retired() or fd < 0:
                return False
            if not synced(fd):
                self._distrust(segment)
                return False
            return self._name_synced(segment) and done

    def let_go(self) -> None:
        """Close the files as they are, without touching the lock: what a forked child does with its parent's."""
        for fd in (self._fd, self._lock_fd, *(retired.fd for retired in self._unsynced)):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1
        self._size = 0  # no new segment: this one and its successors are the owner's
        self._unsynced = []

    # -- with the lock held ---------------------------------------------------------------------------------------

    def _write_in_turn(self, raw: bytes, seq: int) -> bool:
        return (self._size < spool.SEGMENT_BYTES or self._rotate()) and self._write(raw, seq)

    def _write(self, raw: bytes, seq: int) -> bool:
        if self._torn:
            raw = b"\n" + raw
        try:
            written = os.write(self._fd, raw)
        except OSError as error:
            self.disk_full = error.errno in _FULL
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            faults.note("spool cannot be written", error)
            return False
        self._size += written
        # A short write leaves a torn line behind; the next one begins with a newline, and readers go on there.
        self._torn = written < len(raw)
        self._is_fresh = False
        if self._torn:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            faults.note("spool took only part of a line; it will be written again")
            return False
        self.disk_full = False
        self._seq = seq or self._seq
        return True

    def _write_waiting(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._waiting or not self._write_in_turn(*self._waiting[0]):
                return
            self._waiting_bytes -= len(self._waiting.popleft()[0])

    def _begin_another(self) -> None:
        """Unless nothing was written since this one was begun."""
        if self._fd >= 0 and not self._is_fresh:
            self._rotate()

    def _rotate(self, behind: int = 0) -> bool:
        """Begin a new segment, behind this one at least, with all that a reader needs who has only the new one.

        False: some of that has to wait.
        """
        try:
            segment = max(self._segment, behind) + 1
            fd = os.open(self._path(segment), OPEN, 0o600)
        except OSError as error:
            faults.note("spool cannot begin a new segment", error)
            if self._fd < 0:
                raise
            self._size = spool.SEGMENT_BYTES - (1 << 16)  # go on in the old one, try again a little later
            return True
        if self._fd >= 0:
            self._unsynced.append(_Retired(self._segment, self._fd))
        self._fd, self._size, self._torn = fd, 0, False
        self._segment = segment
        # Before all that waits: what it begins with must stand at its beginning.
        begins = ((to_bytes(line), 0) for line in self._begin(self._segment, self._seq))
        refused = list(dropwhile(lambda encoded: self._write(*encoded), begins))
        self._waiting.extendleft(reversed(refused))
        self._waiting_bytes += sum(len(raw) for raw, _ in refused)
        self._is_fresh, self._begun_at = True, time.monotonic()
        self._size = min(self._size, spool.SEGMENT_BYTES // 2)  # many open parts must not make every line rotate
        return not refused

    def _path(self, segment: int) -> Path:
        return spool.segment_path(self.folder, segment)

    # -- without it -----------------------------------------------------------------------------------------------

    def _write_all_waiting(self) -> None:
        """Piece by piece, so that a call that writes meanwhile waits for one piece only."""
        left = len(self._waiting) + 1
        while self._waiting and len(self._waiting) < left:
            left = len(self._waiting)
            with self.lock:
                self._write_waiting()

    def _sync_retired(self) -> bool:
        """Bring what was rotated away to the disk; True: it is there. With `_syncing` held."""
        with self.lock:
            unsynced, self._unsynced = self._unsynced, []
        failed = [_Retired(segment, -1) for segment, fd in unsynced if not self._is_on_disk(segment, fd)]
        with self.lock:
            self._unsynced[:0] = failed
        return not failed

    def _is_on_disk(self, segment: int, fd: int) -> bool:
        if fd >= 0:
            try:
                return synced(fd)
            finally:
                os.close(fd)
        if segment == self._segment:  # no new one could be begun; this one is still written to
            return False
        try:
            rewrite(self._path(segment))
        except FileNotFoundError:  # it is in the ledger, and needed no more
            return True
        except OSError as error:
            faults.note("spool could not be synced", error)
            return False
        self._entered = 0
        return True

    def _distrust(self, segment: int) -> None:
        """Linux tells of a write that failed once, and calls the pages clean after that: an fsync that succeeds later
        says nothing. So the segment is written anew, and nothing more is added to this one."""
        with self.lock:
            if self._segment == segment:
                self._rotate()
            self._unsynced.append(_Retired(segment, -1))

    def _name_synced(self, segment: int) -> bool:
        """A file is found again after a power cut only if its folder was synced, too, and the folder's own."""
        if segment > self._entered:
            done = [folder_synced(path) for path in (self.folder, self.folder.parent)]
            self._entered = segment if all(done) else self._entered
        return segment <= self._entered

    def _restore_if_gone(self) -> None:
        """Somebody removed the spool under us (a cleaner of temporary files): writing on would be writing into nothing.

        The open segment still has its bytes, and is put back whole with them, under a new lock if need be.
        """
        with self._syncing, self.lock:
            if self._fd < 0 or (self._is_locked() and self._is_there()):
                return
            try:
                if not self._is_locked():
                    self._lock_fd = spool.lock_again(self.folder, self._lock_fd)
                if not self._is_there():
                    self._fd = copied(self._fd, self._path(self._segment))
                self._entered = 0
            except OSError as error:
                faults.note("the spool was removed from under this process and cannot be put back", error)
            else:
                faults.note("the spool was removed from under this process; its newest segment is put back")

    def _is_locked(self) -> bool:
        return spool.is_at(self._lock_fd, spool.lock_path(self.folder))

    def _is_there(self) -> bool:
        return spool.is_at(self._fd, self._path(self._segment))
