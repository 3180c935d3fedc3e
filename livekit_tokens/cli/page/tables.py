"""The page's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

from livekit_tokens.cli.text import percent, plain
from livekit_tokens.core.reports import Comparison, CostAnalysis, Performance, PerformanceReport, Report
from livekit_tokens.domain.money import dollars_shown
from livekit_tokens.domain.shares import share
from livekit_tokens.domain.totals import Totals

Row = tuple[Sequence[str | None], Sequence[str]]
"""Names, and figures."""


def totals_table(report: Report) -> str:
    names = ("Service", "Model")
    heads = ("Sessions", "Requests", "Input", "Cached", "Output", "Cost", "Of it estimated", "Unpriced")
    rows = [(tuple(group.key.values()), _figures(group.sessions, group.totals)) for group in report.groups]
    return _table(names, heads, rows, _figures(report.sessions, report.totals))


def models_table(comparison: Comparison) -> str:
    heads = ("Before", "Now", "Change", "Tokens", "Change")
    rows = []
    for change in comparison.groups:
        figures = (
            _cost(change.before),
            _cost(change.totals),
            _grown(change.cost_ratio),
            f"{change.totals.total_tokens:,}",
            _grown(change.tokens_ratio),
        )
        rows.append((tuple(change.key.values()), figures))
    return _table(("Service", "Model"), heads, rows)


def performance_table(report: PerformanceReport) -> str:
    heads = ("Requests", "Success", "Average", "p50", "p95", "Most", "First output")
    rows = [(tuple(line.key.values()), _times(line)) for line in report.models]
    return _table(("Provider", "Model", "Operation"), heads, rows, _times(report.whole))


def advice_list(analysis: CostAnalysis) -> str:
    if not analysis.advice:
        return "<p>Nothing found that would save half a per cent.</p>"
    told = []
    for advice in analysis.advice:
        part = percent(share(advice.saving, analysis.whole.totals.cost))
        saving = f"<b>Saves about {dollars_shown(advice.saving)} ({part}).</b>"
        told.append(f"<li>{escape(plain(advice.text))}. {saving}</li>")
    note = '<p class="soft">Estimates that overlap, and do not add up.</p>'
    return f"<ol>{''.join(told)}</ol>{note}"


def _figures(sessions: int, totals: Totals) -> Sequence[str]:
    counts = (sessions, totals.requests, totals.input_tokens, totals.cached_tokens, totals.output_tokens)
    estimated = dollars_shown(totals.estimated_cost) if totals.estimated_cost else "-"
    return (*(f"{count:,}" for count in counts), _cost(totals), estimated, f"{totals.unpriced_requests:,}")


def _cost(totals: Totals) -> str:
    return "unpriced" if totals.unpriced_requests and not totals.cost else dollars_shown(totals.cost)


def _times(line: Performance) -> Sequence[str]:
    times = line.response_ms
    shown = (times.average, times.percentile(50), times.percentile(95), times.largest)
    first = line.first_output_ms.percentile(50)
    return (f"{line.requests:,}", percent(line.success_rate), *(_milliseconds(ms) for ms in (*shown, first)))


def _milliseconds(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _grown(ratio: Decimal | None) -> str:
    return "-" if ratio is None else f"{ratio - 1:+,.1%}"


def _table(names: Sequence[str], heads: Sequence[str], rows: Iterable[Row], foot: Sequence[str] | None = None) -> str:
    head = "".join(f'<th class="name">{name}</th>' for name in names) + "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{_names(key)}{_cells(figures)}</tr>" for key, figures in rows)
    last = f'<tfoot><tr><td class="name" colspan="{len(names)}">Total</td>{_cells(foot)}</tr></tfoot>' if foot else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{last}</table>"
    return f'<div class="wide">{table}</div>'


def _names(key: Sequence[str | None]) -> str:
    # <bdi>: a name that is written from right to left must not turn the figures beside it around.
    return "".join(f'<td class="name"><bdi>{escape("-" if name is None else plain(name))}</bdi></td>' for name in key)


def _cells(figures: Sequence[str]) -> str:
    return "".join(f"<td>{escape(figure)}</td>" for figure in figures)
