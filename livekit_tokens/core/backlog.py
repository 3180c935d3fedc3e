"""What the spools of a host hold that is not in the ledger: of living processes, and of dead ones (orphans)."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from livekit_tokens.core import spool
from livekit_tokens.core.findings import Finding
from livekit_tokens.core.ledger import START, Checkpoint
from livekit_tokens.core.lines import Head, Use
from livekit_tokens.core.places import size_text
from livekit_tokens.core.takeover import missing_end, read_state
from livekit_tokens.domain.times import SECOND, Micros

LATE: Micros = 300 * SECOND
"""Records and orphans that wait for longer are a fault: living processes drain within seconds, and look for
orphans every 5 minutes."""

_MOST_READ = 64 << 20
_SUBJECT = "spool"
_LOOK_AT_LEDGER = "mend what the lines about the ledger say; the spool keeps it all until then"

Known = Mapping[str, Checkpoint] | None
"""Checkpoints by source as the ledger has them; None where it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of one spool is not in the ledger. `capped`: there was more than was read."""

    size: int = 0
    records: int = 0
    oldest: Micros | None = None
    capped: bool = False

    def told(self, now: Micros) -> str:
        age = "" if self.oldest is None else f", the oldest {_age(now - self.oldest)} old"
        records = f"{'at least ' if self.capped else ''}{_counted(self.records, 'record')}"
        return f"{records} ({size_text(self.size)}) not in the ledger{age}"


def look_at_spools(
    roots: Sequence[Path], host: str, checkpoints: Callable[[list[str]], Known], now: Micros
) -> Iterator[Finding]:
    """One line for each living process and each orphan under `<root>/<host>`; what is in the ledger, in one line."""
    folders = [folder for root in roots for folder in spool.sources_of(root / host) if folder.is_dir()]
    known = checkpoints([folder.name for folder in folders]) if folders else {}
    done = []
    for folder in folders:
        if (yield from _look_at(folder, known, now)):
            done.append(folder)  # noqa: PERF401 - no comprehension may yield
    if done:
        size = size_text(sum(_size_from(folder, START) for folder in done))
        told = f"{_counted(len(done), 'ended process', 'ended processes')}, all in the ledger; {size} kept for replays"
        yield Finding("ok", f"{_SUBJECT}s", told)
    elif not folders:
        yield Finding("ok", f"{_SUBJECT}s", "none: no process of this host has tracked a call lately")
    yield from look_at_other_hosts(roots, host)


def _look_at(folder: Path, known: Known, now: Micros) -> Generator[Finding, None, bool]:
    """One source's line. True: its process has ended and all is in the ledger, so that it needs none."""
    try:
        lock = spool.try_lock(folder)
        if lock is not None:
            os.close(lock)  # at once: only whether it could be had was the question
            return (yield from _look_at_dead(folder, known, now))
        if folder.exists():
            yield _living(folder, known, now)
    except FileNotFoundError:  # brought home and removed by another process just now
        return False
    except OSError as fault:
        todo = "run doctor as the agent's user; if it is that, check the disk"
        yield Finding("fault", f"{_SUBJECT} {folder.name}", f"{folder} cannot be read: {fault.strerror or fault}", todo)
    return False


def _living(folder: Path, known: Known, now: Micros) -> Finding:
    kept = spool.segments_of(folder)
    head = spool.head_of(folder, kept[-1]) if kept else None
    subject = f"{_SUBJECT} of process {head.pid if head else folder.name}"
    waiting = waiting_in(folder, _checkpoint(known, folder.name), since=head.started_at if head else 0)
    if known is None:
        told = f"{_counted(waiting.records, 'record')} ({size_text(waiting.size)}) kept; the ledger cannot be asked"
        return Finding("note", subject, f"{told} which of them it has", _LOOK_AT_LEDGER)
    if waiting.oldest is not None and now - waiting.oldest > LATE:
        return Finding("fault", subject, waiting.told(now), f"{_LOOK_AT_LEDGER}; that process's log says why it waits")
    return Finding("ok", subject, waiting.told(now))


