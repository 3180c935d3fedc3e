"""Takeover: the missing end of a dead owner's spool, once, whoever crashes when."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from livekit_tokens.core import remains, replay, spool, takeover
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.core.lines import FORMAT, Head, More, Use, from_bytes, to_bytes
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.remains import ABANDONED, missing_end, read_remains
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.sessions import IN_A_GAP, Stay, ended
from tests.core.makers import KEY, a_done, a_made_record, a_part, a_pend, a_record, a_recorder, lines_in
from tests.core.memory_ledger import MemoryLedger


def killed(recorder: Recorder) -> Recorder:
    """What SIGKILL leaves behind: the files as they are, and the lock free."""
    recorder.disown()
    return recorder


def a_call(root: Path) -> Recorder:
    """A call with one record, a participant, and a response in flight of which 300 ms have arrived."""
    recorder = a_recorder(root)
    recorder.put_part(a_part())
    recorder.put_stay(Stay(KEY, "PA_1", "caller", None, 1_000_000))
    recorder.record(a_record())
    recorder.pend(a_pend())
    recorder.more(More("r1.1", 7_000_000, 300, 10))
    return recorder


async def test_a_killed_call_is_finished_by_the_next_process(tmp_path: Path) -> None:
    """Its records are there, the response in flight is an estimate with bounds, its part is abandoned at the last
    sign of life."""
    killed(a_call(tmp_path))
    ledger = MemoryLedger()
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.sources, recovered.parts, recovered.estimated, recovered.records) == (1, 1, 1, 2)
    part = ledger.parts[KEY]
    assert (part.status, part.ended_at, part.close_reason) == ("abandoned", 7_000_000, ABANDONED)
    estimate = next(record for (_, seq), record in ledger.records.items() if seq == 2)
    assert estimate.provenance == "estimated"
    assert estimate.units == {"input_text": 40, "input_audio": 60, "output_text": 18, "output_audio": 6}
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low["output_audio"] <= 6 <= estimate.high["output_audio"]


async def test_figures_that_had_come_are_recorded_although_their_process_was_killed_at_once(tmp_path: Path) -> None:
    """It had not made their record yet: the provider's own figures stand there, once, and no estimate."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    killed(recorder)
    ledger = MemoryLedger()
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.estimated, recovered.records, ledger.parts[KEY].ended_at) == (0, 2, 8_000_000)
    record = next(record for (_, seq), record in ledger.records.items() if seq == 2)
    assert record == a_made_record(a_done())
    assert record.units == {"input_text": 60, "cached_input_text": 40, "output_audio": 50}
    assert (record.provenance, record.request_id, record.at) == ("reported", "resp_1", 8_000_000)


async def test_a_record_made_of_figures_is_not_made_again(tmp_path: Path) -> None:
    """Its owner wrote it, and then was killed."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    recorder.make_records()
    killed(recorder)
    await take_over([tmp_path], ledger := MemoryLedger())
    assert [record.units for record in ledger.records.values()] == [a_record().units, a_made_record(a_done()).units]


async def test_figures_stand_although_their_process_was_killed_while_it_told_again_what_is_in_flight(
    tmp_path: Path,
) -> None:
    """A new segment begins with the requests, and only then with what is known of their ends."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    recorder.begin_segment()
    killed(recorder)
    path = spool.segment_path(recorder.folder, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"type":"pend"' in lines[-2]
    path.write_bytes(b"".join(lines[:-1]))
    await take_over([tmp_path], ledger := MemoryLedger())
    assert a_made_record(a_done()) in ledger.records.values()


async def test_figures_whose_requests_own_line_is_damaged_are_a_record_lost_and_counted(tmp_path: Path) -> None:
    """Nobody knows any more whose they are."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    killed(recorder)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"type":"pend"', b'"type":"p\0nd"'))
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (len(ledger.records), recovered.lost) == (1, 1)
    assert (await take_over([tmp_path], ledger)).lost == 0


async def test_a_taker_that_is_stopped_behind_its_writing_counts_a_loss_once(tmp_path: Path) -> None:
    """The ledger was away: the next one finds what was said of figures that are nobody's."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    killed(recorder)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"type":"pend"', b'"type":"p\0nd"'))
    ledger = MemoryLedger()
    for _ in range(3):
        ledger.fail_next = 1
        with suppress(LedgerUnavailable):
            await take_over([tmp_path], ledger)
    await take_over([tmp_path], ledger)
    assert ledger.lost == 1


