"""The background: it goes on whatever the ledger does, and brings what a flush could not."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livekit_tokens.core import background, spool, takeover
from livekit_tokens.core.background import Background
from livekit_tokens.core.chores import Chores
from livekit_tokens.core.health import faults_in
from livekit_tokens.core.ledger import Batch
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.errors import LedgerCrowded
from tests.core.makers import a_done, a_made_record, a_pend, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger
from tests.waiting import PATIENCE_SECONDS, until, wait_until


class StrangeLedger(MemoryLedger):
    """Raises, so many times, what no ledger should."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def apply(self, batch: Batch) -> bool:
        if self.times:
            self.times -= 1
            raise ModuleNotFoundError("a driver's import failed")
        return await super().apply(batch)


class SlowLedger(MemoryLedger):
    """The first batch takes longer than anybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = PATIENCE_SECONDS

    async def apply(self, batch: Batch) -> bool:
        seconds, self.seconds = self.seconds, 0.0
        await asyncio.sleep(seconds)
        return await super().apply(batch)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], tuple[Recorder, Background]]:
    """A recorder and its background on a ledger. The recorder does not wake it: only what is asked for is done."""
    monkeypatch.setattr(background, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.01)

    def started(ledger: Any) -> tuple[Recorder, Background]:
        recorder = a_recorder(tmp_path)
        made = Background(recorder, ledger, Chores(recorder.source, lambda: [tmp_path]))
        made.start()
        return recorder, made

    return started


def arrived(ledger: MemoryLedger, count: int) -> bool:
    wait_until(lambda: len(ledger.records) >= count)
    return len(ledger.records) == count


def test_a_fault_that_nobody_foresaw_does_not_end_the_drain(start) -> None:
    """It is noted and tried again, like a ledger that is not available."""
    ledger = StrangeLedger(times=2)
    recorder, own = start(ledger)
    recorder.record(a_record())
    own.written()
    assert arrived(ledger, 1)


def test_what_a_failed_flush_did_not_bring_follows_without_another_record(start) -> None:
    """A call's last flush met a locked database: nobody writes any more, and the records come all the same."""
    ledger = MemoryLedger()
    ledger.fail_next = 1
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS) is False
    assert arrived(ledger, 1)


async def test_what_a_flush_had_no_time_to_bring_follows_without_another_record(start) -> None:
    """The flush is given up in the middle of a batch; the batch is brought again."""
    ledger = SlowLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert await own.flush(0.1) is False
    assert await asyncio.to_thread(arrived, ledger, 1)


async def test_a_flush_waits_for_nothing_of_the_hosts(start, full_executor: None) -> None:
    """A call's end asks for it, in a loop whose executor the host has filled."""
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    async with asyncio.timeout(10):
        assert await own.flush(5)
    assert ledger.seqs() == [1]


async def test_a_flush_of_a_background_that_was_never_started_is_false_at_once(tmp_path: Path) -> None:
    """A child that was forked while its parent had the ledger open has none; its spool waits for the next process."""
    recorder, ledger = a_recorder(tmp_path), MemoryLedger()
    own = Background(recorder, ledger, Chores(recorder.source, lambda: [tmp_path]))
    async with asyncio.timeout(10):
        assert await own.flush(60) is False
    assert own.flush_blocking(60) is False
    assert own.hold(60)


