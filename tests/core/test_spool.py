"""The spool on disk: lines and locks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core import spool
from livekit_tokens.core.lines import from_bytes, to_bytes
from livekit_tokens.core.takeover import remove_left
from tests.core.makers import a_use


def test_a_line_comes_back_as_it_was_written() -> None:
    """A line is one JSON object with its checksum, and ends with the only newline in it."""
    raw = to_bytes(a_use(7))
    assert raw.count(b"\n") == 1
    assert from_bytes(raw[:-1]) == a_use(7)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_line_with_one_flipped_byte_is_refused(place: int, flip: int) -> None:
    """No single damaged byte goes unnoticed."""
    raw = bytearray(to_bytes(a_use(7))[:-1])
    place %= len(raw)
    raw[place] ^= flip
    damaged = from_bytes(bytes(raw))
    # A digit may change its case, and the space after the checksum may be any byte, without changing what is said.
    assert damaged is None or (place <= 8 and damaged == a_use(7))


def test_a_source_is_born_where_its_hosts_folder_is_just_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was empty for an hour, so another process tidies it away, between two steps of this one."""
    root = tmp_path / "host"
    root.mkdir()
    os.utime(root, (0, 0))
    really_mkdir = Path.mkdir

    def mkdir(folder: Path, **named: object) -> None:
        remove_left(root)
        really_mkdir(folder, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    folder, lock = spool.create(root, "abc")
    os.close(lock)
    assert spool.sources_of(root) == [folder]


def test_a_source_is_born_locked(tmp_path: Path) -> None:
    """Nobody can take over a source between its folder's appearance and its owner's lock."""
    folder, lock = spool.create(tmp_path, "abc")
    assert spool.sources_of(tmp_path) == [folder]
    assert spool.try_lock(folder) is None
    os.close(lock)
    taken = spool.try_lock(folder)
    assert taken is not None
    os.close(taken)


def test_a_lock_that_is_put_anew_appears_only_when_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removed the file under a living owner: a taker that looks at any moment finds none, or a held one."""
    folder, lock = spool.create(tmp_path, "abc")
    spool.lock_path(folder).unlink()
    really_lock, taken = fcntl.flock, []

    def lock_after_a_taker(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", really_lock)
        taken.append(spool.try_lock(folder))
        really_lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", lock_after_a_taker)
    again = spool.lock_again(folder, lock)
    assert taken == [None]
    assert spool.try_lock(folder) is None
    os.close(again)


def test_what_is_no_spool_is_none(tmp_path: Path) -> None:
    """Somebody has left a file beside the spools."""
    (tmp_path / "notes.txt").touch()
    folder, lock = spool.create(tmp_path, "abc")
    os.close(lock)
    assert spool.sources_of(tmp_path) == [folder]
    assert spool.segments_of(tmp_path / "notes.txt") == []


def test_a_lock_that_somebody_else_has_costs_nothing_each_time_it_is_tried(tmp_path: Path) -> None:
    """It is tried again twice a second, for as long as the process lives."""
    folder, lock = spool.create(tmp_path, "abc")
    spool.lock_path(folder).unlink()
    other = os.open(spool.lock_path(folder), os.O_CREAT | os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    before = os.dup(other)
    os.close(before)
    with pytest.raises(BlockingIOError):
        spool.lock_again(folder, lock)
    after = os.dup(other)
    for fd in (after, other, lock):
        os.close(fd)
    assert after == before


def test_a_lock_whose_file_was_put_anew_meanwhile_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A taker that opened the old file would hold a lock that nobody looks at."""
    folder, lock = spool.create(tmp_path, "abc")
    os.close(lock)
    really_lock, mine = fcntl.flock, []

    def lock_after_the_owner(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", really_lock)
        spool.lock_path(folder).unlink()
        mine.append(os.open(spool.lock_path(folder), os.O_CREAT | os.O_RDWR))
        really_lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", lock_after_the_owner)
    assert spool.try_lock(folder) is None
    os.close(mine[0])
