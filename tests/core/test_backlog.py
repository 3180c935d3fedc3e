"""What the spools of a host hold that is not in the ledger."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import msgspec
import pytest

from livekit_tokens.core import spool
from livekit_tokens.core.backlog import look_at_spools
from livekit_tokens.core.findings import Finding
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import FORMAT, Head, from_bytes, to_bytes
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.core.waiting import waiting_in
from livekit_tokens.domain.times import SECOND, Micros
from tests.core.makers import a_done, a_made_record, a_part, a_pend, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A killed process's spool, of several segments, with 30 records."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder = a_recorder(tmp_path / "here")
    recorder.put_part(a_part())
    for _ in range(30):
        recorder.record(a_record())
    recorder.disown()
    return recorder


def found_by(tmp_path: Path, ledger: MemoryLedger, stale_after: Micros = 300 * SECOND) -> list[Finding]:
    now = time.time_ns() // 1000
    return list(look_at_spools([tmp_path / "here"], "", lambda _: ledger.at, now, stale_after=stale_after))


def test_what_waits_is_counted_behind_a_hole_too(dead: Recorder) -> None:
    """As the drain reads it."""
    whole = waiting_in(dead.folder, None, since=0)
    spool.segment_path(dead.folder, 2).unlink()
    rest = waiting_in(dead.folder, None, since=0)
    assert whole.records == 30
    assert 20 < rest.records < 30
    assert waiting_in(dead.folder, Checkpoint(2, 10, 5), since=0).records < rest.records


def test_a_spool_of_a_newer_version_is_named(dead: Recorder, tmp_path: Path) -> None:
    """It is no orphan that `recover` could bring home."""
    path = spool.segment_path(dead.folder, spool.segments_of(dead.folder)[-1])
    first, rest = path.read_bytes().split(b"\n", 1)
    head = from_bytes(first)
    assert isinstance(head, Head)
    path.write_bytes(to_bytes(msgspec.structs.replace(head, format=FORMAT + 1)) + rest)
    (found,) = found_by(tmp_path, MemoryLedger())
    assert (found.state, found.subject, found.todo) == ("note", f"spool {dead.folder.name}", "upgrade livekit-tokens")
    assert f"in format {FORMAT + 1}" in found.told


def test_what_waits_for_longer_than_it_may_is_a_fault(dead: Recorder, tmp_path: Path) -> None:
    """Until then the next process is about to bring it home."""
    os.utime(spool.segment_path(dead.folder, spool.segments_of(dead.folder)[-1]), times=(0, time.time() - 60))
    states = [found_by(tmp_path, MemoryLedger(), seconds * SECOND)[0].state for seconds in (50, 70)]
    assert states == ["fault", "note"]


def test_of_many_orphans_the_oldest_are_named_and_the_others_added_up(tmp_path: Path) -> None:
    """After a host's power cut there are hundreds, all alike."""
    for number in range(30):
        recorder = a_recorder(tmp_path / "here")
        recorder.put_part(a_part(f"{number:032x}"))
        recorder.record(a_record())
        recorder.record(a_record())
        recorder.disown()
    *named, rest = found_by(tmp_path, MemoryLedger())
    assert len(named) == 5
    assert all(finding.subject.startswith("orphan of process") for finding in named)
    assert (rest.state, rest.subject, rest.todo) == ("note", "orphans", named[0].todo)
    assert rest.told.startswith("25 more: 50 records (")
    assert rest.told.endswith("), 25 parts not closed")


def test_a_spool_that_is_in_the_ledger_to_its_end_needs_no_line_of_its_own(dead: Recorder, tmp_path: Path) -> None:
    """Until the ledger goes back: then it waits again."""
    ledger = MemoryLedger()
    asyncio.run(take_over([dead.folder.parent], ledger))
    (found,) = found_by(tmp_path, ledger)
    assert found.told.startswith("1 ended process, all in the ledger; ")
    (orphan,) = found_by(tmp_path, MemoryLedger())
    assert orphan.told.startswith("the process is dead; 30 records")


def test_ends_whose_records_are_not_made_yet_are_not_in_the_ledger_either(tmp_path: Path) -> None:
    """Of a process that was killed: `doctor` tells of them."""
    recorder = a_recorder(tmp_path)
    for name in ("r1.1", "r1.2"):
        recorder.pend(a_pend(name))
        recorder.done(a_done(name), a_made_record, recorder.record)
    waiting = waiting_in(recorder.folder, None, since=0)
    assert (waiting.records, waiting.oldest) == (2, a_done().at)
    recorder.make_records()
    assert waiting_in(recorder.folder, None, since=0).records == 2
