"""What the spools of a host hold that is not in the ledger: of living processes, and of dead ones (orphans)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from livekit_tokens.core import elsewhere, replay, spool
from livekit_tokens.core.findings import Finding, State
from livekit_tokens.core.health import faults_in
from livekit_tokens.core.ledger import START, Checkpoint, Source
from livekit_tokens.core.lines import FORMAT
from livekit_tokens.core.places import size_text
from livekit_tokens.core.reading import head_of
from livekit_tokens.core.remains import missing_end, newest_format, read_remains
from livekit_tokens.core.waiting import Waiting, age_text, size_from, waiting_in
from livekit_tokens.domain.receipts import counted
from livekit_tokens.domain.times import Micros

_SUBJECT = "spool"
_NAMED = 5
"""Orphans of a kind that have a line of their own."""
_LOOK_AT_LEDGER = "mend what the lines about the ledger say; the spool keeps it all until then"

Known = Mapping[str, Checkpoint] | None
"""Checkpoints by source as the ledger has them; None where it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Against:
    """What the spools are held against: a ledger by its name (`Source.ledger`), how far it has them, the time, and for
    how long records and orphans may wait: living processes drain within seconds, and look for orphans every 5 minutes.
    """

    ledger: str
    known: Known
    now: Micros
    stale_after: Micros

    def is_stale(self, since: Micros) -> bool:
        return self.now - since > self.stale_after

    def checkpoint(self, source: str) -> Checkpoint | None:
        return self.known.get(source) if self.known is not None else None

    def is_other(self, ledger: str) -> bool:
        return ledger not in ("", self.ledger)


class _Orphan(NamedTuple):
    """A dead process's spool: its line, what waits in it, how many of its parts are open."""

    finding: Finding
    waiting: Waiting
    unclosed: int


def look_at_spools(
    roots: Sequence[Path],
    ledger: str,
    checkpoints: Callable[[list[str]], Known],
    now: Micros,
    *,
    stale_after: Micros,
) -> Iterator[Finding]:
    """One line for each living process and the oldest orphans in a host's folders; what is in the ledger, in one."""
    folders = [folder for root in roots for folder in spool.sources_of(root) if folder.is_dir()]
    against = Against(ledger, checkpoints([folder.name for folder in folders]) if folders else {}, now, stale_after)
    done: list[Path] = []
    orphans: list[_Orphan] = []
    for folder in folders:
        if (yield from _look_at(folder, against, orphans)):
            done.append(folder)  # noqa: PERF401 - no comprehension may yield
    yield from _told_of(orphans)
    if done:
        size = size_text(sum(size_from(folder, START) for folder in done))
        told = f"{counted(len(done), 'ended process', 'ended processes')}, all in the ledger; {size} kept for replays"
        yield Finding("ok", f"{_SUBJECT}s", told)
    elif not folders:
        yield Finding("ok", f"{_SUBJECT}s", "none: no process of this host has tracked a call lately")


def _look_at(folder: Path, against: Against, orphans: list[_Orphan]) -> Generator[Finding, None, bool]:
    """One source's line, but for orphans. True: its process has ended, and all is in the ledger: it needs none."""
    try:
        lock = spool.try_lock(folder)
        if lock is not None:
            spool.unlock(lock)  # at once: only whether it could be had was the question
            return (yield from _look_at_dead(folder, against, orphans))
        if folder.exists():
            yield _living(folder, against)
            yield from _faults_of(folder, against)
    except FileNotFoundError:  # brought home and removed by another process just now
        return False
    except OSError as fault:
        told = f"{folder} cannot be opened: {fault.strerror or fault}"
        todo = "mend what the lines about the spool folder say, or run doctor as the agent's user"
        yield Finding("fault", f"{_SUBJECT} {folder.name}", told, todo)
    return False


def _living(folder: Path, against: Against) -> Finding:
    kept = spool.segments_of(folder)
    head = head_of(folder, kept[-1]) if kept else None
    subject = f"{_SUBJECT} of process {head.pid if head else folder.name}"
    waiting = waiting_in(folder, against.checkpoint(folder.name), since=head.started_at if head else 0)
    if head is not None and against.is_other(head.ledger):
        told = "it is alive and writes to another ledger than this DATABASE_URL"
        return Finding("note", subject, told, "if that is not meant, give both the same DATABASE_URL")
    if against.known is None:
        return _undecided(subject, waiting)
    if waiting.oldest is not None and against.is_stale(waiting.oldest):
        todo = f"{_LOOK_AT_LEDGER}; that process's log says why it waits"
        return Finding("fault", subject, waiting.told(against.now), todo)
    return Finding("ok", subject, waiting.told(against.now))


