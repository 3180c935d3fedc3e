"""How spending went over time: every hour, day, week or month of the reader's zone, also those without any usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.periods import Cut, Cutting, Period, cut
from livekit_tokens.domain.times import rfc3339
from livekit_tokens.domain.totals import Totals

REST = "other"
DEFAULT_LINES = 6
"""More lines than these are hard to tell apart in a chart."""


@dataclass(frozen=True, slots=True)
class Point:
    """One hour, day, week or month; `sessions` is None where sessions of several groups were put together."""

    key: str
    span: Period
    sessions: int | None
    totals: Totals

    def to_dict(self) -> dict[str, object]:
        return {
            "key": self.key,
            "since": rfc3339(self.span.since),
            "until": rfc3339(self.span.until),
            "sessions": self.sessions,
            **self.totals.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One value of what a series is split by. `rest`: all that did not get a line of its own."""

    name: str | None
    points: tuple[Point, ...]
    rest: bool = False

    @property
    def totals(self) -> Totals:
        return sum((point.totals for point in self.points), Totals())

    def to_dict(self) -> dict[str, object]:
        return {"name": self.name, "rest": self.rest, "points": [point.to_dict() for point in self.points]}


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are the whole, one for every cut of the period; `lines` the same by `per`, dearest first."""

    period: Period
    timezone: str
    cutting: Cutting
    points: tuple[Point, ...]
    per: str | None = None
    lines: tuple[SeriesLine, ...] = field(default=())

    @property
    def totals(self) -> Totals:
        return sum((point.totals for point in self.points), Totals())

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "cutting": self.cutting,
            "per": self.per,
            "totals": self.totals.to_dict(),
            "points": [point.to_dict() for point in self.points],
            "lines": [line.to_dict() for line in self.lines],
        }


async def series(reader: UsageReader, scope: Scope, cutting: Cutting, per: str | None, most_lines: int) -> Series:
    cuts = cut(scope.period, cutting, scope.zone)
    # What is finer first: the store may make the whole of it.
    split = () if per is None else await reader.grouped(scope.question(cutting, per, cuts=cuts))
    found = await reader.grouped(scope.question(cutting, cuts=cuts))
    whole = _points(cuts, {group.key[cutting] or "": (group.sessions, group.totals) for group in found})
    if per is None:
        return Series(scope.period, scope.timezone, cutting, whole)
    return Series(scope.period, scope.timezone, cutting, whole, per, _lines(split, cuts, cutting, per, most_lines))


Amounts = Mapping[str, tuple[int | None, Totals]]
"""Sessions and totals by the key of a cut."""


def _points(cuts: Sequence[Cut], found: Amounts) -> tuple[Point, ...]:
    """One point for every cut, also where there was nothing."""
    return tuple(Point(c.key, c.span, *found.get(c.key, (0, Totals()))) for c in cuts)


def _lines(
    groups: Sequence[Group], cuts: Sequence[Cut], cutting: Cutting, per: str, most: int
) -> tuple[SeriesLine, ...]:
    """The `most` dearest values with a line each, and one more for the rest."""
    of: dict[str | None, dict[str, tuple[int | None, Totals]]] = {}
    for group in groups:
        of.setdefault(group.key[per], {})[group.key[cutting] or ""] = (group.sessions, group.totals)
    lines = [SeriesLine(name, _points(cuts, found)) for name, found in of.items()]
    lines.sort(key=lambda line: (-line.totals.cost, -line.totals.total_tokens, line.name is None, line.name or ""))
    if len(lines) <= most:
        return tuple(lines)
    rest: dict[str, tuple[int | None, Totals]] = {}
    for line in lines[most:]:
        for point in line.points:
            rest[point.key] = (None, rest.get(point.key, (None, Totals()))[1] + point.totals)
    return (*lines[:most], SeriesLine(REST, _points(cuts, rest), rest=True))
