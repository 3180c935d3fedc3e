"""The spool on disk: lines, segments, resynchronisation, locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core import spool
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import Head, More, Use, from_bytes, to_bytes
from livekit_tokens.domain.usage import UsageRecord


def a_use(seq: int) -> Use:
    return Use(
        seq,
        UsageRecord(
            part="0" * 32,
            at=seq,
            service="agent",
            provider="openai",
            model="gpt-realtime",
            operation="realtime_response",
            units={"input_text": seq},
        ),
    )


def lines_of(reading: spool.Reading) -> list[object]:
    return [found.line for found in reading.lines]


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


def test_an_unfinished_line_at_the_end_of_the_newest_segment_is_left_for_later(tmp_path: Path) -> None:
    """The writer may be at it: nothing is passed over, and the place stays before it."""
    whole, torn = to_bytes(a_use(1)), to_bytes(a_use(2))[:20]
    spool.segment_path(tmp_path, 1).write_bytes(whole + torn)
    reading = spool.read(tmp_path, 1, 0)
    assert lines_of(reading) == [a_use(1)]
    assert (reading.segment, reading.offset, reading.damaged, reading.more) == (1, len(whole), 0, False)


def test_an_unfinished_line_in_an_older_segment_is_passed_over(tmp_path: Path) -> None:
    """Nobody will finish it: it is counted as damaged, and the next segment is read."""
    spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)) + to_bytes(a_use(2))[:20])
    spool.segment_path(tmp_path, 2).write_bytes(to_bytes(a_use(3)))
    first = spool.read(tmp_path, 1, 0)
    second = spool.read(tmp_path, first.segment, first.offset)
    assert lines_of(first) + lines_of(second) == [a_use(1), a_use(3)]
    assert first.more
    assert second.damaged == 1
    assert second.segment == 2


def test_what_the_writer_appends_just_before_it_rotates_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is written between two looks of the reader, followed by a new segment, is not passed over."""
    spool.segment_path(tmp_path, 1).write_bytes(b"")
    really_read = spool._bytes_at

    def read_then_rotate(path: Path, offset: int, limit: int) -> bytes:
        raw = really_read(path, offset, limit)
        if not spool.segment_path(tmp_path, 2).exists():
            spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)))
            spool.segment_path(tmp_path, 2).write_bytes(to_bytes(a_use(2)))
        return raw

    monkeypatch.setattr(spool, "_bytes_at", read_then_rotate)
    found: list[object] = []
    segment, offset = 1, 0
    for _ in range(4):
        reading = spool.read(tmp_path, segment, offset)
        segment, offset = reading.segment, reading.offset
        found += lines_of(reading)
    assert found == [a_use(1), a_use(2)]


def test_a_reader_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    """After a short write the writer begins with a newline, and readers resynchronise there."""
    torn = to_bytes(a_use(1))[:-9]
    spool.segment_path(tmp_path, 1).write_bytes(torn + b"\n" + to_bytes(a_use(1)) + to_bytes(a_use(2)))
    reading = spool.read(tmp_path, 1, 0)
    assert lines_of(reading) == [a_use(1), a_use(2)]
    assert reading.damaged == 1


def test_a_line_longer_than_the_reading_limit_is_read_whole(tmp_path: Path) -> None:
    """The limit is about memory, not about lines."""
    spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)) + to_bytes(a_use(2)))
    reading = spool.read(tmp_path, 1, 0, limit=16)
    assert lines_of(reading) == [a_use(1)]
    assert reading.more


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
def test_damage_anywhere_loses_only_the_lines_it_touches(flips: list[tuple[int, int]]) -> None:
    """Whatever bytes are damaged, every line is read as it was written or not at all, and in order."""
    import tempfile

    lines = [a_use(n) for n in range(1, 40)]
    raw = bytearray(b"".join(to_bytes(line) for line in lines))
    for place, value in flips:
        raw[place % len(raw)] = value
    with tempfile.TemporaryDirectory() as folder:
        spool.segment_path(Path(folder), 1).write_bytes(bytes(raw))
        found = [line.seq for line in lines_of(spool.read(Path(folder), 1, 0)) if isinstance(line, Use)]
    assert found == sorted(set(found))
    assert len(found) >= len(lines) - 2 * len(flips)


def test_a_source_is_born_locked(tmp_path: Path) -> None:
    """Nobody can take over a source between its folder's appearance and its owner's lock."""
    folder, lock = spool.create(tmp_path, "abc")
    assert spool.sources_of(tmp_path) == [folder]
    assert spool.try_lock(folder) is None
    os.close(lock)
    taken = spool.try_lock(folder)
    assert taken is not None
    os.close(taken)


def test_acknowledged_segments_are_kept_for_the_replay_window(tmp_path: Path) -> None:
    """What is in the database is kept for an hour, then removed; what is not, never."""
    for number in (1, 2, 3):
        spool.segment_path(tmp_path, number).write_bytes(to_bytes(More("x", number, 0, 0)))
        os.utime(spool.segment_path(tmp_path, number), (1000, 1000))
    spool.forget_acknowledged(tmp_path, Checkpoint(3, 0, 0), now=1000 + spool.REPLAY_SECONDS - 1)
    assert spool.segments_of(tmp_path) == [1, 2, 3]
    spool.forget_acknowledged(tmp_path, Checkpoint(2, 0, 0), now=1000 + spool.REPLAY_SECONDS + 1)
    assert spool.segments_of(tmp_path) == [2, 3]


def test_the_replay_window_is_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a process writes within the hour, the acknowledged part of its spool stays small."""
    monkeypatch.setattr(spool, "REPLAY_BYTES", 250)
    for number in range(1, 6):
        spool.segment_path(tmp_path, number).write_bytes(b"x" * 100)
    now = spool.segment_path(tmp_path, 5).stat().st_mtime
    spool.forget_acknowledged(tmp_path, Checkpoint(5, 0, 0), now=now)
    assert spool.segments_of(tmp_path) == [4, 5]


def test_the_head_of_a_segment_tells_whose_it_is(tmp_path: Path) -> None:
    """A head is found also behind a torn line."""
    head = Head("abc", "here", 1, 2, 3, 4)
    spool.segment_path(tmp_path, 3).write_bytes(b"torn\n" + to_bytes(head))
    assert spool.head_of(tmp_path, 3) == head
    assert spool.head_of(tmp_path, 4) is None
