"""The table of how requests went."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from livekit_tokens.cli.columns import Table, drawn
from livekit_tokens.cli.table import cell
from livekit_tokens.cli.text import percent, period_text, plain
from livekit_tokens.core.reports import Performance, PerformanceReport
from livekit_tokens.domain.distribution import Distribution


def performance_text(report: PerformanceReport, zone: tzinfo) -> str:
    title = period_text(report.period, zone, report.timezone)
    if not report.models:
        return f"No usage from {title}."
    table = Table()
    names = ("Requests", "Success", "avg", "p50", "p95", "max", "First")
    table.names("Response times in ms", "All")
    for name, foot in zip(names, _figures(report.whole), strict=True):
        table.numbers(name, foot)
    for line in report.models:
        table.row(cell(" ".join(str(value) for value in line.key.values())), *_figures(line))
    first = "First: the median time to the first output" if report.whole.first_output_ms.count else None
    return drawn(table, title, (first, *_notes(report)))


def _figures(line: Performance) -> tuple[str, ...]:
    times = line.response_ms
    shown = (times.average, times.percentile(50), times.percentile(95), times.largest, _median(line.first_output_ms))
    return (f"{line.requests:,}", percent(line.success_rate), *("-" if ms is None else f"{ms:,}" for ms in shown))


def _notes(report: PerformanceReport) -> Iterator[str]:
    for line in report.models:
        name = plain(" ".join(str(value) for value in line.key.values()))
        if line.errors:
            told = ", ".join(f"{plain(error)} {times:,}" for error, times in sorted(line.errors.items()))
            yield f"Errors of {name}: {told}"
        if line.scores.quality is not None:
            yield f"Quality of {name}: {line.scores.quality:.3f} ({line.scores.quality_count:,} scored)"
        if line.scores.safety is not None:
            yield f"Safety of {name}: {line.scores.safety:.3f} ({line.scores.safety_count:,} scored)"


def _median(times: Distribution) -> int | None:
    return times.percentile(50)
