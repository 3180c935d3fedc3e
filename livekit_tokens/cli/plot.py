"""A time series as a picture of characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from rich.bar import Bar
from rich.console import Console

from livekit_tokens.cli.axis import short_key
from livekit_tokens.cli.columns import width, wrapped
from livekit_tokens.cli.text import period_text, plain
from livekit_tokens.core.reports import Point, Series
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.money import dollars
from livekit_tokens.domain.receipts import cost_text

_MOST = 60
"""So many lines of a picture somebody reads; of more times, neighbours share one."""
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
    each = -(-len(series.points) // _MOST)
    shared = f", the highest of each {each}" if each > 1 else ""
    label = f"{of}{' in $' if of == 'cost' else ''} by {series.cutting}{shared}, {title}"
    lines = [*wrapped(label, width()), *_bars(series.points, of, each)]
    if series.per is not None:
        lines += ["", *_lines(series, of)]
    total = series.totals
    told = f"Total: {cost_text(total)}, {total.total_tokens:,} tokens, {total.requests:,} requests"
    return "\n".join([*lines, "", *wrapped(told, width())])


def _bars(points: Sequence[Point], of: str, each: int) -> list[str]:
    """A line for the highest of so many neighbours each: its time, its figure, and a bar."""
    measure = _MEASURES[of]
    shown = [max(points[at : at + each], key=measure) for at in range(0, len(points), each)]
    keys = [short_key(point.key) for point in shown]
    figures = [_figure(measure(point), of) for point in shown]
    keys_width, figures_width = max(map(len, keys)), max(map(len, figures))
    room = width() - keys_width - figures_width - 2
    console = Console(width=room)
    highest = max(map(measure, shown)) or 1
    lines = []
    for key, figure, point in zip(keys, figures, shown, strict=True):
        bar = "".join(piece.text for piece in console.render(Bar(highest, 0, measure(point))))
        lines.append(f"{key:<{keys_width}} {figure:>{figures_width}} {bar}".rstrip())
    return lines


def _figure(value: int, of: str) -> str:
    return f"{dollars(value):,.4f}" if of == "cost" else f"{value:,}"


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
