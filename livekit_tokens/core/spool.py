"""The spool on disk: a folder a source, append-only segments, and the lock that says whether the owner lives.

`<spool folder>/<host>/<source>/` holds `lock` and `00000001.jsonl`, `00000002.jsonl`, ...
Only processes of the same host look into a host's folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import Head, Line, from_bytes

SEGMENT_BYTES = 4 << 20
REPLAY_SECONDS = 3600
REPLAY_BYTES = 64 << 20
"""Acknowledged segments are kept this long and this large, so that a restored or deleted database can be replayed."""

NO_REPLAY = float("-inf")
"""In place of REPLAY_SECONDS where the disk is full: what is in the database is not kept at all."""

READ_BYTES = 1 << 20
_LOCK = "lock"
_FINISHED = "finished"
_LET_GO = "let-go"


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.jsonl"


def segments_of(folder: Path) -> list[int]:
    """Numbers of the segments that are there, ascending."""
    return sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit())


def create(root: Path, source: str) -> tuple[Path, int]:
    """Make a source's folder with its lock already held; returns the folder and the lock's file descriptor.

    The folder appears under its name only when the lock is held: nobody can take over a source that is being born.
    """
    make_folder(root)
    unborn = root / f".new-{source}"
    unborn.mkdir(mode=0o700)
    lock = os.open(unborn / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = root / source
    unborn.rename(folder)
    return folder, lock


def make_folder(path: Path) -> None:
    """A folder that its owner alone may look into, and likewise those on the way that are not there yet."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def lock_path(folder: Path) -> Path:
    return folder / _LOCK


def lock_again(folder: Path, held: int) -> int:
    """A new lock in place of a held one whose file was removed, with the folder or without; the old one is closed."""
    if folder.exists():
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        _, lock = create(folder.parent, folder.name)
    os.close(held)
    return lock


def sources_of(root: Path) -> list[Path]:
    """Folders of all sources of this host, oldest first."""
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        if path.name.startswith("."):
            continue
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # another process has just removed it
            continue
    return [path for _, path in sorted(found)]


def try_lock(folder: Path) -> int | None:
    """Take the lock of a source whose owner is dead; None while it is held or when the folder is gone."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    if not folder.exists():  # removed between open and lock
        os.close(lock)
        return None
    return lock


def unlock(lock: int) -> None:
    """Give a lock back, also where a child was forked meanwhile and has inherited its descriptor."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def remove(folder: Path) -> None:
    """Remove a source's folder, whose lock the caller holds; it vanishes from the host's folder at once."""
    gone = folder.with_name(f".gone-{folder.name}")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what was left half made or half removed; the caller is the host's only taker."""
    for path in root.iterdir():
        if path.name.startswith((".new-", ".gone-")) and _age(path) > REPLAY_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """In seconds; of what has gone meanwhile (a source that was being born is one now), none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def mark_finished(folder: Path, checkpoint: Checkpoint) -> None:
    """Note that a dead owner's spool is in the ledger up to its end, which is this checkpoint there."""
    note = os.open(folder / _FINISHED, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(note, "w", encoding="ascii") as file:
        file.write(" ".join(map(str, checkpoint)))


def finished_at(folder: Path) -> Checkpoint | None:
    """The ledger's checkpoint when the spool was finished; None if it was not, or the note cannot be read."""
    try:
        segment, offset, seq = (folder / _FINISHED).read_text("ascii").split()
        return Checkpoint(int(segment), int(offset), int(seq))
    except (OSError, ValueError):
        return None


def ask_to_let_go(folder: Path) -> None:
    """Ask a living owner to begin a new segment, and to keep nothing for replays of what is in the ledger."""
    with suppress(FileNotFoundError):  # it has just been removed
        os.close(os.open(folder / _LET_GO, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def is_asked_to_let_go(folder: Path) -> bool:
    return (folder / _LET_GO).exists()


def has_let_go(folder: Path) -> None:
    """The owner's answer."""
    (folder / _LET_GO).unlink(missing_ok=True)


def is_empty(folder: Path) -> bool:
    """Whether its owner had written nothing at all."""
    return all(segment_path(folder, number).stat().st_size == 0 for number in segments_of(folder))


class Read(NamedTuple):
    """A line and the place just after it."""

    line: Line
    segment: int
    offset: int


@dataclass(slots=True)
class Reading:
    """What one pass over a spool found: its lines, how many were damaged, and where to go on."""

    lines: list[Read]
    damaged: int
    segment: int
    offset: int
    more: bool


def read(folder: Path, segment: int, offset: int, limit: int = READ_BYTES) -> Reading:
    """Read up to about `limit` bytes of whole lines from a place on, over segments, resynchronising at newlines.

    An unfinished line at the end of the newest segment is left for later: its writer may be at it.
    In an older segment nobody will finish it, so it is passed over and counted as damaged.
    """
    reading = Reading([], 0, segment, offset, more=False)
    while True:
        # First whether a newer segment is there, then the bytes: the other way round, what the writer
        # appends in between, just before it opens the newer one, would be passed over.
        newest = not segment_path(folder, reading.segment + 1).exists()
        raw = _bytes_at(segment_path(folder, reading.segment), reading.offset, limit)
        if not raw and not newest:
            reading.segment, reading.offset = reading.segment + 1, 0
            continue
        end = raw.rfind(b"\n") + 1
        if end == 0 and raw:
            if len(raw) >= limit:  # a line longer than the limit
                limit *= 2
                continue
            if not newest:
                if (line := from_bytes(raw)) is not None:  # whole, but for its newline
                    reading.lines.append(Read(line, reading.segment, reading.offset + len(raw)))
                else:
                    reading.damaged += 1
                reading.segment, reading.offset = reading.segment + 1, 0
                continue
        _take_lines(reading, raw[:end])
        reading.more = len(raw) >= limit or not newest
        return reading


def _take_lines(reading: Reading, raw: bytes) -> None:
    offset = reading.offset
    for piece in raw.split(b"\n")[:-1]:
        offset += len(piece) + 1
        if not piece:  # a writer begins with a newline after a short write
            continue
        line = from_bytes(piece)
        if line is None:
            reading.damaged += 1
        else:
            reading.lines.append(Read(line, reading.segment, offset))
    reading.offset = offset


def _bytes_at(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def head_of(folder: Path, segment: int) -> Head | None:
    """The first readable head of a segment."""
    for found in read(folder, segment, 0, 1 << 16).lines:
        if isinstance(found.line, Head):
            return found.line
    return None


def forget_acknowledged(
    folder: Path, checkpoint: Checkpoint, now: float, replay_seconds: float = REPLAY_SECONDS
) -> None:
    """Remove segments that are in the database and outside the replay window (`now` in wall-clock seconds)."""
    kept = 0
    for number in reversed(segments_of(folder)):
        path = segment_path(folder, number)
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        kept += stat.st_size
        acknowledged = number < checkpoint.segment
        if acknowledged and (now - stat.st_mtime >= replay_seconds or kept > REPLAY_BYTES):
            path.unlink(missing_ok=True)


def is_past(folder: Path, replay_seconds: float = REPLAY_SECONDS) -> bool:
    """Whether nothing was written to a source within the replay window."""
    newest = max((segment_path(folder, n).stat().st_mtime for n in segments_of(folder)), default=0.0)
    return time.time() - newest >= replay_seconds
