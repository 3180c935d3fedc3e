"""Session ids and states."""

from __future__ import annotations

import hashlib

import pytest

from livekit_tokens.domain.sessions import (
    SILENT,
    Part,
    Status,
    Stay,
    as_heard_of,
    call_time,
    ended,
    left,
    session_id,
    state_of,
    suffix,
)


def test_a_session_id_is_the_rooms_name_and_nine_digits_of_its_sid() -> None:
    """Every process in a room computes the same id without asking anyone."""
    number = int(hashlib.sha256(b"RM_abc").hexdigest(), 16) % 36**9
    made = session_id("support-room", "RM_abc")
    assert made == f"support-room_{suffix(number)}"
    assert int(made.removeprefix("support-room_"), 36) == number


def test_a_suffix_is_padded_and_most_significant_first() -> None:
    """36 is `10` in base 36."""
    assert suffix(36) == "000000010"
    assert suffix(35) == "00000000z"
    assert suffix(36**9) == "000000000"


@pytest.mark.parametrize(
    ("parts", "session"),
    [
        (["closed"], "closed"),
        (["closed", "open"], "open"),
        (["abandoned", "open"], "open"),
        (["closed", "abandoned"], "abandoned"),
    ],
)
def test_a_session_is_open_while_any_part_is_else_abandoned_if_any_part_is(parts: list[Status], session: str) -> None:
    """A session only groups its parts; its state is derived."""
    assert state_of(parts) == session


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (2, 5)], 10),
        ([(2, 12), (0, 10)], 12),
        ([(0, 10), (20, 25)], 15),
        ([(0, None)], 30),
        ([(0, 10), (5, None), (7, 8)], 30),
    ],
    ids=["no part", "one", "inside another", "overlapping", "a caller who came back", "open", "open among ended"],
)
def test_a_moment_in_which_two_parts_ran_is_one_moment_of_the_call(
    spans: list[tuple[int, int | None]], length: int
) -> None:
    """The agent and a transcriber of its own in one room are one call; what is between two parts is none."""
    parts = [Part(f"{n:032x}", "room_1", started, "room", ended_at=end) for n, (started, end) in enumerate(spans)]
    assert call_time(parts, now=30) == length


def test_what_is_told_by_hand_is_no_moment_of_a_call():
    """Nobody was on the line for it, however long its block was open; a job without a room has a caller."""
    by_hand = Part("0a" * 16, "thread-1", 0, ended_at=10)
    assert call_time([by_hand, Part("0b" * 16, "thread-1", 5, job="AJ_1", ended_at=7)], now=30) == 2


def test_an_open_part_whose_process_is_silent_for_a_day_was_over_when_it_was_last_heard_of():
    """Not a moment sooner; one that has ended stays as it is, and nothing ends before it began."""
    part = Part("0a" * 16, "room_1", 10)
    assert as_heard_of(part, 20, 20 + SILENT) == part
    assert as_heard_of(part, 20, 21 + SILENT) == ended(part, 20, "not_heard_of", abandoned=True)
    assert as_heard_of(part, 5, 21 + SILENT).ended_at == 10
    done = ended(part, 15, "done")
    assert as_heard_of(done, 20, 21 + SILENT) == done


def test_nothing_ends_before_it_began():
    """The wall clock was set back during the call: its length is 0 then, and never negative."""
    assert ended(Part("0a" * 16, "room_1", 5_000_000), 4_000_000, "done").ended_at == 5_000_000
    assert left(Stay("0a" * 16, "PA_1", "ann", None, 5_000_000), 4_000_000).left_at == 5_000_000