def _faults_of(folder: Path, against: Against) -> Iterator[Finding]:
    """What a living process has noted of its own faults: a fault while it is new, or where records were lost."""
    if (found := faults_in(folder)) is None:
        return
    kinds = ", ".join(f"{kind} ({count:,})" for kind, count in sorted(found.counts.items()))
    lost = f"{counted(found.unkept, 'record')} could not be kept; " if found.unkept else ""
    told = f"{lost}{kinds}; the last {age_text(against.now - found.at)} ago: {found.last}"
    state: State = "fault" if found.unkept or not against.is_stale(found.at) else "note"
    yield Finding(state, f"faults of {folder.name}", told, "that process's log says more")


def _look_at_dead(folder: Path, against: Against, orphans: list[_Orphan]) -> Generator[Finding, None, bool]:
    if replay.is_finished(folder, against.checkpoint(folder.name)):
        return True
    if (written := newest_format(folder)) > FORMAT:
        told = f"it is in format {written}, and this version reads up to {FORMAT}: it is left to a newer one"
        yield Finding("note", f"{_SUBJECT} {folder.name}", told, "upgrade livekit-tokens")
        return False
    remains = asyncio.run(read_remains(folder))
    if remains.source is None:
        if not spool.is_empty(folder):
            yield _unreadable(folder)
        return False
    waiting = waiting_in(folder, against.checkpoint(folder.name), since=remains.source.started_at)
    if not missing_end(remains):
        if against.known is None:
            yield _undecided(f"{_SUBJECT} of ended process {remains.source.pid}", waiting)
            return False
        if not waiting.records:
            return True
    unclosed = sum(part.status == "open" for part in remains.parts.values())
    orphans.append(_Orphan(_orphan(folder, remains.source, waiting, unclosed, against), waiting, unclosed))
    return False


def _undecided(subject: str, waiting: Waiting) -> Finding:
    told = f"{counted(waiting.records, 'record')} ({size_text(waiting.size)}) kept; the ledger cannot be asked"
    return Finding("note", subject, f"{told} which of them it has", _LOOK_AT_LEDGER)


def _unreadable(folder: Path) -> Finding:
    size = size_text(size_from(folder, START))
    told = f"{folder} has no readable beginning ({size}, {counted(len(spool.segments_of(folder)), 'segment')})"
    todo = "look at its disk; once you know what it was, move the folder away"
    return Finding("fault", f"{_SUBJECT} {folder.name}", told, todo)


def _orphan(folder: Path, source: Source, waiting: Waiting, unclosed: int, against: Against) -> Finding:
    """A dead process's spool: at first a note, as the next process brings it home; then a fault."""
    subject, open_ones = f"orphan of process {source.pid}", f"{counted(unclosed, 'part')} not closed"
    if against.is_other(source.ledger):
        told = f"the process is dead, and it wrote to another ledger than this DATABASE_URL; {open_ones}"
        return Finding("note", subject, told, "run livekit-tokens recover with the DATABASE_URL that it had")
    if against.known is None:
        told = f"the process is dead; {open_ones}; the ledger cannot be asked what it has"
        todo = f"{_LOOK_AT_LEDGER}; then livekit-tokens recover"
    else:
        told = f"the process is dead; {waiting.told(against.now)}, {open_ones}"
        todo = "livekit-tokens recover"
    if against.is_stale(_written_at(folder)):
        return Finding("fault", subject, told, todo)
    todo += " (any process of this host that tracks calls does it by itself within 5 minutes)"
    return Finding("note", subject, told, todo)


def _told_of(orphans: Iterable[_Orphan]) -> Iterator[Finding]:
    """The oldest of each kind by themselves; after a host's power cut, or a rollout, there may be hundreds."""
    kinds: dict[tuple[State, str], list[_Orphan]] = {}
    for orphan in orphans:
        kinds.setdefault((orphan.finding.state, orphan.finding.todo), []).append(orphan)
    for (state, todo), found in kinds.items():
        yield from (orphan.finding for orphan in found[:_NAMED])
        if more := found[_NAMED:]:
            records = counted(sum(orphan.waiting.records for orphan in more), "record")
            unclosed = counted(sum(orphan.unclosed for orphan in more), "part")
            size = size_text(sum(orphan.waiting.size for orphan in more))
            yield Finding(state, "orphans", f"{len(more):,} more: {records} ({size}), {unclosed} not closed", todo)


def look_at_other_hosts(folders: Iterable[Path]) -> Iterator[Finding]:
    """Spools under other names that this host leaves alone."""
    if told := elsewhere.told_of(folders):
        said, _, todo = told.partition("; ")
        yield Finding("note", f"{_SUBJECT}s", said, todo)


def _written_at(folder: Path) -> Micros:
    """When the spool's newest segment was last written to."""
    newest = spool.segments_of(folder)[-1:]
    return max((spool.segment_path(folder, number).stat().st_mtime_ns // 1000 for number in newest), default=0)
