"""What was written is synced soon, once for all of it, and again where that did not succeed."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from livekit_tokens.core import spool, syncing
from livekit_tokens.core.syncing import Syncing
from tests.core.makers import a_record, a_recorder


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
        return all(self.syncs.acquire(timeout=5) for _ in range(times))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(syncing, "SYNC_SECONDS", 0.05)

    def start(disk: Disk) -> Syncing:
        made = Syncing(disk.sync)
        made.start()
        return made

    return start


def test_one_sync_is_for_all_that_was_written_meanwhile(started) -> None:
    """However many records: a disk can do some hundred syncs a second, a call some thousand records."""
    disk = Disk()
    own = started(disk)
    for _ in range(1000):
        own.written()
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
