"""What was written is synced soon, once for all of it, and again where that did not succeed."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from livekit_tokens.core import faults, spool, syncing
from livekit_tokens.core.lines import Use
from livekit_tokens.core.syncing import Syncing
from tests.core.makers import a_record, a_recorder, lines_in
from tests.waiting import PATIENCE_SECONDS


class Disk:
    """Remembers when it was synced; the first so many times it refuses."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.syncs = threading.Semaphore(0)
        self.count = 0

    def sync(self) -> bool:
        self.count += 1
        self.refusals -= 1
        self.syncs.release()
        return self.refusals < 0

    def synced(self, times: int = 1) -> bool:
        return all(self.syncs.acquire(timeout=PATIENCE_SECONDS) for _ in range(times))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(syncing, "SYNC_SECONDS", 0.05)

    def start(disk: Disk) -> Syncing:
        made = Syncing(disk.sync)
        made.start()
        return made

    return start


def test_one_sync_is_for_all_that_was_written_meanwhile(started, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records: a disk can do some hundred syncs a second, a call some thousand records."""
    disk, go = Disk(), threading.Event()
    with monkeypatch.context() as waiting:
        waiting.setattr(syncing, "time", SimpleNamespace(sleep=lambda _: go.wait()))
        own = started(disk)
        for _ in range(1000):
            own.written()
        go.set()
        assert disk.synced()
    time.sleep(0.2)
    assert disk.count == 1


def test_what_is_written_after_a_sync_is_synced_too(started) -> None:
    """Nothing waits for something else to be written."""
    disk = Disk()
    own = started(disk)
    own.written()
    assert disk.synced()
    own.written()
    assert disk.synced()


def test_a_sync_that_failed_is_tried_again(started) -> None:
    """The disk was full for a moment, and nobody writes any more."""
    disk = Disk(refusals=2)
    started(disk).written()
    assert disk.synced(times=3)


def test_a_new_segments_name_is_synced_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a file without its name in its folder is not found: both are synced, once a segment."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    recorder = a_recorder(tmp_path)
    synced: list[str] = []
    really_sync = os.fsync

    def watched(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        really_sync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    recorder.record(a_record())
    assert recorder.sync()
    assert synced == ["00000001.jsonl", recorder.folder.name, tmp_path.name]
    recorder.record(a_record())
    assert recorder.sync()
    assert synced[3:] == ["00000001.jsonl"]
    while len(spool.segments_of(recorder.folder)) < 2:
        recorder.record(a_record())
    assert recorder.sync()
    assert synced[4:] == ["00000001.jsonl", "00000002.jsonl", recorder.folder.name, tmp_path.name]


def test_a_sync_that_raises_is_tried_again(started) -> None:
    """Whatever goes wrong, the thread goes on: nothing else stands against a power cut."""
    disk = Disk()
    raises = [MemoryError()]

    def sync() -> bool:
        if raises:
            raise raises.pop()
        return disk.sync()

    started(SimpleNamespace(sync=sync)).written()
    assert disk.synced()
    assert faults.counts()["the spool could not be synced"] >= 1


class FailingDisk:
    """Tells of a write that failed as Linux does: once, for a file that is open; after that its pages are clean."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self._untold = [*names]
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        if name in self._untold:
            self._untold.remove(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(fd)


def test_a_segment_whose_sync_failed_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written meanwhile goes into a next segment; then both are on the disk, with every line, once."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    path = spool.segment_path(recorder.folder, 1)
    before = path.stat().st_ino, path.read_bytes()
    FailingDisk(monkeypatch, path.name)
    assert not recorder.sync()
    recorder.record(a_record())
    assert recorder.sync()
    assert path.read_bytes() == before[1]
    assert path.stat().st_ino != before[0]
    assert [line.seq for line in lines_in(recorder.folder) if isinstance(line, Use)] == [1, 2]
    assert spool.segments_of(recorder.folder) == [1, 2]
    assert sorted(path.suffix for path in recorder.folder.iterdir()) == ["", ".jsonl", ".jsonl"]


def test_a_segment_that_was_ended_before_its_sync_failed_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` must not say that all is durable because the newest segment is."""
    recorder = a_recorder(tmp_path)
    recorder.record(a_record())
    path = spool.segment_path(recorder.folder, 1)
    inode = path.stat().st_ino
    FailingDisk(monkeypatch, path.name, "00000001.again")
    recorder.begin_segment()
    assert not recorder.sync()
    assert recorder.sync()
    assert path.stat().st_ino != inode


def test_without_a_file_to_spare_what_is_written_is_synced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has used up its descriptors: the segment that is open needs none."""
    recorder = a_recorder(tmp_path)
    assert recorder.sync()
    recorder.record(a_record())

    def none_left(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", none_left)
    monkeypatch.setattr(os, "dup", none_left)
    assert recorder.sync()


def open_in(folder: Path) -> list[str]:
    """The files in a folder that this process has open, each as often as it has."""
    told = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            told.append(str(descriptor.readlink()))
    return [path for path in told if path.startswith(str(folder))]


def test_who_is_forked_keeps_no_file_of_its_parent(tmp_path: Path) -> None:
    """Segments that were ended and are not synced yet are open, too."""
    recorder = a_recorder(tmp_path)
    for _ in range(3):
        recorder.record(a_record())
        with recorder._writer.lock:
            recorder._writer._begin_another()
    assert len(open_in(tmp_path)) > 3
    recorder.disown()
    assert open_in(tmp_path) == []
