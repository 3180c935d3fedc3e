"""Reading a spool: segments, resynchronisation, holes, and whether a checkpoint is a place of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core import reading, spool
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import Head, More, PartLine, Use, records_in, to_bytes
from livekit_tokens.core.reading import Reading, agrees, head_of, read, readings
from tests.core.makers import a_part, a_pend, a_use


def lines_of(found: Reading) -> list[object]:
    return [line for line, _, _ in found.lines]


def test_an_unfinished_line_at_the_end_of_the_newest_segment_is_left_for_later(tmp_path: Path) -> None:
    """The writer may be at it: nothing is passed over, and the place stays before it."""
    whole, torn = to_bytes(a_use(1)), to_bytes(a_use(2))[:20]
    spool.segment_path(tmp_path, 1).write_bytes(whole + torn)
    found = read(tmp_path, 1, 0)
    assert lines_of(found) == [a_use(1)]
    assert (found.segment, found.offset, found.damaged, found.more) == (1, len(whole), [], False)


def test_an_unfinished_line_in_an_older_segment_is_passed_over(tmp_path: Path) -> None:
    """Nobody will finish it: it is counted as damaged, and the next segment is read."""
    spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)) + to_bytes(a_use(2))[:20])
    spool.segment_path(tmp_path, 2).write_bytes(to_bytes(a_use(3)))
    first = read(tmp_path, 1, 0)
    second = read(tmp_path, first.segment, first.offset)
    assert lines_of(first) + lines_of(second) == [a_use(1), a_use(3)]
    assert first.more
    assert len(second.damaged) == 1
    assert second.segment == 2


def test_what_the_writer_appends_just_before_it_rotates_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is written between two looks of the reader, followed by a new segment, is not passed over."""
    spool.segment_path(tmp_path, 1).write_bytes(b"")
    really_read = reading._bytes_at

    def read_then_rotate(path: Path, offset: int, limit: int) -> bytes:
        raw = really_read(path, offset, limit)
        if not spool.segment_path(tmp_path, 2).exists():
            spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)))
            spool.segment_path(tmp_path, 2).write_bytes(to_bytes(a_use(2)))
        return raw

    monkeypatch.setattr(reading, "_bytes_at", read_then_rotate)
    found: list[object] = []
    segment, offset = 1, 0
    for _ in range(4):
        passed = read(tmp_path, segment, offset)
        segment, offset = passed.segment, passed.offset
        found += lines_of(passed)
    assert found == [a_use(1), a_use(2)]


def test_a_reader_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    """After a short write the writer begins with a newline, and readers resynchronise there."""
    torn = to_bytes(a_use(1))[:-9]
    spool.segment_path(tmp_path, 1).write_bytes(torn + b"\n" + to_bytes(a_use(1)) + to_bytes(a_use(2)))
    found = read(tmp_path, 1, 0)
    assert lines_of(found) == [a_use(1), a_use(2)]
    assert len(found.damaged) == 1


def test_a_line_longer_than_the_reading_limit_is_read_whole(tmp_path: Path) -> None:
    """The limit is about memory, not about lines."""
    spool.segment_path(tmp_path, 1).write_bytes(to_bytes(a_use(1)) + to_bytes(a_use(2)))
    found = read(tmp_path, 1, 0, limit=16)
    assert lines_of(found) == [a_use(1)]
    assert found.more


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
        found = [line.seq for line in lines_of(read(Path(folder), 1, 0)) if isinstance(line, Use)]
    assert found == sorted(set(found))
    assert len(found) >= len(lines) - 2 * len(flips)


def test_the_head_of_a_segment_tells_whose_it_is(tmp_path: Path) -> None:
    """A head is found also behind a torn line."""
    head = Head("abc", "here", 1, 2, 3, 4)
    spool.segment_path(tmp_path, 3).write_bytes(b"torn\n" + to_bytes(head))
    assert head_of(tmp_path, 3) == head
    assert head_of(tmp_path, 4) is None


