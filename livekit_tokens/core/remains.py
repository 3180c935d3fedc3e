"""What a dead owner left in its spool: what was open, what was in flight, and the end that it could not write."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from livekit_tokens.core import charges, spool
from livekit_tokens.core.ledger import START, Checkpoint, Source
from livekit_tokens.core.lines import (
    FORMAT,
    Done,
    Head,
    Line,
    More,
    PartLine,
    Pend,
    StayLine,
    Unpend,
    Use,
    from_bytes,
    number_in,
    to_bytes,
)
from livekit_tokens.core.pending import estimated, settled
from livekit_tokens.core.reading import Reading, head_of, readings
from livekit_tokens.domain.pricing import SessionCharges, no_charges
from livekit_tokens.domain.sessions import Part, Stay, ended, left
from livekit_tokens.domain.times import Micros

ABANDONED = "process_killed"

_PIECE_BYTES = 1 << 16
_PAUSE_SECONDS = 0.001
"""A live call shares this process: between small pieces it gets the interpreter."""


@dataclass(slots=True)
class Remains:
    """What a spool says at its end. `damaged` records stood behind the last line that can be read and tells a number:
    nothing else will ever say that they were there.
    """

    source: Source | None = None
    segment: int = START.segment
    offset: int = 0
    seq: int = 0
    damaged: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    active_at: dict[str, Micros] = field(default_factory=dict)
    stays: dict[tuple[str, str], Stay] = field(default_factory=dict)
    pending: dict[str, Pend] = field(default_factory=dict)
    progress: dict[str, More | Done] = field(default_factory=dict)
    charged: set[tuple[str, str | None]] = field(default_factory=set)

    def is_done(self, pending: str) -> bool:
        """Whether its figures had come."""
        return isinstance(self.progress.get(pending), Done)

    @property
    def nobodys(self) -> list[str]:
        """Requests that are known by their figures alone: their own line cannot be read."""
        return [told.id for told in self.progress.values() if isinstance(told, Done) and told.id not in self.pending]

    @property
    def place(self) -> Checkpoint:
        """The end of what was read."""
        return Checkpoint(self.segment, self.offset, self.seq)


def newest_format(folder: Path) -> int:
    """The newest format that the last segments are in; 0 where none of them says it."""
    heads = (head_of(folder, number) for number in spool.segments_of(folder)[-2:])
    return max((head.format for head in heads if head is not None), default=0)


async def read_remains(folder: Path) -> Remains:
    """Fold a spool's last segments: each begins with all that is open, so the last but one is early enough.

    The last alone is not: its owner may have been killed while it was writing the beginning.
    """
    kept = spool.segments_of(folder)
    remains = await _folded(folder, kept[max(0, len(kept) - 2)] if kept else 1)
    if remains.source is None and len(kept) > 2:
        remains = await _folded(folder, kept[0])
    if remains.source is None and remains.active_at:  # the heads are damaged, other lines are not
        remains.source = Source(folder.name, folder.parent.name, 0, min(remains.active_at.values()))
    return remains


async def _folded(folder: Path, segment: int) -> Remains:
    remains = Remains()
    for reading in readings(folder, segment, limit=_PIECE_BYTES):
        _fold_all(remains, reading)
        remains.segment, remains.offset = reading.segment, reading.offset
        await asyncio.sleep(_PAUSE_SECONDS)
    return remains


def _fold_all(remains: Remains, reading: Reading) -> None:
    numbered = (0, 0)
    for line, segment, offset in reading.lines:
        _fold(remains, line)
        if (seq := number_in(line)) is not None:
            remains.seq = max(remains.seq, seq)
            remains.damaged, numbered = 0, (segment, offset)
    remains.damaged += sum(found.records for found in reading.damaged if (found.segment, found.offset) > numbered)


def _fold(remains: Remains, line: Line) -> None:
    match line:
        case Head():
            remains.source = Source(line.source, line.host, line.pid, line.started_at, line.ledger)
        case PartLine():
            remains.parts[line.part.key] = line.part
            _active(remains, line.part.key, line.at)
        case StayLine():
            remains.stays[line.stay.part, line.stay.sid] = line.stay
            _active(remains, line.stay.part, line.at)
        case Use():
            _active(remains, line.record.part, line.record.at)
            remains.pending.pop(line.settles or "", None)
            remains.progress.pop(line.settles or "", None)
            if line.record.operation == charges.OPERATION:
                remains.charged.add((line.record.part, line.record.idempotency_key))
        case Pend():
            _begin(remains, line)
        case Unpend():
            remains.pending.pop(line.id, None)
            remains.progress.pop(line.id, None)
        case More() | Done():
            remains.progress[line.id] = line
            if line.id in remains.pending:
                _active(remains, remains.pending[line.id].record.part, line.at)


def _begin(remains: Remains, pend: Pend) -> None:
    """It may be told again, by a segment's beginning that a kill has cut: its end stands."""
    remains.pending[pend.id] = pend
    if not remains.is_done(pend.id):
        remains.progress.pop(pend.id, None)
    _active(remains, pend.record.part, pend.at)


