"""A time series as a picture of characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

import plotext
from wcwidth import wrap

from livekit_tokens.cli.axis import round_steps, short_key
from livekit_tokens.cli.columns import width
from livekit_tokens.cli.text import period_text, plain
from livekit_tokens.core.reports import Point, Series
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.money import NANOS_PER_DOLLAR
from livekit_tokens.domain.receipts import cost_text

_HEIGHT = 16
_LABEL_ROOM = 11
_BLOCKS = " ▁▂▃▄▅▆▇█"

_MEASURES: Mapping[str, Callable[[Point], int]] = {
    "cost": lambda point: point.totals.cost,
    "tokens": lambda point: point.totals.total_tokens,
    "requests": lambda point: point.totals.requests,
    "sessions": lambda point: point.sessions or 0,
}


def check_measure(name: str) -> str:
    """Raises BadSetting with one line."""
    if name not in _MEASURES:
        raise BadSetting(f"cannot draw {name!r}; accepted: {', '.join(_MEASURES)}")
    return name


def series_text(series: Series, zone: tzinfo, measure: str | None = None) -> str:
    """The picture with its figures; by default of the cost, or of tokens where nothing has a price."""
    title = period_text(series.period, zone, series.timezone)
    if not series.totals.requests:
        return f"No usage from {title}."
    of = measure or ("cost" if series.totals.cost else "tokens")
    label = f"{of}{' in $' if of == 'cost' else ''} by {series.cutting}, {title}"
    lines = [*wrap(label, width()), *_bars(series.points, of)]
    if series.per is not None:
        lines += ["", *_lines(series, of)]
    total = series.totals
    told = f"Total: {cost_text(total)}, {total.total_tokens:,} tokens, {total.requests:,} requests"
    return "\n".join([*lines, "", *wrap(told, width())])


def _bars(points: Sequence[Point], of: str) -> list[str]:
    scale = NANOS_PER_DOLLAR if of == "cost" else 1
    # Heights in a picture, not money.
    heights = [_MEASURES[of](point) / scale for point in points]
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width(), _HEIGHT)
    places = list(range(len(points)))
    plotext.bar(places, heights, width=0.8)
    # Ticks of our own: plotext draws lots for them.
    shown = places[:: max(1, -(-len(points) * _LABEL_ROOM // width()))]
    plotext.xticks(shown, [short_key(points[place].key) for place in shown])
    plotext.ylim(0, max(heights) or 1)
    steps = round_steps(max(heights) or 1)
    plotext.yticks(steps, [f"{step:,g}" for step in steps])
    return [line.rstrip() for line in plotext.uncolorize(plotext.build()).rstrip("\n").split("\n")]


def _lines(series: Series, of: str) -> list[str]:
    """A line of small blocks for each value of the split, all on one scale."""
    highest = max((_MEASURES[of](point) for line in series.lines for point in line.points), default=0)
    names = [f"({line.name})" if line.rest else plain(line.name or "-") for line in series.lines]
    costs = [cost_text(line.totals) for line in series.lines]
    beside = max(map(len, costs), default=0) + 1
    # On a narrow terminal each figure has a line of its own.
    below = width() < 2 * beside + 12
    # A name gives way a little, so that every point has its block.
    least = max(12, width() - 1 - (0 if below else beside) - len(series.points))
    room = min(max(map(len, names), default=0), 28, width() - 12, least)
    blocks = max(10, width() - room - 1 - (0 if below else beside))
    shown = []
    for name, line, cost in zip(names, series.lines, costs, strict=True):
        values = _joined([_MEASURES[of](point) for point in line.points], blocks)
        small = "".join(_BLOCKS[-(-value * (len(_BLOCKS) - 1) // max(highest, 1))] for value in values)
        short = name if len(name) <= room else f"{name[: room - 1]}…"
        shown += [f"{short:<{room}} {small}", f"  {cost}"] if below else [f"{short:<{room}} {small} {cost}"]
    return shown


def _joined(values: Sequence[int], most: int) -> list[int]:
    """Neighbours put together by their highest, so that at most so many are left."""
    step = -(-len(values) // most)
    return [max(values[i : i + step]) for i in range(0, len(values), step)]
