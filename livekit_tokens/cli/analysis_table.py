"""The table of what operations cost, and the recommendations below it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from decimal import Decimal

from livekit_tokens.cli.columns import Table, drawn, width, wrapped
from livekit_tokens.cli.table import cell, cost, marks
from livekit_tokens.cli.text import percent, period_text, plain
from livekit_tokens.core.reports import Advice, CostAnalysis, OperationCost
from livekit_tokens.domain.money import dollars, dollars_shown
from livekit_tokens.domain.shares import share, shares_of

_MOST = 10
"""So many recommendations somebody reads."""


def analysis_text(analysis: CostAnalysis, zone: tzinfo) -> str:
    title = period_text(analysis.period, zone, analysis.timezone)
    if not analysis.operations:
        return f"No usage from {title}."
    table = Table()
    table.names("operation", "Total")
    names = ("Requests", "Tokens", "Cost $", "$ a request", "$ per 1M tokens")
    for name, foot in zip(names, _figures(analysis.whole), strict=True):
        table.numbers(name, foot)
    for line in analysis.operations:
        table.row(cell(line.operation), *_figures(line))
    text = drawn(table, title, (*marks(analysis.whole.totals), _shares(analysis), _session(analysis)))
    return "\n".join([text, *_cache_hits(analysis), "", *_recommendations(analysis)])


def _figures(line: OperationCost) -> tuple[str, ...]:
    totals = line.totals
    per_million = None if line.per_token is None else line.per_token * 1_000_000
    counts = (f"{totals.requests:,}", f"{totals.total_tokens:,}")
    return (*counts, cost(totals), _short(line.per_operation, 6), _short(per_million, 2))


def _shares(analysis: CostAnalysis) -> str:
    shares = shares_of(analysis.whole.totals)
    cached, estimated = percent(shares.cached_input), percent(shares.estimated_tokens)
    return f"{cached} of the input from the provider's cache; {estimated} of the tokens estimated"


def _session(analysis: CostAnalysis) -> str | None:
    costs = analysis.sessions.costs
    if costs.average is None or not costs.largest:
        return None
    shown = (costs.average, costs.percentile(50) or 0, costs.percentile(95) or 0, costs.largest)
    return "a session cost {} on average; p50 {}, p95 {}, at most {}".format(*(f"${dollars(n):,.4f}" for n in shown))


def _cache_hits(analysis: CostAnalysis) -> Iterator[str]:
    if analysis.cache_hits:
        yield from ("", "Answered by the application's own caches:")
    for line in analysis.cache_hits:
        layers = ", ".join(f"{plain(layer)} {hits:,}" for layer, hits in line.layers)
        told = f"{plain(line.operation)}: {line.hits:,} of {line.hits + line.requests:,} ({percent(line.hit_rate)}): "
        yield from wrapped(told + layers, width(), first="  ", rest="    ")


def _recommendations(analysis: CostAnalysis) -> Iterator[str]:
    if not analysis.whole.totals.cost:
        yield from wrapped("No recommendations: nothing in this period has a price.", width())
        return
    if not analysis.advice:
        yield from wrapped("No recommendations: nothing found that would save half a per cent.", width())
        return
    yield from wrapped("What could be cheaper (estimates that overlap, and do not add up):", width())
    for number, advice in enumerate(analysis.advice[:_MOST], 1):
        yield from _advice(number, advice, analysis)
    if len(analysis.advice) > _MOST:
        yield f"{len(analysis.advice) - _MOST:,} smaller ones are in --json."


def _advice(number: int, advice: Advice, analysis: CostAnalysis) -> list[str]:
    part = percent(share(advice.saving, analysis.whole.totals.cost))
    told = f"{number}. {plain(advice.text)}. Saves about {dollars_shown(advice.saving)} ({part})."
    return wrapped(told, width(), rest="   ")


def _short(value: Decimal | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"
