"""The recorder: numbers, durability before return, failing disks, rotation."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from livekit_tokens.core import faults, spool, writer
from livekit_tokens.core.ends import MOST
from livekit_tokens.core.lines import Head, More, PartLine, Pend, StayLine, Use, to_bytes
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Stay, ended
from tests.core.makers import KEY, a_done, a_made_record, a_part, a_pend, a_record, a_recorder, lines_in


def test_a_record_is_in_the_spool_when_record_returns(tmp_path: Path) -> None:
    """Acknowledged means written: another process can read it at once, before any flush or close."""
    recorder = a_recorder(tmp_path)
    assert [recorder.record(a_record()), recorder.record(a_record())] == [1, 2]
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2]


def test_the_live_sums_are_those_of_the_records(tmp_path: Path) -> None:
    """What `summary()` says needs no I/O and is up to date when record returns."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.record(a_record())
    recorder.record(a_record(units={}, provenance="unknown"))
    ((_, totals),) = recorder.tally(a_part().key).lines()
    assert totals.units == {"input_text": 100, "output_audio": 50}
    assert (totals.requests, totals.unknown_requests, totals.unpriced_requests) == (2, 1, 2)


def test_what_is_let_go_of_takes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked child the parent's: a record is dropped and counted, it does not wait for a disk; nor is a segment
    begun in a folder that is another's."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    segments = spool.segments_of(recorder.folder)
    recorder.disown()
    recorder.record(a_record())
    assert (recorder.unkept, recorder.waiting_bytes) == (1, 0)
    assert spool.segments_of(recorder.folder) == segments


def test_a_new_segment_begins_with_all_that_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads only the newest segment finds the open parts and the requests in flight with their latest counts."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 3000)
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.put_part(a_part("f" * 32))
    recorder.put_part(ended(a_part("f" * 32), 2, "done"))
    recorder.pend(a_pend())
    recorder.more(More("r1.1", 7_000_000, 300, 4))
    while len(spool.segments_of(recorder.folder)) < 2:
        recorder.record(a_record())
    head, part, pend, more, *_ = lines_in(recorder.folder, 2)
    assert isinstance(head, Head)
    assert isinstance(part, PartLine)
    assert part.part == a_part()
    assert isinstance(pend, Pend)
    assert more == More("r1.1", 7_000_000, 300, 4)
    uses = [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)]
    assert uses == list(range(1, len(uses) + 1))
    assert head.seq == uses[-1] - 1


def test_an_announcement_is_carried_over_before_anything_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads only the newest segment knows the id under which a response was announced."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder = a_recorder(tmp_path)
    recorder.pend(a_pend())
    recorder.more(More("r1.1", 7_000_000, request_id="resp_1"))
    while len(spool.segments_of(recorder.folder)) < 2:
        recorder.record(a_record())
    assert More("r1.1", 7_000_000, request_id="resp_1") in lines_in(recorder.folder, 2)


def test_figures_are_on_the_disk_when_the_handler_returns_and_their_record_follows(tmp_path: Path) -> None:
    """A call's loop writes them down as they were told; the background makes the record, under the next number."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.pend(a_pend())
    recorder.done(a_done(), a_made_record, recorder.record)
    assert lines_in(recorder.folder)[-1] == a_done()
    recorder.tend()
    assert lines_in(recorder.folder)[-1] == Use(1, a_made_record(a_done()), "r1.1")
    recorder.tend()
    assert recorder.records == 1


def test_figures_whose_record_is_not_made_yet_are_carried_over(tmp_path: Path) -> None:
    """Who has only the newest segment makes it of them."""
    recorder = a_recorder(tmp_path)
    recorder.pend(a_pend())
    recorder.done(a_done(), a_made_record, recorder.record)
    recorder.begin_segment()
    assert lines_in(recorder.folder, 2)[1:] == [a_pend(), a_done()]


def test_the_end_of_a_request_that_is_over_by_other_word_is_recorded_at_once(tmp_path: Path) -> None:
    """What was told by hand has ended it: nobody could make its record of a line without a beginning."""
    recorder = a_recorder(tmp_path)
    recorder.pend(a_pend())
    recorder.record(a_record(), settles="r1.1")
    recorder.done(a_done(), a_made_record, recorder.record)
    assert lines_in(recorder.folder)[-1] == Use(2, a_made_record(a_done()), "r1.1")


def test_without_a_background_ends_do_not_pile_up(tmp_path: Path) -> None:
    """As in a child that may not open the ledger: each makes one then, so the call's end has few to make."""
    recorder = a_recorder(tmp_path)
    for number in range(3 * MOST):
        recorder.pend(a_pend(f"r1.{number}"))
        recorder.done(a_done(f"r1.{number}"), a_made_record, recorder.record)
    assert len([line for line in lines_in(recorder.folder) if isinstance(line, Use)]) == 2 * MOST