def _look_at_dead(folder: Path, known: Known, now: Micros) -> Generator[Finding, None, bool]:
    state = read_state(folder)
    if state.source is None:
        if kept := spool.segments_of(folder):
            told = f"{folder} has no readable beginning ({size_text(_size_from(folder, START))}, {len(kept)} segments)"
            todo = "look at its disk; once you know what it was, move the folder away"
            yield Finding("fault", f"{_SUBJECT} {folder.name}", told, todo)
        return False
    end = missing_end(state)
    waiting = waiting_in(folder, _checkpoint(known, folder.name), since=state.source.started_at)
    if known is not None and not end and not waiting.records:
        return True
    open_parts = sum(part.status == "open" for part in state.parts.values())
    told = f"the process is dead; {waiting.told(now)}, {_counted(open_parts, 'part')} not closed"
    if known is None:
        told = f"the process is dead; {_counted(open_parts, 'part')} not closed; the ledger cannot be asked what it has"
    late = now - _written_at(folder) > LATE
    todo = "livekit-tokens recover" if known is not None else f"{_LOOK_AT_LEDGER}; then livekit-tokens recover"
    if not late:
        todo += " (any process of this host that tracks calls does it by itself within 5 minutes)"
    yield Finding("fault" if late else "note", f"orphan of process {state.source.pid}", told, todo)
    return False


def look_at_other_hosts(roots: Iterable[Path], host: str) -> Iterator[Finding]:
    """Spools under other host names are never touched: in containers, a new name a start makes orphans of them all."""
    for root in roots:
        if not root.is_dir():
            continue
        others = {path.name: len(spool.sources_of(path)) for path in root.iterdir() if path.is_dir()}
        others = {name: count for name, count in others.items() if count and name != host and name[0] != "."}
        if others:
            names = ", ".join(sorted(others)[:3]) + (" ..." if len(others) > 3 else "")
            told = f"{_counted(sum(others.values()), 'spool')} of other hosts in {root} ({names})"
            yield Finding(
                "note", f"{_SUBJECT}s", told, "where such a host is gone for good, its spools wait there: see recover"
            )


def waiting_in(folder: Path, checkpoint: Checkpoint | None, *, since: Micros) -> Waiting:
    """Records of a spool behind a checkpoint. A record was not spooled before its process began (`since`)."""
    kept = spool.segments_of(folder)
    at = checkpoint or START
    if kept and kept[0] > at.segment:
        at = Checkpoint(kept[0], 0, at.seq)
    records, oldest, read, seq = 0, None, 0, at.seq
    segment, offset, more = at.segment, at.offset, bool(kept)
    while more and read < _MOST_READ:
        reading = spool.read(folder, segment, offset)
        read += max(0, reading.offset - offset) if reading.segment == segment else reading.offset
        segment, offset, more = reading.segment, reading.offset, reading.more
        for found in reading.lines:
            if isinstance(found.line, Use) and found.line.seq > seq:
                seq = found.line.seq
                records += 1
                written = max(since, found.line.record.at)
                oldest = written if oldest is None else min(oldest, written)
            elif isinstance(found.line, Head):
                since = max(since, found.line.started_at)
    return Waiting(_size_from(folder, at), records, oldest, capped=more)


def _checkpoint(known: Known, source: str) -> Checkpoint | None:
    return known.get(source) if known is not None else None


def _size_from(folder: Path, at: Checkpoint) -> int:
    size = 0
    for number in spool.segments_of(folder):
        if number >= at.segment:
            size += spool.segment_path(folder, number).stat().st_size - (at.offset if number == at.segment else 0)
    return max(0, size)


def _written_at(folder: Path) -> Micros:
    """When the spool's newest segment was last written to."""
    newest = spool.segments_of(folder)[-1:]
    return max((spool.segment_path(folder, number).stat().st_mtime_ns // 1000 for number in newest), default=0)


def _age(length: Micros) -> str:
    seconds = max(0, length) // SECOND
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