def test_reading_goes_on_behind_a_hole(tmp_path: Path) -> None:
    """Segments are removed, by us, by a disk, by somebody: what is behind them is read, whichever is missing."""
    for number in (2, 5, 9):
        spool.segment_path(tmp_path, number).write_bytes(to_bytes(a_use(number)))
    found = [line for reading in readings(tmp_path, 1) for line in lines_of(reading)]
    assert found == [a_use(2), a_use(5), a_use(9)]
    last = [*readings(tmp_path, 3)][-1]
    assert (last.segment, last.more) == (9, False)


def test_a_segment_that_is_made_while_the_folder_is_looked_at_is_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a folder may miss it, and find the one after it."""
    really_look = spool.segments_of
    looks: list[list[int]] = []

    def look(folder: Path) -> list[int]:
        for number in (2, 3):
            spool.segment_path(tmp_path, number).touch()
        looks.append([3] if not looks else really_look(folder))
        return looks[-1]

    monkeypatch.setattr(reading, "segments_of", look)
    assert reading.next_segment(tmp_path, 1) == 2


HEAD = Head("abc", "here", 1, 2, 1, 0)
WHOLE = b"".join(map(to_bytes, [HEAD, a_use(1), a_use(2), a_use(3)]))
AFTER_2 = len(b"".join(map(to_bytes, [HEAD, a_use(1), a_use(2)])))


@pytest.mark.parametrize(
    ("known", "is_one"),
    [
        (Checkpoint(1, AFTER_2, 2), True),
        (Checkpoint(1, len(WHOLE), 3), True),
        (Checkpoint(1, 0, 0), True),
        (Checkpoint(1, len(WHOLE) + 1, 4), False),
        (Checkpoint(1, AFTER_2 - 1, 2), False),
        (Checkpoint(1, AFTER_2, 7), False),
        (Checkpoint(2, 0, 3), False),
    ],
    ids=["in it", "at its end", "at a beginning", "past its end", "within a line", "other number", "no such segment"],
)
def test_a_checkpoint_is_a_place_of_a_spool_or_is_not(tmp_path: Path, known: Checkpoint, is_one: bool) -> None:
    """It is none where the spool went back to what it was before: a snapshot, or a power cut."""
    spool.segment_path(tmp_path, 1).write_bytes(WHOLE)
    assert agrees(tmp_path, known) is is_one


def test_a_checkpoint_whose_segment_has_gone_with_its_window_is_a_place_of_its_spool(tmp_path: Path) -> None:
    """What is behind it goes on from there."""
    spool.segment_path(tmp_path, 4).write_bytes(WHOLE)
    assert agrees(tmp_path, Checkpoint(2, 77, 1))


def test_the_last_number_before_a_checkpoint_is_found_however_far_back_it_is(tmp_path: Path) -> None:
    """Between two records a response may have told of its progress for long."""
    raw = WHOLE + to_bytes(More("r1", 1, 10)) * 4000
    spool.segment_path(tmp_path, 1).write_bytes(raw)
    assert agrees(tmp_path, Checkpoint(1, len(raw), 3))
    assert not agrees(tmp_path, Checkpoint(1, len(raw), 4))


@pytest.mark.parametrize("place", range(0, 110, 3))
def test_a_damaged_record_is_still_known_as_one(place: int) -> None:
    """Also where its own name or number is what is damaged."""
    raw = bytearray(to_bytes(a_use(7))[:-1])
    raw[place] ^= 1
    assert records_in(bytes(raw)) == 1


def test_other_damaged_lines_are_no_records() -> None:
    """What was in flight, who was there and what is no line at all were never counted."""
    for line in (More("x", 1, 2, 3), HEAD, a_pend(), PartLine(1, a_part(), 3)):
        assert records_in(to_bytes(line)[1:-1]) == 0
    assert records_in(b"\0" * 300) == 0
    assert records_in(to_bytes(a_use(1))[:-1] + b" " + to_bytes(a_use(2))[:-1]) == 2