async def test_an_end_of_what_turned_out_to_be_told_by_hand_is_no_lost_record(tmp_path: Path) -> None:
    """It was written down, and then taken back."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    recorder.unpend("r1.1")
    killed(recorder)
    assert (await take_over([tmp_path], ledger := MemoryLedger())).lost == 0
    assert len(ledger.records) == 1


async def test_an_end_that_a_power_cut_has_left_is_recorded_unless_the_ledger_has_it(tmp_path: Path) -> None:
    """The ledger is ahead of the spool, and has not this one: it was written down and synced before its record."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    ledger = MemoryLedger()
    ledger.at[recorder.source.id] = Checkpoint(2, 500, 2)
    ledger.records[recorder.source.id, 2] = a_record(9_000_000)
    killed(recorder)
    await take_over([tmp_path], ledger)
    assert list(ledger.records.values()).count(a_made_record(a_done())) == 1


async def test_a_power_cut_and_a_taker_that_is_killed_count_no_figures_twice(tmp_path: Path) -> None:
    """The ledger is ahead of the spool: the record may be there already, and stays not to be made."""
    recorder = a_call(tmp_path)
    recorder.done(a_done(), a_made_record, recorder.record)
    ledger = MemoryLedger()
    source = recorder.source
    ledger.at[source.id] = Checkpoint(2, 500, 2)
    ledger.records[source.id, 2] = a_made_record(a_done())
    killed(recorder)
    ledger.fail_next = 1
    with suppress(LedgerUnavailable):
        await take_over([tmp_path], ledger)
    await take_over([tmp_path], ledger)
    assert list(ledger.records.values()).count(a_made_record(a_done())) == 1


async def test_a_response_killed_between_its_announcement_and_its_first_delta_is_known_by_its_id(
    tmp_path: Path,
) -> None:
    """Only the short line of its announcement says that it began."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    pend = a_pend()
    recorder.pend(msgspec.structs.replace(pend, record=replace(pend.record, request_id=None)))
    recorder.more(More("r1.1", 7_000_000, request_id="resp_7"))
    killed(recorder)
    await take_over([tmp_path], ledger := MemoryLedger())
    (estimate,) = ledger.records.values()
    assert (estimate.request_id, estimate.at) == ("resp_7", 7_000_000)
    assert estimate.low == {"input_text": 40, "input_audio": 60}


async def test_a_request_that_was_expected_and_never_began_is_not_estimated(tmp_path: Path) -> None:
    """Its owner had taken it back before it was killed."""
    recorder = a_call(tmp_path)
    recorder.unpend("r1.1")
    killed(recorder)
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.estimated, ledger.seqs()) == (0, [1])


async def test_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    """A spool whose lock is held is never touched."""
    recorder = a_call(tmp_path)
    before = spool.segment_path(recorder.folder, 1).read_bytes()
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.held, recovered.sources, ledger.records) == (1, 0, {})
    assert spool.segment_path(recorder.folder, 1).read_bytes() == before


async def test_a_second_takeover_brings_nothing_more(tmp_path: Path) -> None:
    """Whoever comes later finds all settled and all in the ledger."""
    killed(a_call(tmp_path))
    ledger = MemoryLedger()
    await take_over([tmp_path], ledger)
    seqs = ledger.seqs()
    again = await take_over([tmp_path], ledger)
    assert (again.sources, again.records, ledger.seqs()) == (0, 0, seqs)


@pytest.mark.parametrize("kept", range(1, 400, 23))
async def test_a_taker_killed_in_the_middle_of_its_writing_repeats_harmlessly(tmp_path: Path, kept: int) -> None:
    """The missing end is torn after any number of bytes: the next taker goes on, and everything is there once."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    before = path.read_bytes()
    left = await read_remains(recorder.folder)
    remains.append(recorder.folder, left, missing_end(left), None)
    path.write_bytes(path.read_bytes()[: len(before) + kept])
    ledger = MemoryLedger()
    await take_over([tmp_path], ledger)
    assert ledger.seqs() == [1, 2]
    assert ledger.parts[KEY].status == "abandoned"


