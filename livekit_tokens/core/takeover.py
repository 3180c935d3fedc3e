"""Takeover: a spool whose lock can be taken has a dead owner. Its missing end is written, then it is drained.

Never a spool whose lock is held, or could be held unseen by another host; never another ledger's; one at a time in a
folder. A second crash repeats harmlessly: what the first taker wrote is read again like everything else.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.core import faults, replay, spool
from livekit_tokens.core.drain import Drained, SpoolDrain
from livekit_tokens.core.ledger import Checkpoint, Ledger, LedgerConnection, Source
from livekit_tokens.core.lines import FORMAT, Done, Line, PartLine, Unpend, Use
from livekit_tokens.core.remains import Remains, append, finish_line, missing_end, newest_format, read_remains
from livekit_tokens.domain.errors import LedgerTooNew, LedgerUnavailable
from livekit_tokens.domain.pricing import SessionCharges, no_charges
from livekit_tokens.domain.times import Micros

if TYPE_CHECKING:
    from livekit_tokens.core.daily_logs import DailyLogs

_TAKER = ".takeover"
_ENTRIES = 1_000
_DRAIN_BYTES = 1 << 17


@dataclass(slots=True)
class Recovered:
    """What a takeover found and brought home.

    `held` have a living owner; `elsewhere` belong to another ledger; `newer` were written by a newer version, and are
    left to it; `busy` folders were being taken over by another process; `unreadable` names the spools that could not
    be taken, which are left where they are.
    """

    sources: int = 0
    held: int = 0
    elsewhere: int = 0
    newer: int = 0
    busy: int = 0
    parts: int = 0
    estimated: int = 0
    records: int = 0
    damaged: int = 0
    lost: int = 0
    removed: int = 0
    unreadable: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Which spools are taken over, and how.

    `ledger_id` names the ledger whose spools are taken; without it, any. `own` is this process's.
    Spools that are in the ledger to their end are kept for `replay_seconds` more, but for those with people in them
    whom it has forgotten: they go at once. `session_charges` says what the
    minutes of the parts that are closed here are billed as. `logs` are the daily files that follow the ledger.
    """

    ledger_id: str = ""
    own: str | None = None
    replay_seconds: float = spool.REPLAY_SECONDS
    session_charges: SessionCharges = no_charges
    logs: DailyLogs | None = None


Turn = Callable[[], AbstractAsyncContextManager[LedgerConnection]]
"""Gives the ledger for one batch. Between two turns others have theirs, and the next may be over another connection."""


async def take_over(
    roots: Iterable[Path],
    ledger: Ledger,
    *,
    ledger_id: str = "",
    replay_seconds: float = spool.REPLAY_SECONDS,
    session_charges: SessionCharges = no_charges,
    logs: DailyLogs | None = None,
) -> Recovered:
    """The same over one connection for all of them, which nobody else uses; see `Terms`."""
    connections = _Connections(ledger)
    terms = Terms(ledger_id=ledger_id, replay_seconds=replay_seconds, session_charges=session_charges, logs=logs)
    try:
        return await take_over_in_turns(roots, connections.turn, terms)
    finally:
        await connections.aclose()


async def take_over_in_turns(roots: Iterable[Path], turn: Turn, terms: Terms) -> Recovered:
    """Finish and drain every spool of a dead owner under these hosts' folders.

    Raises LedgerUnavailable or LedgerTooNew; what was taken until then is in the ledger. A folder or a spool that
    cannot be taken for a reason of its own does not keep those behind it from being taken.
    """
    recovered = Recovered()
    for root in roots:
        try:
            with _only_taker(root) as alone:
                if alone:
                    await _take_all(root, turn, terms, recovered)
                else:
                    recovered.busy += 1
        except OSError as error:
            faults.note(f"the spool folder {root} cannot be looked into", error)
            recovered.unreadable.append(str(root))
    return recovered


async def _take_all(root: Path, turn: Turn, terms: Terms, recovered: Recovered) -> None:
    spool.sweep(root)
    folders = [folder for folder in spool.sources_of(root) if folder.name != terms.own]
    if not folders:
        return
    async with turn() as connection:
        known = await connection.checkpoints([folder.name for folder in folders])
    for folder in folders:
        try:
            await _Taking(folder, known.get(folder.name), turn, terms, recovered).take()
        except (LedgerUnavailable, LedgerTooNew):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this spool's own
            faults.note("a spool could not be taken over; it is left where it is", error, source=folder.name)
            recovered.unreadable.append(str(folder))


