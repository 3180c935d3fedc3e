"""Tables of the terminal: columns that fit, names that fold."""

from __future__ import annotations

import pytest
from wcwidth import wcswidth

from livekit_tokens.cli.columns import Table, drawn


def table_of(*names: str) -> Table:
    table = Table()
    table.names("user", "Total")
    table.numbers("Cost $", "3.00")
    for name in names:
        table.row(name, "1.50")
    return table


def test_numbers_stand_below_each_other_and_the_foot_below_them():
    """A table without a long name is as wide as what is in it."""
    assert list(table_of("ann", "benedict").lines(80)) == [
        "user      Cost $",
        "ann         1.50",
        "benedict    1.50",
        "Total       3.00",
    ]


def test_a_long_name_is_folded_and_its_number_stays_whole():
    """Where there is no room for a name, it goes on in the next line, between words if it has some."""
    lines = list(table_of("ann-with-a-very-long-name", "ann and ben").lines(18))
    assert lines[1:5] == ["ann-with-a    1.50", "-very-long", "-name", "ann and       1.50"]


def test_wide_letters_and_emoji_count_as_the_columns_that_they_take():
    """A letter of Chinese takes two columns of a terminal; no line is wider than it, whatever stands in a name."""
    lines = list(table_of("名前" * 20, "👩‍🚀🚀" * 12, "שלום עולם " * 9).lines(40))
    assert max(map(wcswidth, lines)) <= 40
    assert "".join(line[:32].strip() for line in lines if "名" in line).startswith("名前")


def test_two_long_columns_share_the_room():
    """Neither is folded for the other's sake alone."""
    table = Table()
    table.names("session")
    table.names("model")
    table.row("s" * 50, "m" * 30)
    assert list(table.lines(42))[1] == f"{'s' * 20}  {'m' * 20}"


def test_a_short_column_leaves_its_room_to_the_long_one():
    """And is not folded itself."""
    table = Table()
    table.names("session")
    table.names("model")
    table.row("s" * 50, "m" * 10)
    assert list(table.lines(42))[1] == f"{'s' * 30}  {'m' * 10}"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_table_whose_numbers_leave_no_room_is_told_row_by_row(width):
    """As on a telephone: names, and below them each number with its name; nothing is wider than the terminal."""
    table = Table()
    table.names("user", "Total")
    for name in ("Requests", "Input", "Output", "Cost $"):
        table.numbers(name, "9,999")
    table.row("ada-of-a-long-name", "12", "1,234", "77", "0.1234")
    lines = list(table.lines(width))
    assert max(map(wcswidth, lines)) <= width
    assert width > 40 or lines[-1].startswith("  ")
    told = "".join(lines).replace(" ", "")
    assert all(text in told for text in ("ada", "1,234", "0.1234", "Total", "9,999"))


def test_numbers_are_never_folded():
    """A terminal that is too narrow for a name and its number gets them below each other."""
    assert list(table_of("a" * 15).lines(16))[:3] == ["user      Cost $", "aaaaaaaa    1.50", "aaaaaaa"]
    assert list(table_of("a" * 30).lines(14))[:4] == ["a" * 14, "a" * 14, "aa", "  Cost $ 1.50"]


def test_head_and_foot_are_bold_where_that_is_asked_for():
    """Escape codes stand around whole lines, so that the columns stay where they are."""
    head, row, foot = table_of("ann").lines(80, styled=True)
    assert (head[:4], row, foot[-4:]) == ("\x1b[1m", "ann      1.50", "\x1b[0m")


def test_what_stands_before_a_name_stays_and_cells_may_be_left_out():
    """The parts of a session are set in below it."""
    table = Table()
    table.names("Session")
    table.numbers("Cost $")
    table.row("  part: gpt-realtime")
    assert list(table.lines(80)) == ["Session               Cost $", "  part: gpt-realtime"]


def test_names_that_look_like_numbers_stay_as_they_are():
    """A telephone number is no quantity."""
    assert list(table_of("0012345678901234567890", "1e5").lines(80))[1:3] == [
        "0012345678901234567890    1.50",
        "1e5                       1.50",
    ]


def test_what_stands_around_a_table_is_wrapped_by_the_columns_that_it_takes():
    """A title of wide letters is no wider than the terminal."""
    lines = drawn(table_of("ann"), "名前 " * 40, ["🚀 " * 60]).split("\n")
    assert max(map(wcswidth, lines)) <= 80
