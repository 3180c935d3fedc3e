"""Hours, days, weeks and months as arithmetic: the same cut as the calendar's, for every moment."""

from __future__ import annotations

import random
import sqlite3

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from livekit_tokens.domain.periods import DAY, Period, cut, read_zone
from livekit_tokens.store.cutting import number_of, runs_of

SINCE = 1_763_000_000_123_456
PERIOD = Period(SINCE, SINCE + 400 * DAY)
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cutting", ["hour", "day", "week", "month"])
def test_every_moment_is_given_to_the_cut_that_it_lies_in(cutting, zone):
    """Over a year with both changes of the clock, also those of half an hour; at both ends of every cut."""
    cuts = cut(PERIOD, cutting, read_zone(zone))
    some = random.Random(1).sample(cuts, min(len(cuts), 400))
    moments = [at for c in some for at in (c.span.since, c.span.since + 1, c.span.until - 1)]
    sql = str(sa.select(number_of(sa.column("at", sa.BigInteger), cuts)).compile(dialect=sqlite.dialect()))
    with sqlite3.connect(":memory:") as conn:
        conn.execute("CREATE TABLE moments (at INTEGER)")
        conn.executemany("INSERT INTO moments VALUES (?)", [(at,) for at in moments])
        numbers = [number for (number,) in conn.execute(f"{sql} FROM moments ORDER BY rowid")]
    for at, number in zip(moments, numbers, strict=True):
        assert cuts[number].span.since <= at < cuts[number].span.until


def test_regular_cuts_are_few_runs():
    """A year by hour, with its cut-off ends, is three; by day in Berlin two more for each change of the clock."""
    assert len(runs_of(cut(PERIOD, "hour", read_zone("UTC")))) == 3
    assert len(runs_of(cut(PERIOD, "day", read_zone("Europe/Berlin")))) == 7