async def test_a_kill_just_before_a_newline_neither_loses_the_line_nor_gives_its_number_twice(tmp_path: Path) -> None:
    """The record that settled the request is whole but for its newline: it counts, and no estimate takes its place."""
    recorder = a_call(tmp_path)
    recorder.record(a_record(9_000_000), settles="r1.1")
    killed(recorder)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes()[:-1])
    ledger = MemoryLedger()
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.estimated, ledger.seqs()) == (0, [1, 2])
    assert [record.provenance for record in ledger.records.values()] == ["reported", "reported"]


async def test_a_taker_killed_just_before_its_last_newline_repeats_harmlessly(tmp_path: Path) -> None:
    """What it wrote is whole; the next taker reads it instead of writing it again."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    left = await read_remains(recorder.folder)
    estimate, *_ = missing_end(left)
    remains.append(recorder.folder, left, [estimate], None)
    path.write_bytes(path.read_bytes()[:-1])
    ledger = MemoryLedger()
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.estimated, ledger.seqs()) == (0, [1, 2])


async def test_a_number_that_is_in_the_ledger_is_not_given_again(tmp_path: Path) -> None:
    """The last record's line was damaged after it had been drained: the estimate has a number of its own."""
    recorder, ledger = a_call(tmp_path), MemoryLedger()
    recorder.record(a_record())
    await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    killed(recorder)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"seq":2', b'"seq":7'))
    await take_over([tmp_path], ledger)
    assert ledger.seqs() == [1, 2, 3]


class DrainedMeanwhile(MemoryLedger):
    """Once it has told how far all sources are, the owner of one goes on, and dies; its spool loses what came then."""

    def __init__(self, owner: Recorder) -> None:
        super().__init__()
        self.owner = owner

    async def checkpoints(self, sources: Iterable[str]) -> Mapping[str, Checkpoint]:
        told = await super().checkpoints(sources)
        path = spool.segment_path(self.owner.folder, 1)
        kept = path.read_bytes()
        self.owner.record(a_record(), settles="r1.1")
        await SpoolDrain(self.owner.folder, self.owner.source, self).drain()
        killed(self.owner)
        path.write_bytes(kept)
        return told


async def test_what_an_owner_drained_before_its_spools_own_turn_is_known(tmp_path: Path) -> None:
    """It lived when the takeover began: its last response is in the ledger, and is neither estimated nor lost."""
    ledger = DrainedMeanwhile(a_call(tmp_path))
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.estimated, recovered.lost, ledger.lost) == (0, 0, 0)
    assert (ledger.seqs(), ledger.parts[KEY].status) == ([1, 2], "abandoned")


async def test_a_taker_killed_between_commit_and_anything_else_repeats_harmlessly(tmp_path: Path) -> None:
    """The checkpoint is in the same transaction as the records: there is nothing else to acknowledge."""
    killed(a_call(tmp_path))
    ledger = MemoryLedger()
    ledger.fail_next = 1
    with pytest.raises(Exception, match="on command"):
        await take_over([tmp_path], ledger)
    await take_over([tmp_path], ledger)
    assert ledger.seqs() == [1, 2]


async def test_an_owner_killed_while_it_began_a_new_segment_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest segment may hold nothing but a torn head; what is open is found in the one before."""
    recorder = a_call(tmp_path)
    raw = spool.segment_path(recorder.folder, 1).read_bytes()
    killed(recorder)
    spool.segment_path(recorder.folder, 2).write_bytes(raw[:30])
    ledger = MemoryLedger()
    await take_over([tmp_path], ledger)
    assert ledger.seqs() == [1, 2]
    assert ledger.parts[KEY].status == "abandoned"


async def test_a_part_that_had_ended_stays_ended(tmp_path: Path) -> None:
    """Only what is open is abandoned."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.put_part(ended(a_part(), 9_000_000, "participant_disconnected"))
    killed(recorder)
    await take_over([tmp_path], ledger := MemoryLedger())
    assert (ledger.parts[KEY].status, ledger.parts[KEY].close_reason) == ("closed", "participant_disconnected")


async def test_two_takers_of_one_host_do_not_meet(tmp_path: Path) -> None:
    """The second one leaves everything to the first."""
    killed(a_call(tmp_path))
    with takeover._only_taker(tmp_path) as first:
        assert first
        second = await take_over([tmp_path], ledger := MemoryLedger())
    assert (second.sources, ledger.records) == (0, {})


