"""What a dead owner left in its spool: what was open, what was in flight, and the end that it could not write."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from livekit_tokens.core import charges, spool
from livekit_tokens.core.ledger import Checkpoint, Source
from livekit_tokens.core.lines import Head, Line, More, PartLine, Pend, StayLine, Unpend, Use, from_bytes, to_bytes
from livekit_tokens.core.pending import estimated
from livekit_tokens.domain.pricing import SessionCharges, no_charges
from livekit_tokens.domain.sessions import Part, Stay, ended, left
from livekit_tokens.domain.times import Micros

ABANDONED = "process_killed"

_PIECE_BYTES = 1 << 16
_PAUSE_SECONDS = 0.001
"""A live call shares this process: between small pieces it gets the interpreter."""


@dataclass(slots=True)
class Remains:
    """What a spool says at its end."""

    source: Source | None = None
    seq: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    active_at: dict[str, Micros] = field(default_factory=dict)
    stays: dict[tuple[str, str], Stay] = field(default_factory=dict)
    pending: dict[str, Pend] = field(default_factory=dict)
    progress: dict[str, More] = field(default_factory=dict)
    charged: set[str | None] = field(default_factory=set)


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
    offset, more = 0, True
    while more:
        reading = spool.read(folder, segment, offset, _PIECE_BYTES)
        segment, offset, more = reading.segment, reading.offset, reading.more
        for found in reading.lines:
            _fold(remains, found.line)
        await asyncio.sleep(_PAUSE_SECONDS)
    return remains


def _fold(remains: Remains, line: Line) -> None:
    match line:
        case Head():
            remains.source = Source(line.source, line.host, line.pid, line.started_at, line.ledger)
            remains.seq = max(remains.seq, line.seq)
        case PartLine():
            remains.parts[line.part.key] = line.part
            remains.seq = max(remains.seq, line.seq)
            _active(remains, line.part.key, line.at)
        case StayLine():
            remains.stays[line.stay.part, line.stay.sid] = line.stay
            _active(remains, line.stay.part, line.at)
        case Use():
            remains.seq = max(remains.seq, line.seq)
            _active(remains, line.record.part, line.record.at)
            remains.pending.pop(line.settles or "", None)
            if line.record.operation == charges.OPERATION:
                remains.charged.add(line.record.idempotency_key)
        case Pend():
            remains.pending[line.id] = line
            remains.progress.pop(line.id, None)
            _active(remains, line.record.part, line.at)
        case Unpend():
            remains.pending.pop(line.id, None)
        case More():
            remains.progress[line.id] = line
            if line.id in remains.pending:
                _active(remains, remains.pending[line.id].record.part, line.at)


def _active(remains: Remains, part: str, at: Micros) -> None:
    remains.active_at[part] = max(at, remains.active_at.get(part, at))


def missing_end(remains: Remains, session_charges: SessionCharges = no_charges) -> list[Line]:
    """The lines that the dead owner could not write: estimates for what was in flight, what its parts' minutes cost,
    and their end."""
    end: list[Line] = []
    seq = remains.seq
    for pend in remains.pending.values():
        seq += 1
        end.append(Use(seq, estimated(pend, remains.progress.get(pend.id)), settles=pend.id))
    for part in remains.parts.values():
        if part.status != "open":
            continue
        at = remains.active_at[part.key]
        whole = ended(part, at, ABANDONED, abandoned=True)
        for charge in charges.charges_of(whole, remains.stays.values(), session_charges(at)):
            if charge.idempotency_key not in remains.charged:
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
        tail = spool.segment_path(folder, number).read_bytes().rpartition(b"\n")[2]
        if tail and from_bytes(tail) is not None:
            _write(folder, number, b"\n")


def append(folder: Path, remains: Remains, end: list[Line], known: Checkpoint | None) -> None:
    """Write the missing end where the drain will read it: behind what is there, and behind the ledger's checkpoint.

    The ledger is ahead of the spool when a power cut took the spool's end and not the ledger's.
    """
    number = spool.segments_of(folder)[-1]
    raw = b"\n" + b"".join(to_bytes(line) for line in end)  # the dead owner's last line may be torn
    if known is not None and known > end_of(folder, remains):
        source = remains.source
        assert source is not None
        number = known.segment + 1
        raw = to_bytes(Head(source.id, source.host, source.pid, source.started_at, number, remains.seq)) + raw
    _write(folder, number, raw)


def end_of(folder: Path, remains: Remains) -> Checkpoint:
    """The place after the spool's last byte."""
    number = spool.segments_of(folder)[-1]
    return Checkpoint(number, spool.segment_path(folder, number).stat().st_size, remains.seq)


def _write(folder: Path, number: int, raw: bytes) -> None:
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(spool.segment_path(folder, number), flags, 0o600), "ab") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
