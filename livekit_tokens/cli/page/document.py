"""The page: figures, charts and tables of an overview, as one HTML document that asks for nothing more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from decimal import Decimal
from html import escape
from importlib.resources import files
from pathlib import Path

from livekit_tokens.cli.page.charts import Bar, Layer, ranking, stacked
from livekit_tokens.cli.page.tables import advice_list, models_table, performance_table, totals_table
from livekit_tokens.cli.text import period_text, plain, pruned_text, time_text
from livekit_tokens.core.reports import Overview, SeriesLine, Top
from livekit_tokens.domain.money import NANOS_PER_DOLLAR, Nanos, dollars
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.receipts import cost_text
from livekit_tokens.domain.shares import shares_of
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.domain.totals import Totals

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever a name might hold, a browser loads and runs nothing from this page."""


_BEGINNING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="livekit-tokens">"""


def is_page(path: Path) -> bool:
    """Whether a page of ours, or nothing, is there. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) in (b"", _BEGINNING.encode())


def page_of(overview: Overview, filters: Mapping[str, str], now: Micros) -> str:
    """The whole document."""
    report = overview.report
    zone = read_zone(report.timezone)
    style = (files("livekit_tokens.cli.page") / "style.css").read_text("utf-8")
    return "\n".join(
        [
            _BEGINNING,
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Token usage, {escape(period_text(report.period, zone, report.timezone))}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>",
            *_head(overview, filters, now, zone),
            *_pruned(overview),
            *_body(overview),
            "</body>\n</html>",
        ]
    )


def _head(overview: Overview, filters: Mapping[str, str], now: Micros, zone: tzinfo) -> Iterator[str]:
    report = overview.report
    yield f"<header><h1>Token usage</h1><p>{escape(period_text(report.period, zone, report.timezone))}</p>"
    for name, value in filters.items():
        yield f"<p>Only {escape(name)}: <bdi>{escape(plain(value))}</bdi></p>"
    yield f'<p class="soft">As of {time_text(to_datetime(now), zone)}. Written by livekit-tokens.</p></header>'


def _pruned(overview: Overview) -> Iterator[str]:
    if overview.report.period.since < overview.kept_since:
        yield f'<p class="soft">{escape(pruned_text(overview.kept_since))}</p>'


def _body(overview: Overview) -> Iterator[str]:
    yield f'<div class="figures">{"".join(_figures(overview))}</div>'
    if not overview.report.totals.requests:
        yield "<section><p>No usage in this period.</p></section>"
        return
    if marks := _marks(overview.report.totals):
        yield f'<p class="soft">{marks}</p>'
    yield _section(f"{_measure(overview)} by {overview.days.cutting} and model", _over_time(overview))
    tops = [_section(f"Top {kind}", _ranked(top)) for kind, top in overview.tops.items() if _worth_showing(top)]
    yield f'<div class="pair">{"".join(tops)}</div>'
    yield _section("By service and model", totals_table(overview.report))
    yield _section("Beside the period before", models_table(overview.comparison))
    yield _section("Success, and response times in milliseconds", performance_table(overview.performance))
    yield _section("What could be cheaper", advice_list(overview.analysis))


def _marks(totals: Totals) -> str:
    estimated = "~ in part estimated" if totals.estimated_cost else ""
    unpriced = "+ and requests without a price" if totals.unpriced_requests and totals.cost else ""
    return "; ".join(filter(None, (estimated, unpriced)))


def _figures(overview: Overview) -> Iterator[str]:
    report, totals = overview.report, overview.report.totals
    shares, costs = shares_of(totals), overview.session_costs.costs
    whole = overview.comparison.whole
    yield _figure("Cost", _cost(totals), _change(whole.cost_ratio))
    yield _figure("Tokens", f"{totals.total_tokens:,}", _change(whole.tokens_ratio))
    yield _figure("Sessions", f"{report.sessions:,}", f'<span class="soft">before: {whole.sessions_before:,}</span>')
    failed = f'<span class="soft">{totals.failed_requests:,} failed</span>'
    yield _figure("Requests", f"{totals.requests:,}", failed)
    told = f'<span class="soft">p95 {_money(costs.percentile(95))}, most {_money(costs.largest)}</span>'
    yield _figure("Cost a session", _money(costs.average), told)
    if report.cost_per_minute is not None:
        yield _figure("Cost a minute of call", f"${report.cost_per_minute:,.4f}")
    yield _figure("Input from the cache", _percent(shares.cached_input))
    yield _figure("Estimated", _percent(shares.estimated_tokens), '<span class="soft">of the tokens</span>')
    unknown = f'<span class="soft">{totals.unknown_requests:,} unknown</span>'
    yield _figure("Unpriced requests", f"{totals.unpriced_requests:,}", unknown)


def _figure(name: str, value: str, told: str = "") -> str:
    return f'<div><span class="soft">{name}</span><b>{escape(value)}</b>{told}</div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _measure(overview: Overview) -> str:
    return "Cost" if overview.report.totals.cost else "Tokens"


def _over_time(overview: Overview) -> str:
    days, priced = overview.days, bool(overview.report.totals.cost)
    layers = [_layer(line, priced) for line in days.lines]
    unit = _dollar_mark if priced else _count_mark
    return stacked([point.key for point in days.points], layers, unit, f"by {days.cutting} and model")


def _layer(line: SeriesLine, priced: bool) -> Layer:
    told = [cost_text(p.totals) if priced else f"{p.totals.total_tokens:,} tokens" for p in line.points]
    heights = [p.totals.cost / NANOS_PER_DOLLAR if priced else p.totals.total_tokens for p in line.points]
    return Layer(plain(line.name or "-"), heights, told, line.rest)


def _ranked(top: Top) -> str:
    priced = bool(top.totals.cost)
    bars = []
    for group in top.groups:
        (name,) = group.key.values()
        figure = _cost(group.totals) if priced else f"{group.totals.total_tokens:,} tokens"
        length = group.totals.cost / NANOS_PER_DOLLAR if priced else group.totals.total_tokens
        bars.append(Bar("-" if name is None else plain(name), length, figure))
    return ranking(bars, f"Top {top.kind}")


def _worth_showing(top: Top) -> bool:
    """Not a list of one, as where nobody has a tenant."""
    return len(top.groups) > 1


def _change(ratio: Decimal | None) -> str:
    if ratio is None:
        return '<span class="soft">nothing in the period before</span>'
    return f'<span class="{"worse" if ratio > 1 else "better"}">{ratio - 1:+,.1%}</span>'


def _cost(totals: Totals) -> str:
    """With four decimals, ~ where it is in part estimated, and + where requests have no price; the tables have more."""
    if totals.unpriced_requests and not totals.cost:
        return "unpriced"
    return f"{'~' if totals.estimated_cost else ''}{_money(totals.cost)}{'+' if totals.unpriced_requests else ''}"


def _money(nanos: Nanos | None) -> str:
    return "-" if nanos is None else f"${dollars(nanos):,.4f}"


def _percent(share: Decimal | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _dollar_mark(value: float) -> str:
    return f"${value:,g}"


def _count_mark(value: float) -> str:
    return f"{value:,g}"