async def test_a_spool_past_its_replay_window_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead owner's spool is kept as long as a living one's, then its folder goes."""
    recorder = killed(a_call(tmp_path))
    ledger = MemoryLedger()
    await take_over([tmp_path], ledger)
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + spool.REPLAY_SECONDS)
    again = await take_over([tmp_path], ledger)
    assert (again.removed, recorder.folder.exists()) == (1, False)


async def test_on_a_full_disk_a_spool_goes_although_nothing_can_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its room is what is wanted."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    killed(recorder)
    monkeypatch.setattr(replay, "_write", lambda *_: None)
    recovered = await take_over([tmp_path], MemoryLedger(), replay_seconds=spool.NO_REPLAY)
    assert (recovered.records, recovered.removed) == (1, 1)


async def test_a_spool_whose_owner_had_only_begun_goes_after_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing in it that a ledger could have."""
    recorder = killed(a_recorder(tmp_path))
    await take_over([tmp_path], MemoryLedger())
    assert recorder.folder.exists()
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + spool.REPLAY_SECONDS)
    assert (await take_over([tmp_path], MemoryLedger())).removed == 1


async def test_a_spool_that_comes_home_late_is_kept_as_long_as_others(tmp_path: Path) -> None:
    """What the ledger has had for a moment only may be missing in it again the next moment."""
    recorder = killed(a_call(tmp_path))
    os.utime(spool.segment_path(recorder.folder, 1), (1, 1))
    recovered = await take_over([tmp_path], MemoryLedger())
    assert (recovered.records, recovered.removed) == (2, 0)
    await take_over([tmp_path], empty := MemoryLedger())
    assert empty.seqs() == [1, 2]


async def test_behind_a_segment_that_is_missing_everything_is_brought_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the segment held is counted."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder = a_call(tmp_path)
    while len(spool.segments_of(recorder.folder)) < 8:
        recorder.record(a_record())
    killed(recorder)
    spool.segment_path(recorder.folder, 3).unlink()
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert recovered.lost == ledger.lost > 0
    assert len(ledger.records) + ledger.lost == recorder.records + recovered.estimated


async def test_a_spool_is_removed_only_when_its_commits_are_on_the_disk(tmp_path: Path) -> None:
    """Also where the disk is full and nothing is kept for replays."""

    class Away(MemoryLedger):
        async def make_durable(self, source: str) -> None:
            raise LedgerUnavailable("its disk does not answer")

    recorder = killed(a_call(tmp_path))
    ledger = Away()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await take_over([tmp_path], ledger, replay_seconds=spool.NO_REPLAY)
    assert (ledger.seqs(), recorder.folder.exists()) == ([1, 2], True)


async def test_a_restored_database_gets_back_what_dead_processes_wrote(tmp_path: Path) -> None:
    """The replay window holds for dead owners too."""
    killed(a_call(tmp_path))
    await take_over([tmp_path], MemoryLedger())
    empty = MemoryLedger()
    await take_over([tmp_path], empty)
    assert empty.seqs() == [1, 2]


async def test_a_folder_without_a_readable_head_is_left_and_named(tmp_path: Path) -> None:
    """Nothing is removed that was not understood."""
    recorder = killed(a_call(tmp_path))
    spool.segment_path(recorder.folder, 1).write_bytes(b"garbage\n" * 10)
    recovered = await take_over([tmp_path], MemoryLedger())
    assert recovered.unreadable == [str(recorder.folder)]
    assert recorder.folder.exists()


async def test_a_damaged_head_does_not_hide_the_records_behind_it(tmp_path: Path) -> None:
    """Whose spool it is, its folder says too; the lines behind the head are as good as ever."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"head"', b'"haed"'))
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.unreadable, ledger.seqs()) == ([], [1, 2])
    assert list(ledger.at) == [recorder.source.id]


async def test_nothing_is_missing_in_a_spool_that_ended(tmp_path: Path) -> None:
    """A clean end leaves nothing for a taker to write."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.pend(a_pend())
    recorder.record(a_record(), settles="r1.1")
    recorder.put_part(ended(a_part(), 9_000_000, "done"))
    assert missing_end(await read_remains(recorder.folder)) == []
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1]