async def test_a_flush_of_a_background_that_has_ended_is_false(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked at the end of every call, and must not raise there."""

    async def end_at_once(_: Background) -> None: ...

    monkeypatch.setattr(Background, "_live", end_at_once)
    _, own = start(MemoryLedger())
    own._thread.join(PATIENCE_SECONDS)
    assert await own.flush(PATIENCE_SECONDS) is False
    assert own.flush_blocking(PATIENCE_SECONDS) is False


async def test_the_database_is_let_go_before_a_fork_and_taken_again_after_it(start) -> None:
    """A child that inherited an open SQLite connection would believe in locks that it was never given."""
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert await own.flush(PATIENCE_SECONDS)
    assert own._connection is not None
    assert own.hold(PATIENCE_SECONDS)
    assert own._connection is None
    recorder.record(a_record())
    assert not await own.flush(0.3)
    own.go_on()
    assert await own.flush(PATIENCE_SECONDS)
    assert ledger.seqs() == [1, 2]


class HeldLedger(MemoryLedger):
    """Another process has its lock: a batch waits until that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = self.is_free = False

    async def apply(self, batch: Batch) -> bool:
        self.is_asked = True
        await until(lambda: self.is_free)
        return await super().apply(batch)


def test_a_fork_that_waited_in_vain_makes_the_next_ones_wait_no_longer(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is not let go of when it is free again, for a fork that is over, and kept shut to a next one."""
    monkeypatch.setattr(background, "_LONGEST_HOLD_SECONDS", PATIENCE_SECONDS)
    ledger = HeldLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    own.written()
    wait_until(lambda: ledger.is_asked)
    assert not own.hold(0.01)
    own.go_on()
    ledger.is_free = True
    assert own.flush_blocking(PATIENCE_SECONDS / 2)
    assert own.hold(PATIENCE_SECONDS / 2)


def test_what_waits_in_memory_for_the_disk_is_not_in_the_ledger_yet(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush says no; and when the disk is back, the record follows although nobody writes any more."""
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: disk_is_full())
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS) is False
    monkeypatch.setattr(os, "write", really_write)
    assert arrived(ledger, 1)


def test_on_a_full_disk_the_replay_window_gives_way(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are in the ledger are removed at once, and those of dead processes: room for what is new."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    dead = a_recorder(recorder.folder.parent)
    dead.record(a_record())
    dead.disown()
    while len(spool.segments_of(recorder.folder)) < 4:
        recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS)
    assert len(spool.segments_of(recorder.folder)) == 4
    monkeypatch.setattr(recorder._writer, "disk_full", True)
    assert own.flush_blocking(PATIENCE_SECONDS)
    assert len(spool.segments_of(recorder.folder)) == 1
    assert not dead.folder.exists()


def disk_is_full() -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class LedgerWithChores(MemoryLedger):
    """A chore is three pieces of work, while the first of which a record comes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[int]] = {"roll_up": [], "retain": []}
        self.come: Callable[[], None] = lambda: None

    async def roll_up(self, seconds: float) -> bool:
        return self._do("roll_up")

    async def retain(self, days: int) -> bool:
        assert days == 30
        return self._do("retain")

    def _do(self, chore: str) -> bool:
        seen = self.seen[chore]
        seen.append(len(self.records))
        if len(seen) == 1:
            self.come()
        return len(seen) < 3


def test_days_are_rolled_up_and_old_records_removed_piece_by_piece_and_a_drain_comes_in_between(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a call writes meanwhile does not wait for the end of it."""
    monkeypatch.setattr(background, "GATHER_SECONDS", 0.01)
    ledger, recorder = LedgerWithChores(), a_recorder(tmp_path)
    own = Background(recorder, ledger, Chores(recorder.source, lambda: [tmp_path], retention_days=30))

    def come() -> None:
        recorder.record(a_record())
        own.written()

    ledger.come = come
    own.start()
    come()
    wait_until(lambda: len(ledger.seen["retain"]) == 3)
    assert ledger.seen == {"roll_up": [1, 2, 2], "retain": [2, 3, 3]}


@pytest.mark.parametrize("chore", ["roll_up", "retain"])
def test_who_is_asked_to_let_go_does_so_between_two_pieces_of_a_chore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chore: str
) -> None:
    """Who erases somebody does not wait for a year of days, although the process that rolls them up writes nothing."""
    monkeypatch.setattr(background, "GATHER_SECONDS", 0.01)
    ledger, recorder = LedgerWithChores(), a_recorder(tmp_path)
    own = Background(recorder, ledger, Chores(recorder.source, lambda: [tmp_path], retention_days=30))
    asked: list[bool] = []

    def do(name: str) -> bool:
        if name != chore:
            return False
        if not asked:
            spool.ask_to_let_go(recorder.folder)
        asked.append(spool.is_asked_to_let_go(recorder.folder))
        return len(asked) < 3

    monkeypatch.setattr(ledger, "_do", do)
    own.start()
    recorder.record(a_record())
    own.written()
    wait_until(lambda: len(asked) == 3)
    assert asked == [True, False, False]