def test_what_is_not_recorded_yet_is_known_to_who_asks_and_waits_for_nobody(tmp_path: Path) -> None:
    """Who asks may be who holds the recorder: a log handler, a signal's."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.pend(a_pend())
    recorder.done(a_done(), a_made_record, recorder.record)
    with recorder._lock, recorder._ends._making:
        assert recorder.unmade(KEY) == [a_made_record(a_done())]
        ((_, before),) = recorder.tally(KEY).lines(recorder.unmade(KEY))
    recorder.make_records()
    assert recorder.unmade(KEY) == []
    ((_, after),) = recorder.tally(KEY).lines()
    assert before == after


def test_one_record_that_cannot_be_made_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    """What went wrong is said."""
    before = faults.counts().get("a record could not be made of its figures", 0)
    recorder = a_recorder(tmp_path)

    def fails(*_: object) -> None:
        raise RuntimeError("no")

    for name, write in (("r1.1", fails), ("r1.2", recorder.record)):
        recorder.pend(a_pend(name))
        recorder.done(a_done(name), a_made_record, write)
    recorder.make_records()
    assert recorder.records == 1
    assert faults.counts()["a record could not be made of its figures"] == before + 1


def test_a_forked_child_makes_no_record_of_what_its_parent_was_told(tmp_path: Path) -> None:
    """The parent does."""
    recorder = a_recorder(tmp_path)
    recorder.pend(a_pend())
    made: list[object] = []
    recorder.done(a_done(), a_made_record, lambda *told: made.append(told))
    recorder.disown()
    recorder.make_records()
    assert not made


def test_a_settled_request_is_carried_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a record has settled is not in flight any more."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder = a_recorder(tmp_path)
    recorder.pend(a_pend())
    recorder.record(a_record(), settles="r1.1")
    recorder.more(More("r1.1", 7_000_000, 300, 4))
    while len(spool.segments_of(recorder.folder)) < 2:
        recorder.record(a_record())
    assert not [line for line in lines_in(recorder.folder, 2) if isinstance(line, (Pend, More))]


def test_a_full_disk_does_not_raise_and_nothing_is_lost_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk refuses, records wait in memory; they are written in order when it takes them again."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    really_write = os.write
    refused(monkeypatch)
    recorder.record(a_record())
    recorder.record(a_record())
    monkeypatch.setattr(os, "write", really_write)
    recorder.tend()
    recorder.record(a_record())
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2, 3, 4]


def test_a_short_write_is_written_again_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torn line is damaged, the next one begins with a newline, and the record is there once."""
    recorder = a_recorder(tmp_path)
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: really_write(fd, raw[: len(raw) // 2]))
    recorder.record(a_record())
    monkeypatch.setattr(os, "write", really_write)
    assert recorder.sync()
    recorder.record(a_record())
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2]


def test_memory_is_bounded_while_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a record is dropped and counted; the oldest are kept."""
    monkeypatch.setattr(writer, "WAITING_BYTES", 3 * len(to_bytes(Use(1, a_record()))))
    recorder = a_recorder(tmp_path)
    really_write = os.write
    refused(monkeypatch)
    for _ in range(5):
        recorder.record(a_record())
    assert recorder.unkept == 2
    monkeypatch.setattr(os, "write", really_write)
    assert recorder.sync()
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2, 3]


def test_a_forked_child_leaves_the_parents_lock_alone(tmp_path: Path) -> None:
    """The child gives the files up; the parent goes on, and its lock is still held."""
    recorder = a_recorder(tmp_path)
    child = os.fork()
    if child == 0:
        recorder.disown()
        os._exit(0)
    os.waitpid(child, 0)
    assert spool.try_lock(recorder.folder) is None
    recorder.record(a_record())
    recorder.disown()
    lock = spool.try_lock(recorder.folder)
    assert lock is not None
    os.close(lock)


def test_who_is_still_there_when_a_part_ends_left_it_then(tmp_path: Path) -> None:
    """No stay stays open behind a closed part, however the part ended."""
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    recorder.put_stay(Stay(KEY, "PA_1", "caller", None, 1_000_000))
    recorder.put_part(ended(a_part(), 9_000_000, "process_exit"))
    stays = [line.stay for line in lines_in(recorder.folder) if isinstance(line, StayLine)]
    assert [stay.left_at for stay in stays] == [None, 9_000_000]


def test_a_text_that_utf8_cannot_hold_loses_no_record(tmp_path: Path) -> None:
    """Half a surrogate pair in a provider's id, or an object of the host's in a label: the record is there."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record(request_id="\ud800x", metadata={"label": object()}))
    (use,) = [line for line in lines_in(recorder.folder) if isinstance(line, Use)]
    assert (use.record.request_id, use.record.metadata["label"]) == ("?x", "object")


def test_a_recovered_disk_is_paid_for_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes when the disk is back does not write all that had waited."""
    recorder = a_recorder(tmp_path)
    really_write = os.write
    refused(monkeypatch)
    for _ in range(200):
        recorder.record(a_record())
    writes: list[int] = []

    def count(fd: int, raw: bytes) -> int:
        writes.append(1)
        return really_write(fd, raw)

    monkeypatch.setattr(os, "write", count)
    recorder._writer._retry_at = 0.0
    recorder.record(a_record())
    assert 0 < len(writes) <= 40
    assert recorder.sync()
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == list(range(1, 202))


def test_parts_still_find_room_when_records_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a call is never what is dropped first: without it the call would seem to be running for ever."""
    monkeypatch.setattr(writer, "WAITING_BYTES", 1000)
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    refused(monkeypatch)
    while not recorder.unkept:
        recorder.record(a_record())
    recorder.put_part(ended(a_part(), 9_000_000, "done"))
    monkeypatch.undo()
    assert recorder.sync()
    last = lines_in(recorder.folder)[-1]
    assert isinstance(last, PartLine)
    assert (last.part.status, last.seq) == ("closed", recorder.unkept + recorder_kept(recorder))


def test_a_spool_that_was_removed_under_its_process_is_put_back(tmp_path: Path) -> None:
    """A cleaner of temporary files took the folder: the newest segment comes back whole, under a lock that is held."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    shutil.rmtree(recorder.folder)
    recorder.record(a_record())
    recorder.tend()
    recorder.record(a_record())
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2, 3]
    assert spool.try_lock(recorder.folder) is None
    assert faults.counts()["the spool was removed from under this process; its newest segment is put back"] >= 1


def test_a_segment_that_was_removed_alone_is_put_back(tmp_path: Path) -> None:
    """The folder and its lock are still there."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    spool.segment_path(recorder.folder, 1).unlink()
    recorder.tend()
    recorder.record(a_record())
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2]
    assert spool.try_lock(recorder.folder) is None