async def test_a_spool_that_cannot_be_taken_keeps_none_behind_it_from_being_taken(tmp_path: Path) -> None:
    """It is named and left where it is; the others are brought home."""

    class Choosy(MemoryLedger):
        async def apply(self, batch: Batch) -> bool:
            if batch.source.id == poisoned.source.id:
                raise KeyError("a unit of tomorrow")
            return await super().apply(batch)

    poisoned, good = killed(a_call(tmp_path)), killed(a_call(tmp_path))
    ledger = Choosy()
    recovered = await take_over([tmp_path], ledger)
    assert recovered.unreadable == [str(poisoned.folder)]
    assert {source for source, _ in ledger.records} == {good.source.id}
    assert poisoned.folder.exists()


async def test_a_spool_of_another_ledger_is_left_to_it(tmp_path: Path) -> None:
    """Two agents of one host may write for two ledgers; by itself no spool goes into the other's."""
    recorder = Recorder(tmp_path, Source("s", "here", 1, 0, "ledger-a"), lambda: 5_000_000)
    recorder.record(a_record())
    killed(recorder)
    ledger = MemoryLedger()
    other = await take_over([tmp_path], ledger, ledger_id="ledger-b")
    assert (other.elsewhere, other.records, ledger.records) == (1, 0, {})
    assert (await take_over([tmp_path], ledger, ledger_id="ledger-a")).records == 1


async def test_a_damaged_head_strands_no_record(tmp_path: Path) -> None:
    """The folder's name says whose they are."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(b"x" + path.read_bytes())
    await take_over([tmp_path], ledger := MemoryLedger())
    assert ledger.seqs() == [1, 2]


async def test_a_ledger_ahead_of_the_spool_still_gets_the_end_of_its_parts(tmp_path: Path) -> None:
    """A power cut took the spool's last lines after they had been drained: the part is closed all the same, and what
    was in flight is not estimated, since its record may be in the ledger."""
    recorder = a_call(tmp_path)
    kept = spool.segment_path(recorder.folder, 1).read_bytes()
    recorder.record(a_record(), settles="r1.1")
    ledger = MemoryLedger()
    await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    killed(recorder)
    spool.segment_path(recorder.folder, 1).write_bytes(kept)
    await take_over([tmp_path], ledger)
    assert ledger.parts[KEY].status == "abandoned"
    assert ledger.seqs() == [1, 2]
    assert [record.provenance for record in ledger.records.values()] == ["reported", "reported"]


async def test_a_finished_spool_is_passed_over_by_a_look_at_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process that begins a call looks at all spools of the last hour: what is done must cost it nothing."""
    killed(a_call(tmp_path))
    ledger = MemoryLedger()
    await take_over([tmp_path], ledger)
    monkeypatch.setattr(takeover, "read_remains", None)
    assert (await take_over([tmp_path], ledger)).unreadable == []


async def test_an_empty_spool_is_swept_away(tmp_path: Path) -> None:
    """Its owner was killed before its first line."""
    recorder = killed(a_recorder(tmp_path))
    spool.segment_path(recorder.folder, 1).write_bytes(b"")
    recovered = await take_over([tmp_path], MemoryLedger())
    assert (recovered.removed, recovered.unreadable) == (1, [])


async def test_a_record_lost_at_the_very_end_is_counted(tmp_path: Path) -> None:
    """Nothing comes after it, but the part's end says how many there were."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.record(a_record())
    recorder.record(a_record(request_id="the-last"))
    recorder.put_part(ended(a_part(), 9_000_000, "done"))
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b"the-last", b"damaged!"))
    killed(recorder)
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.lost, ledger.lost, ledger.seqs()) == (1, 1, [1])


async def test_a_child_that_was_forked_during_a_takeover_hinders_none_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has inherited the locks' descriptors, and would hold them for as long as it lives."""
    killed(a_call(tmp_path))
    inherited: list[int] = []
    finish = takeover._Taking._finish

    async def forking(taking: takeover._Taking) -> None:
        inherited.extend(_inherited(tmp_path))
        await finish(taking)

    monkeypatch.setattr(takeover._Taking, "_finish", forking)
    await take_over([tmp_path], MemoryLedger())
    recovered = await take_over([tmp_path], MemoryLedger())
    for fd in inherited:
        os.close(fd)
    assert len(inherited) >= 2
    assert (recovered.busy, recovered.held) == (0, 0)


