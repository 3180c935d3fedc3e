"""The drain: batches, checkpoints, replay after a database went back, gaps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from livekit_tokens.core import replay, spool
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.ledger import Batch
from livekit_tokens.core.lines import Late, More, Use, to_bytes
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.sessions import IN_A_GAP, ended
from tests.core.makers import a_part, a_pend, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger


def drain_of(recorder: Recorder, ledger: MemoryLedger) -> SpoolDrain:
    return SpoolDrain(recorder.folder, recorder.source, ledger)


def record(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        recorder.record(a_record())


async def test_all_records_arrive_once_over_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the spool is cut into segments and batches, every record arrives once."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 3000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    recorder.put_part(a_part())
    drain = SpoolDrain(recorder.folder, recorder.source, ledger, piece=700)
    for _ in range(5):
        record(recorder, 20)
        await drain.drain()
    assert ledger.seqs() == list(range(1, 101))
    assert len(spool.segments_of(recorder.folder)) > 3


async def test_lines_that_bring_nothing_cost_the_ledger_nothing(tmp_path: Path) -> None:
    """Requests in flight are never in the database, and a drain that finds only them asks for no transaction."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    drain = drain_of(recorder, ledger)
    recorder.pend(a_pend())
    recorder.more(More("r1.1", 7_000_000, 300, 4))
    await drain.drain()
    assert ledger.batches == 0
    recorder.record(a_record(), settles="r1.1")
    await drain.drain()
    assert (ledger.batches, ledger.seqs()) == (1, [1])


async def test_a_failed_batch_is_tried_again_whole(tmp_path: Path) -> None:
    """The drain raises what the ledger raised; the next one begins at the same place."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 3)
    ledger.fail_next = 1
    drain = drain_of(recorder, ledger)
    with pytest.raises(LedgerUnavailable):
        await drain.drain()
    await drain.drain()
    assert ledger.seqs() == [1, 2, 3]


async def test_a_restored_backup_is_replayed_from_its_own_checkpoint(tmp_path: Path) -> None:
    """The database went back to yesterday: what is missing there is brought again, what is there is not."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 5)
    await drain_of(recorder, ledger).drain()
    backup = MemoryLedger()
    backup.at, backup.records = dict(ledger.at), dict(ledger.records)
    record(recorder, 5)
    await drain_of(recorder, ledger).drain()
    await drain_of(recorder, backup).drain()
    assert backup.seqs() == list(range(1, 11))


async def test_a_database_that_went_back_behind_a_living_connection_is_noticed(tmp_path: Path) -> None:
    """The compare-and-set refuses; the drain reads the checkpoint again and goes on from there."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 5)
    drain = drain_of(recorder, ledger)
    await drain.drain()
    ledger.at, ledger.records = {}, {}
    record(recorder, 1)
    await drain.drain()
    assert ledger.seqs() == [1, 2, 3, 4, 5, 6]


async def test_a_gap_older_than_the_replay_window_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted database, and segments that are gone: what cannot be brought again is said in numbers."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 30)
    gone = spool.segments_of(recorder.folder)[0]
    spool.segment_path(recorder.folder, gone).unlink()
    done = await drain_of(recorder, ledger).drain()
    assert done.records + done.lost == 30
    assert done.lost == ledger.lost > 0
    assert ledger.seqs()[0] == done.lost + 1


async def test_a_damaged_record_is_counted_as_lost(tmp_path: Path) -> None:
    """Numbers are strictly increasing: a line that cannot be read leaves a hole that is seen."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 3)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"seq":2', b'"seq":9'))
    done = await drain_of(recorder, ledger).drain()
    assert ledger.seqs() == [1, 3]
    assert (done.damaged, done.lost) == (1, 1)


async def test_a_line_that_lacked_only_its_newline_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write took all but the last byte; the line is written again whole, and both can be read."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: really_write(fd, raw[:-1]))
    recorder.record(a_record())
    monkeypatch.setattr(os, "write", really_write)
    assert recorder.sync()
    record(recorder, 2)
    done = await drain_of(recorder, ledger).drain()
    assert ledger.seqs() == [1, 2, 3]
    assert (done.records, done.lost) == (3, 0)


async def test_damage_at_the_end_of_a_segment_is_counted_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment's head says what was before it, also when no record follows."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    while len(spool.segments_of(recorder.folder)) < 2:
        record(recorder, 1)
    first, second = (spool.segment_path(recorder.folder, number) for number in (1, 2))
    first.write_bytes(first.read_bytes()[:-10])
    second.write_bytes(second.read_bytes().splitlines(keepends=True)[0])
    done = await drain_of(recorder, ledger).drain()
    assert (done.damaged, done.lost, ledger.lost) == (1, 1, 1)


