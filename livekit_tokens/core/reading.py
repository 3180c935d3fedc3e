"""Reading a spool: whole lines from a place on, over all segments that are there, whatever is missing between them.

Nobody else says where reading goes on. A hole is counted by what comes after it: a segment's head and every record
say what numbers were given before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import Head, Line, from_bytes, number_in, records_in
from livekit_tokens.core.spool import segment_path, segments_of, size_of

READ_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16


class Read(NamedTuple):
    """A line and the place just after it."""

    line: Line
    segment: int
    offset: int


class Damaged(NamedTuple):
    """The place just after a line that cannot be read, and how many records it held, as far as can be told."""

    segment: int
    offset: int
    records: int


@dataclass(slots=True)
class Reading:
    """What one pass over a spool found: its lines, what was damaged, and where to go on."""

    lines: list[Read]
    damaged: list[Damaged]
    segment: int
    offset: int
    more: bool


def readings(folder: Path, segment: int, offset: int = 0, limit: int = READ_BYTES) -> Iterator[Reading]:
    """One pass after the other from a place on, to the end of what is there."""
    more = True
    while more:
        reading = read(folder, segment, offset, limit)
        segment, offset, more = reading.segment, reading.offset, reading.more
        yield reading


def read(folder: Path, segment: int, offset: int, limit: int = READ_BYTES) -> Reading:
    """Read up to about `limit` bytes of whole lines from a place on, over segments, resynchronising at newlines.

    An unfinished line at the end of the newest segment is left for later: its writer may be at it.
    In an older segment nobody will finish it, so it is passed over and counted as damaged.
    """
    reading = Reading([], [], segment, offset, more=False)
    while True:
        # First whether a newer segment is there, then the bytes: the other way round, what the writer
        # appends in between, just before it opens the newer one, would be passed over.
        newer = next_segment(folder, reading.segment)
        raw = _bytes_at(segment_path(folder, reading.segment), reading.offset, limit)
        if not raw and newer is not None:
            reading.segment, reading.offset = newer, 0
            continue
        end = raw.rfind(b"\n") + 1
        if end == 0 and raw:
            if len(raw) >= limit:  # a line longer than the limit
                limit *= 2
                continue
            if newer is not None:
                _take_unfinished(reading, raw)
                reading.segment, reading.offset = newer, 0
                continue
        _take_lines(reading, raw[:end])
        reading.more = len(raw) >= limit or newer is not None
        return reading


def next_segment(folder: Path, segment: int) -> int | None:
    """The first segment behind this one, which need not be there itself; None: there is none."""
    if segment_path(folder, segment + 1).exists():
        return segment + 1
    if not any(number > segment for number in segments_of(folder)):
        return None
    # Again: a look at a folder may miss what is made meanwhile, but nothing that was there before a later one.
    return min((number for number in segments_of(folder) if number > segment), default=None)


def head_of(folder: Path, segment: int) -> Head | None:
    """The first readable head from the beginning of a segment on."""
    for found in read(folder, segment, 0, _HEAD_BYTES).lines:
        if isinstance(found.line, Head):
            return found.line
    return None


def agrees(folder: Path, known: Checkpoint) -> bool:
    """Whether a checkpoint is a place of this spool, as far as can be seen: a line ends there, and the last number
    before it is the checkpoint's.

    It is none where the spool went back behind its ledger: a power cut took its end, a machine's or a file system's
    snapshot was restored. False is harmless where it is wrong: all is read again, and held against the ledger.
    """
    path = segment_path(folder, known.segment)
    if not path.exists():  # it has gone with its replay window, or nothing of it was ever on this disk
        return next_segment(folder, known.segment) is not None
    size, numbers, span = size_of(folder, known.segment), [], _HEAD_BYTES
    if size < known.offset or known.offset == 0:
        return size >= known.offset
    while True:
        start = max(0, known.offset - span)
        raw = _bytes_at(path, start, known.offset - start)
        numbers = [n for n in map(_number_in, raw.split(b"\n")) if n is not None]
        if numbers or start == 0:
            return raw.endswith(b"\n") and max(numbers, default=known.seq) == known.seq
        span *= 4


def _number_in(piece: bytes) -> int | None:
    line = from_bytes(piece)
    return None if line is None else number_in(line)


def _take_lines(reading: Reading, raw: bytes) -> None:
    for piece in raw.split(b"\n")[:-1]:
        reading.offset += len(piece) + 1
        if not piece:  # a writer begins with a newline after a short write
            continue
        line = from_bytes(piece)
        if line is None:
            reading.damaged.append(Damaged(reading.segment, reading.offset, records_in(piece)))
        else:
            reading.lines.append(Read(line, reading.segment, reading.offset))


def _take_unfinished(reading: Reading, raw: bytes) -> None:
    """What stands at the end of an older segment: whole but for its newline, or torn, so that it was never kept."""
    offset = reading.offset + len(raw)
    if (line := from_bytes(raw)) is not None:
        reading.lines.append(Read(line, reading.segment, offset))
    else:
        reading.damaged.append(Damaged(reading.segment, offset, records=0))


def _bytes_at(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""
