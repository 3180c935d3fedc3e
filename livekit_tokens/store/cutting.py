"""In which hour, day, week or month a row lies, as arithmetic on its time.

A join with the cuts as ranges would be the plainer way, and no planner finds a good one for it: PostgreSQL compares
every row with every cut (a month by hour, of a year of 1 million records: 2.7 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import sqlalchemy as sa

from livekit_tokens.domain.periods import Cut
from livekit_tokens.domain.times import Micros


class Run(NamedTuple):
    """Neighbouring cuts of the same length: `first` is the number of the first of them."""

    since: Micros
    length: Micros
    first: int


def runs_of(cuts: Sequence[Cut]) -> list[Run]:
    """Few, however many cuts there are: days have one length between two changes of the clock, hours always."""
    runs: list[Run] = []
    for number, cut in enumerate(cuts):
        length = cut.span.until - cut.span.since
        if not runs or runs[-1].length != length:
            runs.append(Run(cut.span.since, length, number))
    return runs


def number_of(at: sa.ColumnElement[int], cuts: Sequence[Cut]) -> sa.ColumnElement[int]:
    """The number of the cut that a time lies in; the cuts follow each other, and it lies in one of them."""
    # Literals: PostgreSQL must see that they are the same where the expression stands in GROUP BY.
    runs = runs_of(cuts)
    last = _in_run(at, runs[-1])
    earlier = [(at < _literal(following.since), _in_run(at, run)) for run, following in pairwise(runs)]
    return sa.case(*earlier, else_=last) if earlier else last


def _in_run(at: sa.ColumnElement[int], run: Run) -> sa.ColumnElement[int]:
    return _literal(run.first) + (at - _literal(run.since)) // _literal(run.length)


def _literal(number: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(number), sa.BigInteger)