async def test_a_part_arrives_also_when_its_first_segment_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open parts are carried into every segment, so that a replay from the middle knows whose records it brings."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    recorder.put_part(a_part())
    record(recorder, 20)
    spool.segment_path(recorder.folder, 1).unlink()
    await drain_of(recorder, ledger).drain()
    assert list(ledger.parts) == [a_part().key]


async def test_a_drain_that_never_gets_its_turn_says_so(tmp_path: Path) -> None:
    """It must not look as if all were in the ledger: the spool would be removed one day."""

    class Contested(MemoryLedger):
        async def apply(self, batch: Batch) -> bool:
            return False

    recorder = a_recorder(tmp_path)
    record(recorder, 1)
    with pytest.raises(LedgerUnavailable, match="another writer"):
        await drain_of(recorder, Contested()).drain()


async def test_a_part_whose_end_was_lost_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment with its last line is gone; the next one says what was open, and this part is not among that."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    lost, lives = a_part(), a_part("f" * 32)
    recorder.put_part(lost)
    recorder.put_part(lives)
    drain = drain_of(recorder, ledger)
    await drain.drain()
    recorder.put_part(ended(lost, 9_000_000, "done"))
    while len(spool.segments_of(recorder.folder)) < 3:
        record(recorder, 1)
    spool.segment_path(recorder.folder, 1).unlink()
    await drain_of(recorder, ledger).drain()
    assert (ledger.parts[lost.key].status, ledger.parts[lost.key].close_reason) == ("abandoned", IN_A_GAP)
    assert ledger.parts[lives.key].status == "open"
    assert ledger.lost > 0


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"done"', b'"d0ne"'))


@pytest.mark.parametrize("damage", [Path.unlink, damaged])
async def test_a_part_whose_end_was_lost_does_not_stay_open_where_nothing_else_is(tmp_path: Path, damage) -> None:
    """A process has one call as a rule: its next segments begin with nothing at all, and that is said, too."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    part = a_part()
    recorder.put_part(part)
    drain = drain_of(recorder, ledger)
    await drain.drain()
    recorder.begin_segment()
    recorder.put_part(ended(part, 9_000_000, "done"))
    for _ in range(2):
        recorder.begin_segment()
        record(recorder, 1)
    damage(spool.segment_path(recorder.folder, 2))
    await drain.drain()
    assert (ledger.parts[part.key].status, ledger.parts[part.key].close_reason) == ("abandoned", IN_A_GAP)


async def test_a_beginning_that_is_read_in_pieces_ends_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts are open: the lines that say so are more than one batch, and none of them is taken for ended."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    for number in range(20):
        recorder.put_part(a_part(f"{number:032x}"))
    while len(spool.segments_of(recorder.folder)) < 3:
        record(recorder, 1)
    statuses = []
    really_apply = ledger.apply

    async def watched(batch: Batch) -> bool:
        done = await really_apply(batch)
        statuses.extend(part.status for part in ledger.parts.values())
        return done

    monkeypatch.setattr(ledger, "apply", watched)
    await SpoolDrain(recorder.folder, recorder.source, ledger, piece=700).drain()
    assert len(statuses) > 40
    assert set(statuses) == {"open"}


async def test_late_figures_come_home_with_the_number_of_their_estimate(tmp_path: Path) -> None:
    """They take no number of their own: nothing is missing afterwards."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    estimate = recorder.record(a_record(provenance="estimated"))
    recorder.late(Late(estimate, 9_000_000, {"output_audio": 7}))
    recorder.record(a_record())
    await drain_of(recorder, ledger).drain()
    assert ledger.late == [Late(estimate, 9_000_000, {"output_audio": 7})]
    assert (ledger.seqs(), ledger.lost) == ([1, 2], 0)


async def test_behind_a_segment_that_is_missing_the_drain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held is counted by the next one's head; nothing waits for it."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 30)
    drain = drain_of(recorder, ledger)
    spool.segment_path(recorder.folder, 2).unlink()
    done = await drain.drain()
    record(recorder, 10)
    done.records += (await drain.drain()).records
    assert done.lost == ledger.lost > 0
    assert done.records == len(ledger.records) == 40 - ledger.lost


async def test_what_came_home_late_is_kept_as_long_as_what_came_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger was away for hours: its replay window begins when it is back."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 30)
    written = spool.segments_of(recorder.folder)
    for number in written:
        os.utime(spool.segment_path(recorder.folder, number), (1, 1))
    await drain_of(recorder, ledger).drain()
    assert spool.segments_of(recorder.folder) == written
    await drain_of(recorder, empty := MemoryLedger()).drain()
    assert empty.seqs() == ledger.seqs()