def test_a_ledger_that_can_be_written_again_is_told_of_once(start, caplog: pytest.LogCaptureFixture) -> None:
    """Who was alarmed by the warning hears that it is over, what had waited, and for how long."""
    caplog.set_level("INFO", "livekit_tokens")
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    ledger.fail_next = 1
    recorder.record(a_record())
    own.written()
    for _ in range(3):
        own.flush_blocking(PATIENCE_SECONDS)
    told = [record.getMessage() for record in caplog.records if "written again" in record.getMessage()]
    assert told == ["the ledger is written again, after 0 s; records that waited for it: 1"]


def test_what_is_not_in_the_ledger_yet_is_told_and_for_how_long(start) -> None:
    """While the ledger is away the distance grows; when it is back there is none."""
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    assert (own.behind, own.lag_seconds) == (0, 0.0)
    ledger.fail_next = 1
    recorder.record(a_record())
    recorder.record(a_record())
    own.written()
    time.sleep(0.005)
    assert own.behind == 2
    assert own.lag_seconds >= 0.005
    assert own.flush_blocking(PATIENCE_SECONDS) or own.flush_blocking(PATIENCE_SECONDS)
    assert (own.behind, own.lag_seconds, own.last_error) == (0, 0.0, None)


def test_a_ledger_that_went_back_is_behind_again(start) -> None:
    """A backup was restored: what it lacks is not in the ledger, although it once was."""
    ledger = MemoryLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS)
    ledger.at.clear()
    ledger.records.clear()
    ledger.fail_next = 1
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS) is False
    assert own.behind == 1
    assert own.flush_blocking(PATIENCE_SECONDS)
    assert own.behind == 0
    assert ledger.seqs() == [1, 2]


def test_faults_are_left_for_doctor(start) -> None:
    """Another process looks at this one: what it noted is in its spool's folder."""
    ledger = StrangeLedger(times=1)
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS) is False
    found = faults_in(recorder.folder)
    assert found is not None
    assert found.last == "the ledger cannot be written; the spool keeps it: ModuleNotFoundError"
    assert found.unkept == 0


def test_a_folder_that_cannot_be_looked_into_for_a_moment_does_not_end_the_drain(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rights were changed, or the disk failed: it is said, and tried again."""
    ledger = MemoryLedger()
    failing = [PermissionError(13, "Permission denied")] * 3

    def is_asked(folder: Path) -> bool:
        if failing:
            raise failing.pop()
        return False

    monkeypatch.setattr(spool, "is_asked_to_let_go", is_asked)
    recorder, own = start(ledger)
    wait_until(lambda: not failing)
    recorder.record(a_record())
    own.written()
    assert arrived(ledger, 1)
    wait_until(lambda: own.last_error is None)  # said a moment after the ledger has it


def test_orphans_are_looked_for_wherever_spools_can_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that could not write the settings' folder left its spool in the fallback, which may come later."""
    monkeypatch.setattr(background, "GATHER_SECONDS", 0.01)
    own_root, fallback = tmp_path / "own", tmp_path / "fallback"
    recorder, ledger = a_recorder(own_root), MemoryLedger()
    chores = Chores(recorder.source, lambda: [root for root in (own_root, fallback) if root.exists()])
    own = Background(recorder, ledger, chores)
    dead = a_recorder(fallback)
    dead.record(a_record())
    dead.disown()
    own.start()
    recorder.record(a_record())
    own.written()
    assert arrived(ledger, 2)


class ClosingLedger(MemoryLedger):
    """Each connection is its own, and takes nothing any more once it is closed."""

    is_open = True

    async def connect(self) -> MemoryLedger:
        return copy.copy(self)

    def stale(self) -> bool:
        return not self.is_open

    async def apply(self, batch: Batch) -> bool:
        assert self.is_open
        return await super().apply(batch)

    async def aclose(self) -> None:
        self.is_open = False


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    """What a killed process left: some thirty batches, between which everybody has time."""
    monkeypatch.setattr(takeover, "_DRAIN_BYTES", 1000)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.5)
    left = a_recorder(tmp_path)
    for _ in range(100):
        left.record(a_record())
    left.disown()
    return left