def _active(remains: Remains, part: str, at: Micros) -> None:
    remains.active_at[part] = max(at, remains.active_at.get(part, at))


def missing_end(remains: Remains, session_charges: SessionCharges = no_charges) -> list[Line]:
    """The lines that the dead owner could not write: the records of what was in flight, by its figures or estimated,
    what its parts' minutes cost, and their end."""
    end: list[Line] = []
    seq = remains.seq
    for pend in remains.pending.values():
        seq += 1
        told = remains.progress.get(pend.id)
        record = settled(pend, told) if isinstance(told, Done) else estimated(pend, told)
        end.append(Use(seq, record, settles=pend.id))
    for part in remains.parts.values():
        if part.status != "open":
            continue
        at = remains.active_at[part.key]
        whole = ended(part, at, ABANDONED, abandoned=True)
        for charge in charges.charges_of(whole, remains.stays.values(), session_charges(at)):
            if (charge.part, charge.idempotency_key) not in remains.charged:
                seq += 1
                end.append(Use(seq, charge))
        end.extend(
            StayLine(at, left(stay, at))
            for stay in remains.stays.values()
            if stay.part == part.key and stay.left_at is None
        )
        end.append(PartLine(at, whole, seq))
    return end


def finish_line(folder: Path) -> None:
    """A kill may have cut the last line just before its newline: it is whole, and must be read before its number is
    given again. A torn one is left as it is.
    """
    for number in spool.segments_of(folder)[-1:]:
        path = spool.segment_path(folder, number)
        with suppress(FileNotFoundError):  # somebody removes the spool
            tail = path.read_bytes().rpartition(b"\n")[2]
            if tail and from_bytes(tail) is not None:
                _write(path, b"\n")


def append(folder: Path, remains: Remains, end: list[Line], known: Checkpoint | None) -> Checkpoint:
    """Write the missing end where the drain will read it: behind what is there, and behind the ledger's checkpoint.

    The ledger is ahead of the spool when a power cut took the spool's end and not the ledger's. It begins with a head
    and all that is open, as a segment does: the head counts what was damaged just before it. Answers where the spool
    ends now, or would, had it not been removed meanwhile.
    """
    source, number = remains.source, remains.place.segment
    assert source is not None
    if known is not None and known > remains.place:
        number = known.segment + 1
    head = Head(source.id, source.host, source.pid, source.started_at, number, remains.seq, source.ledger, FORMAT)
    # The dead owner's last line may be torn.
    raw = b"\n" + b"".join(map(to_bytes, [head, *_open(remains), *end]))
    last = max((line.seq for line in end if isinstance(line, Use)), default=remains.seq)
    try:
        return Checkpoint(number, _write(spool.segment_path(folder, number), raw), last)
    except FileNotFoundError:
        return Checkpoint(number, remains.offset + len(raw), last)


def _open(remains: Remains) -> Iterator[Line]:
    parts = {key: part for key, part in remains.parts.items() if part.status == "open"}
    yield from (PartLine(remains.active_at[key], part, remains.seq) for key, part in parts.items())
    yield from (StayLine(stay.joined_at, stay) for stay in remains.stays.values() if stay.part in parts)
    yield from remains.pending.values()
    yield from (more for more in remains.progress.values() if more.id in remains.pending)


def _write(path: Path, raw: bytes) -> int:
    """Behind what is there, and on the disk; answers the file's length."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