async def test_nothing_is_removed_before_its_commit_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut could take the one with the other; also on a full disk, where nothing is kept for replays."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)

    class Away(MemoryLedger):
        async def make_durable(self, source: str) -> None:
            raise LedgerUnavailable("its disk does not answer")

    recorder, ledger = a_recorder(tmp_path), Away()
    record(recorder, 30)
    written = spool.segments_of(recorder.folder)
    with pytest.raises(LedgerUnavailable):
        await drain_of(recorder, ledger).drain(replay_seconds=spool.NO_REPLAY)
    assert len(ledger.records) == 30
    assert spool.segments_of(recorder.folder) == written


async def test_what_a_segment_carries_is_on_the_disk_before_the_one_before_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that has no record yet is in no ledger: a power cut could take its last line."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    synced: list[list[int]] = []
    drain = SpoolDrain(
        recorder.folder,
        recorder.source,
        ledger,
        sync=lambda: synced.append(spool.segments_of(recorder.folder)),
    )
    record(recorder, 30)
    written = spool.segments_of(recorder.folder)
    await drain.drain(replay_seconds=spool.NO_REPLAY)
    assert synced == [written]
    assert spool.segments_of(recorder.folder) == written[-1:]


async def test_the_ledgers_disk_is_waited_for_once_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a drain: that is an fsync."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 30)
    drain = drain_of(recorder, ledger)
    await drain.drain()
    assert ledger.durable == ledger.at
    ledger.durable.clear()
    record(recorder, 1)
    await drain.drain()
    assert ledger.durable == {}


async def test_a_restored_ledger_gets_back_what_it_lacks_although_nobody_writes(tmp_path: Path) -> None:
    """The database went back in place, behind a connection that goes on; a drain that brings nothing looks."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 5)
    drain = drain_of(recorder, ledger)
    await drain.drain()
    ledger.at, ledger.records = {}, {}
    await drain.drain()
    assert ledger.seqs() == [1, 2, 3, 4, 5]


def set_back(recorder: Recorder, records: int) -> None:
    """The machine's snapshot is restored: the file and the memory are what they were after so many records."""
    path = spool.segment_path(recorder.folder, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    os.truncate(path, len(b"".join(lines[: records + 1])))
    recorder._seq = recorder._writer._seq = records


async def test_a_process_that_was_set_back_numbers_on_behind_what_the_ledger_has(tmp_path: Path) -> None:
    """Its ledger is ahead of it: nothing that it writes from then on is taken for what the ledger has already."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 20)
    await drain_of(recorder, ledger).drain()
    set_back(recorder, 10)
    drain = SpoolDrain(recorder.folder, recorder.source, ledger, write_on_behind=recorder.write_on_behind)
    await drain.drain()
    for n in range(15):
        recorder.record(a_record(request_id=f"new-{n}"))
    done = await drain.drain()
    assert (done.records, ledger.lost) == (15, 0)
    await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    assert ledger.seqs() == list(range(1, 36))


async def test_what_a_process_wrote_after_it_was_set_back_is_counted_where_it_is_not_brought(tmp_path: Path) -> None:
    """It gave numbers a second time before its drain could tell it; what is behind those is brought."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 20)
    await drain_of(recorder, ledger).drain()
    set_back(recorder, 10)
    for n in range(30):
        recorder.record(a_record(request_id=f"new-{n}"))
    done = await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    assert (done.records, done.lost, ledger.lost) == (20, 10, 10)
    assert ledger.seqs() == list(range(1, 41))


async def test_a_number_that_two_records_have_is_counted(tmp_path: Path) -> None:
    """Somebody else wrote into the spool of a living process, on a volume without locks: the second is not brought."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 1)
    with spool.segment_path(recorder.folder, 1).open("ab") as file:
        file.write(to_bytes(Use(2, a_record(provenance="estimated"))))
    drain = drain_of(recorder, ledger)
    await drain.drain()
    record(recorder, 2)
    assert (await drain.drain()).lost == ledger.lost == 1
    assert ledger.seqs() == [1, 2, 3]
    assert ledger.records[recorder.source.id, 2].provenance == "estimated"


async def test_two_records_of_one_number_in_one_batch_are_counted(tmp_path: Path) -> None:
    """The ledger has neither yet."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    with spool.segment_path(recorder.folder, 1).open("ab") as file:
        file.write(to_bytes(Use(1, a_record(provenance="estimated"))))
    record(recorder, 1)
    assert (await drain_of(recorder, ledger).drain()).lost == ledger.lost == 1


async def test_what_a_restored_ledger_got_back_is_kept_for_an_hour_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it once had it, is no reason to let go of it now."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    record(recorder, 30)
    await drain_of(recorder, ledger).drain()
    before = replay.acknowledged(recorder.folder).since
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + 3000)
    await drain_of(recorder, MemoryLedger()).drain()
    after = replay.acknowledged(recorder.folder).since
    assert before.keys() == after.keys()
    assert all(after[number] > before[number] + 2900 for number in before)
