"""What of one spool is not in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from livekit_tokens.core import spool
from livekit_tokens.core.ledger import START, Checkpoint
from livekit_tokens.core.lines import Done, Head, Unpend, Use
from livekit_tokens.core.places import size_text
from livekit_tokens.core.reading import readings
from livekit_tokens.domain.receipts import counted
from livekit_tokens.domain.times import SECOND, Micros

_MOST_READ = 64 << 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of one spool is not in the ledger. `capped`: there was more than was read."""

    size: int = 0
    records: int = 0
    oldest: Micros | None = None
    capped: bool = False

    def told(self, now: Micros) -> str:
        age = "" if self.oldest is None else f", the oldest {age_text(now - self.oldest)} old"
        records = f"{'at least ' if self.capped else ''}{counted(self.records, 'record')}"
        return f"{records} ({size_text(self.size)}) not in the ledger{age}"


def waiting_in(folder: Path, checkpoint: Checkpoint | None, *, since: Micros) -> Waiting:
    """Records of a spool behind a checkpoint. A record was not spooled before its process began (`since`)."""
    at = checkpoint or START
    records, oldest, read, seq, capped = 0, None, 0, at.seq, False
    segment, offset = at.segment, at.offset
    done: dict[str | None, Micros] = {}  # when those ended whose records are not made yet
    for reading in readings(folder, segment, offset):
        read += max(0, reading.offset - offset) if reading.segment == segment else reading.offset
        segment, offset = reading.segment, reading.offset
        for found in reading.lines:
            match found.line:
                case Done(id=name, at=written):
                    done[name] = max(since, written)
                case Use(settles=name) | Unpend(id=name):
                    done.pop(name, None)
            if isinstance(found.line, Use) and found.line.seq > seq:
                seq = found.line.seq
                records += 1
                written = max(since, found.line.record.at)
                oldest = written if oldest is None else min(oldest, written)
            elif isinstance(found.line, Head):
                since = max(since, found.line.started_at)
        if capped := reading.more and read >= _MOST_READ:
            break
    oldest = min((at for at in (oldest, *done.values()) if at is not None), default=None)
    return Waiting(size_from(folder, at), records + len(done), oldest, capped)


def size_from(folder: Path, at: Checkpoint) -> int:
    size = 0
    for number in spool.segments_of(folder):
        if number >= at.segment:
            size += spool.size_of(folder, number) - (at.offset if number == at.segment else 0)
    return max(0, size)


def age_text(length: Micros) -> str:
    seconds = max(0, length) // SECOND
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
