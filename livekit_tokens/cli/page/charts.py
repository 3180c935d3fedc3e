"""Charts as SVG: drawn by hand, so that the page needs no script and no request. Heights are pictures, not money."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from livekit_tokens.cli.axis import round_steps, short_key

_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 28
_LABEL_ROOM = 64
_ROW, _BAR = 26, 14
_NAME_ROOM, _BAR_ROOM, _FIGURE_ROOM = 168, 150, 168
_NAME_LENGTH = 23


@dataclass(frozen=True, slots=True)
class Layer:
    """One colour of a stacked chart: its name, and for each place its height and what is told of it."""

    name: str
    heights: Sequence[float]
    told: Sequence[str]
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a ranking: its name, its length, and the figure beside it."""

    name: str
    length: float
    figure: str


def stacked(keys: Sequence[str], layers: Sequence[Layer], unit: Callable[[float], str], title: str) -> str:
    """Bars one upon the other, a bar for each key, with a legend below."""
    heights = [sum(layer.heights[place] for layer in layers) for place in range(len(keys))]
    steps = round_steps(max(heights, default=0))
    top = max([*heights, steps[-1]])
    scale = (_HEIGHT - _TOP - _BOTTOM) / top
    picture = [*_grid(steps, scale, unit), *_stacks(keys, layers, scale), *_keys(keys)]
    drawn = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(picture)}</svg>'
    legend = "".join(
        f'<li><span class="key {_colour(n, layer)}"></span><bdi>{escape(layer.name)}</bdi></li>'
        for n, layer in enumerate(layers)
    )
    return f'<div class="wide">{drawn}</div><ul class="legend">{legend}</ul>'


def ranking(bars: Sequence[Bar], title: str) -> str:
    """Bars from left to right, a row for each."""
    longest = max((bar.length for bar in bars), default=0) or 1
    rows = []
    for number, bar in enumerate(bars):
        y = number * _ROW
        length = _BAR_ROOM * bar.length / longest
        rows.append(
            f'<text x="0" y="{y + 17}"><title>{escape(bar.name)}</title>{escape(_fitting(bar.name))}</text>'
            f'<rect class="c0" x="{_NAME_ROOM}" y="{y + 6}" width="{max(length, 1):.1f}" height="{_BAR}" rx="2"/>'
            f'<text class="figure" x="{_NAME_ROOM + _BAR_ROOM + _FIGURE_ROOM}" y="{y + 17}">{escape(bar.figure)}</text>'
        )
    width, height = _NAME_ROOM + _BAR_ROOM + _FIGURE_ROOM, max(len(bars), 1) * _ROW
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{"".join(rows)}</svg>'


def _grid(steps: Sequence[float], scale: float, unit: Callable[[float], str]) -> Iterator[str]:
    for step in steps:
        y = _HEIGHT - _BOTTOM - step * scale
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="figure" x="{_LEFT - 8}" y="{y + 4:.1f}">{escape(unit(step))}</text>'


def _stacks(keys: Sequence[str], layers: Sequence[Layer], scale: float) -> Iterator[str]:
    each = (_WIDTH - _LEFT - _RIGHT) / max(len(keys), 1)
    wide = max(1.0, each * 0.8)
    for place, key in enumerate(keys):
        y = float(_HEIGHT - _BOTTOM)
        x = _LEFT + place * each + (each - wide) / 2
        for number, layer in enumerate(layers):
            if (high := layer.heights[place] * scale) <= 0:
                continue
            y -= high
            told = escape(f"{key}, {layer.name}: {layer.told[place]}")
            yield (
                f'<rect class="{_colour(number, layer)}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                f'height="{high:.1f}"><title>{told}</title></rect>'
            )


def _keys(keys: Sequence[str]) -> Iterator[str]:
    """As many as there is room for."""
    each = (_WIDTH - _LEFT - _RIGHT) / max(len(keys), 1)
    step = max(1, -(-_LABEL_ROOM // int(each or 1)))
    for place in range(0, len(keys), step):
        x = _LEFT + (place + 0.5) * each
        yield f'<text class="middle" x="{x:.1f}" y="{_HEIGHT - 8}">{escape(short_key(keys[place]))}</text>'


def _colour(number: int, layer: Layer) -> str:
    return "rest" if layer.rest else f"c{number}"


def _fitting(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