class _Connections:
    """One at a time: made when it is first needed, and anew where a fault has closed it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: LedgerConnection | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[LedgerConnection]:
        if self._open is not None and self._open.stale():
            await self.aclose()
        if self._open is None:
            self._open = await self._ledger.connect()
        yield self._open

    async def aclose(self) -> None:
        closing, self._open = self._open, None
        if closing is not None:
            await closing.aclose()


@contextmanager
def _only_taker(root: Path) -> Iterator[bool]:
    """One takeover at a time in a folder; who comes second leaves it to the first, who may have removed the folder."""
    try:
        lock = spool.take_lock(root / _TAKER, os.O_CREAT)
    except (BlockingIOError, FileNotFoundError):
        yield False
        return
    try:
        yield True
    finally:
        spool.unlock(lock)


def remove_left(root: Path) -> None:
    """Remove the folder of a host that has left nothing in it; it may be of one that is just beginning, but for those
    in which nothing has changed for an hour. Each pod of Kubernetes makes one.
    """
    with suppress(OSError):  # not empty; or another process was first
        if time.time() - root.stat().st_mtime > spool.REPLAY_SECONDS and not spool.sources_of(root):
            (root / _TAKER).unlink(missing_ok=True)
            root.rmdir()


@dataclass(slots=True)
class _Taking:
    """One spool, from its lock to its removal."""

    folder: Path
    known: Checkpoint | None
    turn: Turn
    terms: Terms
    recovered: Recovered

    async def take(self) -> None:
        lock = spool.try_lock(self.folder)
        if lock is None:
            self.recovered.held += self.folder.exists()
            return
        try:
            if self.known is not None and replay.is_finished(self.folder, self.known):
                self._forget_if_past(replay.acknowledged(self.folder))
            elif (written := newest_format(self.folder)) > FORMAT:
                self.recovered.newer += 1
                faults.note(f"a spool is in format {written}; this version reads up to {FORMAT}, and leaves it")
            else:
                # Its owner may have lived, and drained on, until long after all checkpoints were read.
                async with self.turn() as connection:
                    self.known = await connection.checkpoint(self.folder.name)
                await self._finish()
        finally:
            spool.unlock(lock)

    async def _finish(self) -> None:
        finish_line(self.folder)
        remains = await read_remains(self.folder)
        if remains.source is None:
            self._leave_unread()
            return
        if self.terms.ledger_id and remains.source.ledger not in ("", self.terms.ledger_id):
            self.recovered.elsewhere += 1
            return
        nobodys = remains.nobodys
        untold, last = remains.damaged + len(nobodys), remains.seq
        remains.seq += untold
        if self.known is not None:
            # The last records' lines may have been damaged since they were drained.
            remains.seq = max(remains.seq, self.known.seq)
            if self.known > remains.place:
                nobodys += await self._recorded(remains, last)
                for pending in nobodys:
                    remains.pending.pop(pending, None)
        # Said, so that whoever takes over again finds neither.
        end = [*map(Unpend, nobodys), *missing_end(remains, self.terms.session_charges)]
        ended = remains.place
        if end or untold:
            ended = append(self.folder, remains, end, self.known)
            self.recovered.parts += sum(isinstance(line, PartLine) for line in end)
            self.recovered.estimated += sum(_is_guessed(remains, line) for line in end)
        done = await self._drain(remains.source, ended)
        self.recovered.sources += bool(end or done.records or done.lost)
        self.recovered.records += done.records
        self.recovered.damaged += done.damaged
        self.recovered.lost += done.lost

    async def _recorded(self, remains: Remains, last: int) -> list[str]:
        """What is in flight in a spool that the ledger is ahead of, and may be in the ledger, behind the spool's last
        number. Of an end that was told that is known, by its time; of an estimate it is not.
        """
        assert remains.source is not None
        there: set[tuple[Micros, str | None]] = set()
        async with self.turn() as connection:
            while found := await connection.entries(remains.source.id, last, None, _ENTRIES):
                there.update((entry.line.record.at, entry.line.record.request_id) for _, entry in found)
                last = found[-1][0]
        return [
            name
            for name in remains.pending
            if not isinstance(done := remains.progress.get(name), Done) or (done.at, done.request_id) in there
        ]

    async def _drain(self, source: Source, ended: Checkpoint) -> Drained:
        """Each batch in a turn of its own: a call in this process has its records in the ledger meanwhile."""
        drain, done, more, forgot = None, Drained(), True, False
        while more:
            async with self.turn() as connection:
                if drain is None or drain.connection is not connection:
                    drain = SpoolDrain(self.folder, source, connection, piece=_DRAIN_BYTES, logs=self.terms.logs)
                more = await drain.drain_piece(done, ended=ended, replay_seconds=self.terms.replay_seconds)
                forgot = forgot or connection.forgot(source.id)
        if forgot:
            self._remove()  # somebody is erased who still stands in it
        elif drain is not None:
            self._forget_if_past(drain.acknowledged)
        return done

    def _forget_if_past(self, noted: replay.Acknowledged) -> None:
        if replay.is_past(self.folder, noted, time.time(), self.terms.replay_seconds):
            self._remove()

    def _remove(self) -> None:
        spool.remove(self.folder)
        self.recovered.removed += 1

    def _leave_unread(self) -> None:
        """Nothing in it can be read: if there is nothing, it goes; else somebody must look."""
        if not self.folder.exists():
            faults.note("a spool was removed before it was taken over; what it held is lost", source=self.folder.name)
        elif spool.is_empty(self.folder):
            self._remove()
        else:
            self.recovered.unreadable.append(str(self.folder))
            faults.note("a spool has no readable line; it is left where it is", source=self.folder.name)


def _is_guessed(remains: Remains, line: Line) -> bool:
    """Whether it is of a request whose end its provider had not told."""
    return isinstance(line, Use) and line.settles in remains.pending and not remains.is_done(line.settles)