def test_a_lock_that_was_removed_alone_is_held_again(tmp_path: Path) -> None:
    """A cleaner that was interrupted: without a lock nobody could ever take the spool over."""
    recorder = a_recorder(tmp_path)
    spool.lock_path(recorder.folder).unlink()
    recorder.tend()
    assert spool.lock_path(recorder.folder).exists()
    assert spool.try_lock(recorder.folder) is None
    recorder.disown()
    lock = spool.try_lock(recorder.folder)
    assert lock is not None
    os.close(lock)


def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the disk is full."""

    def refuse(fd: int, raw: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)


def recorder_kept(recorder: Recorder) -> int:
    return sum(isinstance(line, Use) for line in lines_in(recorder.folder))


def test_what_waited_for_the_disk_is_spread_over_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One huge segment could never make room on a small disk; each head says which record was before it."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    with monkeypatch.context() as full:
        refused(full)
        for _ in range(40):
            recorder.record(a_record())
    assert recorder.sync()
    segments = spool.segments_of(recorder.folder)
    assert len(segments) > 4
    seq = 0
    for line in lines_in(recorder.folder):
        if isinstance(line, (Head, PartLine)):
            assert line.seq == seq
        elif isinstance(line, Use):
            seq += 1
            assert line.seq == seq
    assert seq == 40


def test_a_segment_whose_beginning_is_refused_once_still_begins_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the one moment in which a segment begins: what it begins with goes before what waits."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0.0)
    recorder = a_recorder(tmp_path)
    recorder.put_part(a_part())
    really_write, refusals = os.write, [1, 1]

    def refuse_heads(fd: int, raw: bytes) -> int:
        if b'"head"' in raw and refusals:
            refusals.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(fd, raw)

    monkeypatch.setattr(os, "write", refuse_heads)
    while len(spool.segments_of(recorder.folder)) < 3:
        recorder.record(a_record())
    assert recorder.sync()
    uses = [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)]
    assert uses == list(range(1, len(uses) + 1))
    assert not refusals
    for segment in (2, 3):
        assert isinstance(lines_in(recorder.folder, segment)[0], Head)


def test_a_segment_goes_on_no_longer_than_the_replay_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a quiet process once wrote is then removed, as soon as it is in the ledger; one that writes nothing begins
    nothing."""
    recorder = a_recorder(tmp_path)
    monkeypatch.setattr(spool, "REPLAY_SECONDS", 0)
    recorder.tend()
    assert spool.segments_of(recorder.folder) == [1]
    recorder.record(a_record())
    recorder.tend()
    recorder.tend()
    assert spool.segments_of(recorder.folder) == [1, 2]


def test_what_a_call_leaves_to_the_background_is_done_by_it_whatever_fails(tmp_path: Path) -> None:
    """In its order, once; one call's fault is noted and keeps nobody else's work from being done."""
    recorder, done = a_recorder(tmp_path), list[str]()
    for name in ("first", "second"):
        recorder.later(partial(done.append, name))
        recorder.later(partial(int, "no number"))
    kind = "what a call had left to the background failed"
    before = faults.counts().get(kind, 0)
    recorder.tend()
    recorder.tend()
    assert done == ["first", "second"]
    assert faults.counts()[kind] == before + 2
