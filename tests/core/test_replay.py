"""The replay window: it counts from the acknowledgement, and only what is acknowledged goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from livekit_tokens.core import replay, spool
from livekit_tokens.core.ledger import START, Checkpoint

HOUR = spool.REPLAY_SECONDS


def a_spool(folder: Path, segments: int) -> Path:
    for number in range(1, segments + 1):
        spool.segment_path(folder, number).write_bytes(b"x" * 100)
    return folder


def test_what_is_acknowledged_is_kept_for_an_hour_from_then_on(tmp_path: Path) -> None:
    """Not from when it was written: after an outage that is long ago. What is not acknowledged stays."""
    a_spool(tmp_path, 4)
    noted = replay.acknowledge(tmp_path, Checkpoint(3, 0, 0), [1, 2], now=1000)
    replay.forget(tmp_path, noted, 1000 + HOUR - 1)
    assert spool.segments_of(tmp_path) == [1, 2, 3, 4]
    replay.forget(tmp_path, noted, 1000 + HOUR)
    assert spool.segments_of(tmp_path) == [3, 4]


def test_what_was_acknowledged_before_keeps_its_time(tmp_path: Path) -> None:
    """Each segment has an hour of its own, whoever notes it."""
    a_spool(tmp_path, 3)
    replay.acknowledge(tmp_path, Checkpoint(2, 0, 0), [1], now=1000)
    noted = replay.acknowledge(tmp_path, Checkpoint(3, 0, 0), [1, 2], now=2000)
    replay.forget(tmp_path, noted, 1000 + HOUR)
    assert spool.segments_of(tmp_path) == [2, 3]


def test_the_window_is_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a process writes within the hour, the acknowledged part of its spool stays small."""
    monkeypatch.setattr(spool, "REPLAY_BYTES", 250)
    a_spool(tmp_path, 5)
    replay.forget(tmp_path, replay.acknowledge(tmp_path, Checkpoint(5, 0, 0), [1, 2, 3, 4], now=1000), now=1000)
    assert spool.segments_of(tmp_path) == [4, 5]


def test_who_is_killed_while_it_removes_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    noted = replay.acknowledge(a_spool(tmp_path, 4), Checkpoint(4, 0, 0), [1, 2, 3], now=1000)
    really_unlink = Path.unlink

    def unlink_and_die(path: Path, *, missing_ok: bool = False) -> None:
        really_unlink(path, missing_ok=missing_ok)
        raise SystemExit

    monkeypatch.setattr(Path, "unlink", unlink_and_die)
    with pytest.raises(SystemExit):
        replay.forget(tmp_path, noted, 1000 + HOUR)
    assert spool.segments_of(tmp_path) == [2, 3, 4]


def test_a_time_that_only_another_clock_can_have_said_is_not_waited_for(tmp_path: Path) -> None:
    """A clock went back by days. A little is not worth a thought."""
    noted = replay.acknowledge(a_spool(tmp_path, 2), Checkpoint(2, 0, 0), [1], now=100 * HOUR)
    replay.forget(tmp_path, noted, now=100 * HOUR - 60)
    assert spool.segments_of(tmp_path) == [1, 2]
    replay.forget(tmp_path, noted, now=HOUR)
    assert spool.segments_of(tmp_path) == [2]


def test_a_note_that_cannot_be_read_begins_the_hour_anew(tmp_path: Path) -> None:
    """Its writer was killed over it: nothing goes too early."""
    a_spool(tmp_path, 2)
    replay.acknowledge(tmp_path, Checkpoint(2, 0, 0), [1], now=1000)
    note = tmp_path / "acknowledged"
    note.write_bytes(note.read_bytes()[:-3])
    assert replay.acknowledged(tmp_path) == replay.NOTHING
    assert replay.acknowledge(tmp_path, Checkpoint(2, 0, 0), [1], now=2000).since == {1: 2000}


def test_a_ledger_that_went_back_has_not_acknowledged_what_it_lacks(tmp_path: Path) -> None:
    """The segment that its checkpoint is in, and those behind it, get an hour from when it has them again."""
    a_spool(tmp_path, 3)
    replay.acknowledge(tmp_path, Checkpoint(3, 100, 9), [1, 2, 3], now=1000)
    replay.take_back(tmp_path, Checkpoint(3, 100, 9))
    assert replay.is_finished(tmp_path, Checkpoint(3, 100, 9))
    replay.take_back(tmp_path, Checkpoint(2, 50, 4))
    assert replay.acknowledged(tmp_path).since == {1: 1000}
    replay.take_back(tmp_path, START)
    assert replay.acknowledged(tmp_path).since == {}


def test_a_spool_is_finished_only_if_its_last_segment_is_acknowledged(tmp_path: Path) -> None:
    """Whatever was read before a hole says nothing of what is behind it."""
    a_spool(tmp_path, 3)
    replay.acknowledge(tmp_path, Checkpoint(1, 100, 2), [1], now=1000)
    assert not replay.is_finished(tmp_path, Checkpoint(1, 100, 2))
    assert not replay.is_past(tmp_path, replay.acknowledged(tmp_path), 1000 + 2 * HOUR)