def test_a_drain_comes_between_the_batches_of_a_takeover(
    start, dead: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls of the process that takes over are in the ledger as soon as if there were nothing to take."""
    ledger = ClosingLedger()
    recorder, own = start(ledger)

    def there(source: str) -> int:
        return sum(of == source for of, _ in list(ledger.records))

    for count in range(1, 4):
        recorder.record(a_record())
        own.written()
        wait_until(lambda count=count: there(recorder.source.id) == count)
        wait_until(lambda: there(dead.source.id))
        assert there(dead.source.id) < 100
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    wait_until(lambda: there(dead.source.id) == 100)


def test_a_fork_comes_between_the_batches_of_a_takeover(start, dead: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is let go of for it, and the takeover goes on over another connection where it was."""
    ledger = ClosingLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    own.written()
    for count in (2, 10):
        wait_until(lambda count=count: len(ledger.records) >= count)
        assert own.hold(PATIENCE_SECONDS)
        assert own._connection is None
        held = len(ledger.records)
        own.go_on()
        assert held < 101
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    assert arrived(ledger, 101)


def test_who_is_asked_to_let_go_does_so_between_two_batches_of_a_takeover(start, dead: Recorder) -> None:
    """The same: a host's power cut leaves hundreds of spools."""
    ledger = ClosingLedger()
    recorder, own = start(ledger)
    recorder.record(a_record())
    own.written()
    wait_until(lambda: len(ledger.records) > 1)
    spool.ask_to_let_go(recorder.folder)
    wait_until(lambda: not spool.is_asked_to_let_go(recorder.folder))
    assert len(ledger.records) < 101


class ScarceLedger(MemoryLedger):
    """On a server with so many connections."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self.left = connections

    async def connect(self) -> MemoryLedger:
        if not self.left:
            raise LedgerCrowded("sorry, too many clients already")
        self.left -= 1
        return self

    @property
    def is_scarce(self) -> bool:
        return True

    async def aclose(self) -> None:
        self.left += 1


def test_an_idle_connection_is_given_back_to_its_server_and_taken_again(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process between two calls keeps it from others, who may have more to say."""
    monkeypatch.setattr(background, "KEEP_SECONDS", 0.05)
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)
    ledger = ScarceLedger(connections=1)
    recorder, own = start(ledger)
    for count in (1, 2):
        recorder.record(a_record())
        own.written()
        assert arrived(ledger, count)
        wait_until(lambda: ledger.left == 1)


def test_a_connection_is_kept_while_it_is_used_and_one_to_a_file_for_ever(start, monkeypatch) -> None:
    """To connect takes a server's time and ours; a file has connections for everybody."""
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)
    ledger = ScarceLedger(connections=1)
    recorder, own = start(ledger)
    recorder.record(a_record())
    assert own.flush_blocking(PATIENCE_SECONDS)
    time.sleep(0.1)
    assert ledger.left == 0
    monkeypatch.setattr(ScarceLedger, "is_scarce", False)
    own._keep_seconds = 0.0
    time.sleep(0.1)
    assert ledger.left == 0


def test_who_was_refused_a_connection_gives_each_back_at_once(start) -> None:
    """There are more processes than connections: they go round, as fast as drains are."""
    ledger = ScarceLedger(connections=0)
    recorder, own = start(ledger)
    recorder.record(a_record())
    own.written()
    wait_until(lambda: own.last_error)
    ledger.left = 1
    assert arrived(ledger, 1)
    wait_until(lambda: ledger.left == 1)


def test_an_end_whose_record_is_made_for_a_drain_asks_for_no_other_one(start, tmp_path: Path) -> None:
    """Each is a question to the ledger."""
    recorder, own = start(ledger := MemoryLedger())
    recorder._on_written = own.written
    assert own.flush_blocking(PATIENCE_SECONDS)
    recorder.pend(a_pend())
    recorder.done(a_done(), a_made_record, recorder.record)
    assert own.flush_blocking(PATIENCE_SECONDS)
    assert len(ledger.records) == 1
    assert not own._dirty


def test_an_end_that_comes_while_others_are_made_is_brought_without_another_word(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds a drain under way, and asks for none."""
    recorder, own = start(ledger := MemoryLedger())
    recorder._on_written = own.written
    tend = recorder.tend

    def tend_and_more() -> None:
        tend()
        monkeypatch.setattr(recorder, "tend", tend)
        recorder.pend(a_pend())
        recorder.done(a_done(), a_made_record, recorder.record)

    monkeypatch.setattr(recorder, "tend", tend_and_more)
    recorder.record(a_record())
    assert arrived(ledger, 2)