TAKER = """
import asyncio, os, sys, time
from pathlib import Path
from livekit_tokens.core import takeover
from tests.core.memory_ledger import MemoryLedger

async def forking_and_killed(taking):
    if (child := os.fork()) == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)

takeover._Taking._finish = forking_and_killed
asyncio.run(takeover.take_over([Path(sys.argv[1])], MemoryLedger()))
"""


def test_a_child_of_a_taker_that_was_killed_hinders_nobody(tmp_path: Path) -> None:
    """The taker's locks end with it, although a child that it had forked meanwhile lives on."""
    killed(a_call(tmp_path))
    taker = subprocess.Popen([sys.executable, "-c", TAKER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert taker.stdout is not None
    child = int(taker.stdout.readline())
    taker.kill()
    taker.wait()
    recovered = asyncio.run(take_over([tmp_path], MemoryLedger()))
    os.kill(child, signal.SIGKILL)
    taker.stdout.close()
    assert (recovered.busy, recovered.held, recovered.sources) == (0, 0, 1)


def _inherited(root: Path) -> Iterator[int]:
    for fd in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):
            path = fd.readlink()
            if path.is_relative_to(root) and path.name in ("lock", ".takeover"):
                yield os.dup(int(fd.name))


def test_a_source_that_is_born_while_leftovers_are_looked_for_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder had another name a moment ago."""
    (tmp_path / ".new-abc").mkdir()
    seen = Path.iterdir

    def iterdir(folder: Path) -> list[Path]:
        found = list(seen(folder))
        if folder == tmp_path:
            (tmp_path / ".new-abc").rename(tmp_path / "abc")
        return found

    monkeypatch.setattr(Path, "iterdir", iterdir)
    spool.sweep(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["abc"]


async def test_a_record_lost_at_the_very_end_of_a_killed_process_is_counted(tmp_path: Path) -> None:
    """Nothing tells its number, but that the damaged line was a record can still be seen; and it is counted once."""
    recorder = a_call(tmp_path)
    recorder.record(a_record(request_id="the-last"))
    killed(recorder)
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b"the-last", b"damaged!"))
    ledger = MemoryLedger()
    assert (await take_over([tmp_path], ledger)).lost == 1
    (recorder.folder / "acknowledged").unlink()
    assert (await take_over([tmp_path], ledger)).lost == 0
    assert (ledger.lost, ledger.seqs()) == (1, [1, 3])


@pytest.mark.parametrize("brought", [0, 3])
@pytest.mark.parametrize(("step", "ends_open"), [("append", True), ("SpoolDrain", True), ("SpoolDrain", False)])
async def test_a_spool_that_is_removed_while_it_is_taken_over_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, brought: int, *, ends_open: bool
) -> None:
    """Its numbers had been read: nobody else will ever say that they were there. None of its calls seems to go on."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    recorder.put_part(a_part())
    for _ in range(brought):
        recorder.record(a_record())
    if brought:
        await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    for _ in range(5):
        recorder.record(a_record())
    if ends_open:
        recorder.pend(a_pend())
    else:
        recorder.put_part(ended(a_part(), 9_000_000, "done"))
    killed(recorder)
    after = getattr(takeover, step)

    def removed_before(*args: object, **named: object) -> object:
        shutil.rmtree(recorder.folder)
        return after(*args, **named)

    monkeypatch.setattr(takeover, step, removed_before)
    recovered = await take_over([tmp_path], ledger)
    assert (recovered.lost, ledger.lost) == (5 + ends_open, 5 + ends_open)
    assert (recovered.unreadable, ledger.seqs()) == ([], list(range(1, brought + 1)))
    assert [part.status for part in ledger.parts.values()] in ([], ["abandoned"])


async def test_what_is_removed_of_a_spool_while_it_is_taken_over_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One segment of it, when the end stands behind it already."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    while len(spool.segments_of(recorder.folder)) < 4:
        recorder.record(a_record())
    killed(recorder)

    def removed_before(*args: object, **named: object) -> SpoolDrain:
        spool.segment_path(recorder.folder, 4).unlink()
        return SpoolDrain(*args, **named)

    monkeypatch.setattr(takeover, "SpoolDrain", removed_before)
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (len(ledger.records) + ledger.lost, recovered.lost) == (recorder.records, ledger.lost)
    assert ledger.lost > 0


async def test_a_damaged_line_of_something_else_is_no_lost_record(tmp_path: Path) -> None:
    """Progress that a request in flight had told of: its estimate is a little less exact."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    path.write_bytes(path.read_bytes().replace(b'"audio_ms":300', b'"audio_ms":309'))
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.damaged, recovered.lost, ledger.seqs()) == (1, 0, [1, 2])


async def test_a_spool_that_a_newer_version_wrote_is_left_to_it(tmp_path: Path, caplog) -> None:
    """What this one does not know would look like damage, and go with the folder an hour later."""
    recorder = killed(a_call(tmp_path))
    path = spool.segment_path(recorder.folder, 1)
    first, rest = path.read_bytes().split(b"\n", 1)
    head = from_bytes(first)
    assert isinstance(head, Head)
    path.write_bytes(to_bytes(msgspec.structs.replace(head, format=FORMAT + 1)) + rest)
    before = path.read_bytes()
    recovered = await take_over([tmp_path], ledger := MemoryLedger())
    assert (recovered.newer, recovered.records, ledger.records) == (1, 0, {})
    assert path.read_bytes() == before
    assert f"in format {FORMAT + 1}" in caplog.text


async def test_a_spool_of_an_old_version_is_brought_home(tmp_path: Path) -> None:
    """Its heads say no format; nobody had noted what of it is acknowledged."""
    folder, lock = spool.create(tmp_path, "old")
    os.close(lock)
    shutil.copy(Path(__file__).with_name("spool_of_old.jsonl"), spool.segment_path(folder, 1))
    recovered = await take_over([tmp_path], ledger := MemoryLedger(), ledger_id="ledger-a")
    assert (recovered.parts, recovered.estimated, recovered.damaged, ledger.seqs()) == (1, 1, 0, [1, 2])
    assert (await take_over([tmp_path], ledger, ledger_id="ledger-a")).records == 0


async def test_an_end_behind_the_ledgers_checkpoint_says_whose_ledger_it_is(tmp_path: Path) -> None:
    """A power cut took the spool's end: what the taker wrote into a new segment must not go into any ledger."""
    recorder = Recorder(tmp_path, Source("s", "here", 1, 0, "ledger-a"), lambda: 5_000_000)
    recorder.put_part(a_part())
    kept = spool.segment_path(recorder.folder, 1).read_bytes()
    recorder.record(a_record())
    ledger = MemoryLedger()
    await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    killed(recorder)
    spool.segment_path(recorder.folder, 1).write_bytes(kept)
    await take_over([tmp_path], ledger, ledger_id="ledger-a")
    spool.segment_path(recorder.folder, 1).unlink()
    (tmp_path / "s" / "acknowledged").unlink()
    assert (await take_over([tmp_path], MemoryLedger(), ledger_id="ledger-b")).elsewhere == 1


async def test_the_folders_of_many_hosts_are_taken_over_one_connection(tmp_path: Path) -> None:
    """Each pod of Kubernetes has one, and its server has only so many connections. Where there is nothing, none."""
    connected = []

    class Counting(MemoryLedger):
        async def connect(self) -> MemoryLedger:
            connected.append(1)
            return self

    roots, ledger = [tmp_path / str(number) for number in range(3)], Counting()
    for root in roots:
        root.mkdir()
    assert (await take_over(roots, ledger)).sources == 0
    assert connected == []
    for root in roots[1:]:
        dead = a_recorder(root)
        dead.record(a_record())
        dead.disown()
    assert (await take_over(roots, ledger)).records == 2
    assert connected == [1]


async def test_a_killed_process_whose_last_call_ended_in_a_gap_leaves_none_open(tmp_path: Path) -> None:
    """Its last segment begins with nothing open, and nothing comes behind that."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    recorder.put_part(a_part())
    await SpoolDrain(recorder.folder, recorder.source, ledger).drain()
    recorder.begin_segment()
    recorder.put_part(ended(a_part(), 9_000_000, "done"))
    recorder.begin_segment()
    recorder.put_part(ended(a_part("f" * 32), 9_000_000, "done"))
    recorder.begin_segment()
    spool.segment_path(recorder.folder, 2).unlink()
    killed(recorder)
    await take_over([tmp_path], ledger)
    assert (ledger.parts[KEY].status, ledger.parts[KEY].close_reason) == ("abandoned", IN_A_GAP)
