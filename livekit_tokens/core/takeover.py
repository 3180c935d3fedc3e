"""Takeover: a spool whose lock can be taken has a dead owner. Its missing end is written, then it is drained.

Never a spool whose lock is held, never another host's, one at a time on a host. A second crash repeats harmlessly:
what the first taker wrote is read again like everything else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from livekit_tokens.core import faults, spool
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.estimates import cut_response
from livekit_tokens.core.ledger import Checkpoint, LedgerConnection, Source
from livekit_tokens.core.lines import Head, Line, More, PartLine, Pend, StayLine, Use, from_bytes, to_bytes
from livekit_tokens.core.recorder import ended
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

ABANDONED = "process_killed"
_TAKER = ".takeover"


@dataclass(slots=True)
class Recovered:
    """What a takeover found and brought home."""

    sources: int = 0
    held: int = 0
    parts: int = 0
    estimated: int = 0
    records: int = 0
    damaged: int = 0
    lost: int = 0
    removed: int = 0
    unreadable: list[str] = field(default_factory=list)

    def __add__(self, other: Recovered) -> Recovered:
        return Recovered(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    def to_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


async def take_over(root: Path, connection: LedgerConnection, own: str | None = None) -> Recovered:
    """Finish and drain every spool of a dead owner under a host's folder.

    Sources whose lock is held are counted in `held`; `own` is this process's and is passed over.
    Raises what the connection raises; what was taken until then is in the ledger.
    """
    recovered = Recovered()
    with _only_taker(root) as alone:
        if not alone:
            return recovered
        folders = [folder for folder in spool.sources_of(root) if folder.name != own]
        known = await connection.checkpoints([folder.name for folder in folders])
        for folder in folders:
            lock = spool.try_lock(folder)
            if lock is None:
                recovered.held += folder.exists()
                continue
            try:
                await _take(folder, connection, known.get(folder.name), recovered)
            finally:
                os.close(lock)
    return recovered


@contextmanager
def _only_taker(root: Path) -> Iterator[bool]:
    """One takeover at a time on a host; who comes second leaves it to the first."""
    if not root.is_dir():
        yield False
        return
    lock = os.open(root / _TAKER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


async def _take(folder: Path, connection: LedgerConnection, known: Checkpoint | None, recovered: Recovered) -> None:
    _finish_line(folder)
    state = read_state(folder)
    if state.source is None:
        _take_unreadable(folder, recovered)
        return
    if known is not None:  # the last records' lines may have been damaged since they were drained
        state.seq = max(state.seq, known.seq)
    end = missing_end(state)
    if end:
        _append(folder, end)
        recovered.parts += sum(isinstance(line, PartLine) for line in end)
        recovered.estimated += sum(isinstance(line, Use) for line in end)
    elif known is not None and known == _end_of(folder, state):
        _forget_if_past(folder, recovered)
        return
    done = await SpoolDrain(folder, state.source, connection).drain()
    recovered.sources += bool(end or done.records or done.lost)
    recovered.records += done.records
    recovered.damaged += done.damaged
    recovered.lost += done.lost
    _forget_if_past(folder, recovered)


def _forget_if_past(folder: Path, recovered: Recovered) -> None:
    if spool.is_past(folder):
        spool.remove(folder)
        recovered.removed += 1


def _take_unreadable(folder: Path, recovered: Recovered) -> None:
    if spool.is_past(folder) and not spool.segments_of(folder):
        spool.remove(folder)
        recovered.removed += 1
    else:
        recovered.unreadable.append(str(folder))
        faults.note("a spool has no readable head; it is left where it is", source=folder.name)


@dataclass(slots=True)
class State:
    """What a spool says at its end: who wrote it, what is open, what is in flight."""

    source: Source | None = None
    seq: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    active_at: dict[str, Micros] = field(default_factory=dict)
    stays: dict[tuple[str, str], Stay] = field(default_factory=dict)
    pending: dict[str, Pend] = field(default_factory=dict)
    progress: dict[str, More] = field(default_factory=dict)


def read_state(folder: Path) -> State:
    """Fold a spool's last segments: each begins with all that is open, so the last but one is early enough.

    The last alone is not: its owner may have been killed while it was writing the beginning.
    """
    state = State()
    kept = spool.segments_of(folder)
    for line in spool.all_lines(folder, kept[max(0, len(kept) - 2)] if kept else 1):
        _fold(state, line)
    if state.source is None and len(kept) > 2:
        state = State()
        for line in spool.all_lines(folder, kept[0]):
            _fold(state, line)
    if state.source is None and state.active_at:  # the heads are damaged, other lines are not
        state.source = Source(folder.name, folder.parent.name, 0, min(state.active_at.values()))
    return state


def _fold(state: State, line: Line) -> None:
    match line:
        case Head():
            state.source = Source(line.source, line.host, line.pid, line.started_at)
            state.seq = max(state.seq, line.seq)
        case PartLine():
            state.parts[line.part.key] = line.part
            _active(state, line.part.key, line.at)
        case StayLine():
            state.stays[line.stay.part, line.stay.sid] = line.stay
            _active(state, line.stay.part, line.at)
        case Use():
            state.seq = max(state.seq, line.seq)
            _active(state, line.record.part, line.record.at)
            if line.settles is not None:
                state.pending.pop(line.settles, None)
        case Pend():
            state.pending[line.id] = line
            state.progress.pop(line.id, None)
            _active(state, line.record.part, line.at)
        case More():
            state.progress[line.id] = line
            if line.id in state.pending:
                _active(state, state.pending[line.id].record.part, line.at)


def _active(state: State, part: str, at: Micros) -> None:
    state.active_at[part] = max(at, state.active_at.get(part, at))


def missing_end(state: State) -> list[Line]:
    """The lines that the dead owner could not write: estimates for what was in flight, and the end of its parts."""
    end: list[Line] = []
    seq = state.seq
    for pend in state.pending.values():
        seq += 1
        end.append(Use(seq, estimated(pend, state.progress.get(pend.id)), settles=pend.id))
    for part in state.parts.values():
        if part.status != "open":
            continue
        at = state.active_at[part.key]
        end.extend(
            StayLine(at, replace(stay, left_at=at))
            for stay in state.stays.values()
            if stay.part == part.key and stay.left_at is None
        )
        end.append(PartLine(at, ended(part, at, ABANDONED, abandoned=True)))
    return end


def estimated(pend: Pend, progress: More | None) -> UsageRecord:
    """The record of a request whose figures cannot come any more."""
    last = progress or pend
    estimate = cut_response(pend.conversation, last.audio_ms, last.tokens)
    return replace(
        pend.record,
        at=last.at,
        units=estimate.units,
        low=estimate.low,
        high=estimate.high,
        provenance="estimated",
        processing_ms=max(0, last.at - pend.at) // 1000,
    )


def _finish_line(folder: Path) -> None:
    """A kill may have cut the last line just before its newline: it is whole, and must be read before its number is
    given again. A torn one is left as it is.
    """
    for number in spool.segments_of(folder)[-1:]:
        path = spool.segment_path(folder, number)
        tail = path.read_bytes().rpartition(b"\n")[2]
        if tail and from_bytes(tail) is not None:
            with path.open("ab") as file:
                file.write(b"\n")


def _append(folder: Path, lines: list[Line]) -> None:
    number = spool.segments_of(folder)[-1]
    raw = b"".join(to_bytes(line) for line in lines)
    with spool.segment_path(folder, number).open("ab") as file:
        file.write(b"\n" + raw)  # the dead owner's last line may be torn
        file.flush()
        os.fsync(file.fileno())


def _end_of(folder: Path, state: State) -> Checkpoint:
    number = spool.segments_of(folder)[-1]
    return Checkpoint(number, spool.segment_path(folder, number).stat().st_size, state.seq)
