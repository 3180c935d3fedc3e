"""A period at a glance: what a page or a dashboard shows, out of one snapshot of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livekit_tokens.core.reports.advice import BY
from livekit_tokens.core.reports.analysis import CostAnalysis, cost_analysis
from livekit_tokens.core.reports.asking import DEFAULT_BY, Scope
from livekit_tokens.core.reports.comparison import Comparison, compare
from livekit_tokens.core.reports.economy import SessionCosts, session_costs
from livekit_tokens.core.reports.performance import PerformanceReport, performance
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.core.reports.series import Series, series
from livekit_tokens.core.reports.spending import Report, spending
from livekit_tokens.core.reports.top import Ranked, Top, tops
from livekit_tokens.domain.periods import Cutting, period_before
from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.domain.times import Micros, rfc3339

_LINES = 6
_RANKED: tuple[Ranked, ...] = ("users", "tenants", "operations", "features", "sessions")
_RANKS = 8
_COMPARED = 12


@dataclass(frozen=True, slots=True)
class Overview:
    """Spending by service and model, over time by model, beside the period before, and what stands out in it."""

    report: Report
    days: Series
    comparison: Comparison
    session_costs: SessionCosts
    performance: PerformanceReport
    analysis: CostAnalysis
    tops: Mapping[Ranked, Top]
    kept_since: Micros = 0
    """From when on all records are kept; 0 where none was pruned."""

    def to_dict(self) -> dict[str, object]:
        return {
            **self.report.to_dict(),
            "series": self.days.to_dict(),
            "comparison": self.comparison.to_dict(),
            "session_costs": self.session_costs.to_dict(),
            "performance": self.performance.to_dict(),
            "cost_analysis": self.analysis.to_dict(),
            "records_kept_since": rfc3339(self.kept_since or None),
            "tops": {kind: ranked.to_dict() for kind, ranked in self.tops.items()},
        }


async def overview(reader: UsageReader, scope: Scope, cutting: Cutting, pricing: Pricing) -> Overview:
    # The finest question first: the store may make the coarser answers of it.
    await reader.grouped(scope.question(*BY, "feature"))
    return Overview(
        report=await spending(reader, scope, DEFAULT_BY),
        days=await series(reader, scope, cutting, "model", _LINES),
        comparison=await compare(reader, scope, period_before(scope.period), DEFAULT_BY, _COMPARED),
        session_costs=await session_costs(reader, scope),
        performance=await performance(reader, scope),
        analysis=await cost_analysis(reader, scope, pricing),
        tops=await tops(reader, scope, _RANKED, _RANKS),
        kept_since=await reader.kept_since(),
    )
