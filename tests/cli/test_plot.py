"""How it went, as a picture of characters."""

from __future__ import annotations

import re
from datetime import UTC

import pytest

from livekit_tokens.cli.columns import PIPED_WIDTH
from livekit_tokens.cli.plot import series_text
from livekit_tokens.core.reports import Point, Series
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.totals import Totals


def days(*tokens: int) -> Series:
    """A day for each, from 2026-01-01 on."""
    spans = [Period(DAY * n, DAY * (n + 1)) for n in range(len(tokens))]
    points = [
        Point(f"2026-{1 + n // 28:02}-{1 + n % 28:02}", span, 1, Totals(requests=1, units={"input_text": many}))
        for n, (span, many) in enumerate(zip(spans, tokens, strict=True))
    ]
    return Series(Period(0, DAY * len(tokens)), "UTC", "day", tuple(points))


def picture(series: Series) -> list[str]:
    return [line for line in series_text(series, UTC, "tokens").split("\n") if re.match(r"\d\d-\d\d ", line)]


def test_each_time_has_its_figure_and_a_bar_as_long_as_it():
    """The highest one takes all the room; what is nothing has none."""
    lines = picture(days(1_000, 500, 0, 2_000))
    assert [line[:11] for line in lines] == ["01-01 1,000", "01-02   500", "01-03     0", "01-04 2,000"]
    bars = [line[11:].strip() for line in lines]
    assert [len(bar) for bar in bars] == [34, 17, 0, 68]
    assert len(lines[3]) == PIPED_WIDTH


def test_a_part_of_a_column_is_a_part_of_a_block():
    """A hundredth of the highest is still to be seen."""
    assert picture(days(1, 100))[0] == "01-01   1 ▋"


@pytest.mark.parametrize("count", [61, 365])
def test_of_many_times_the_highest_neighbours_are_shown_and_that_is_said(count):
    """A picture of 8,760 hours is no picture; each line is a time that was."""
    series = days(*range(1, count + 1))
    lines = picture(series)
    each = -(-count // 60)
    assert len(lines) == -(-count // each) <= 60
    assert f"tokens by day, the highest of each {each}," in series_text(series, UTC, "tokens")
    assert lines[0].startswith(f"01-0{each} ")
    assert lines[-1].split()[1] == str(count)


def test_a_time_without_usage_is_a_picture_too():
    """Requests that came to nothing."""
    assert picture(days(0, 0)) == ["01-01 0", "01-02 0"]
