"""What a session costs, and what part of the spending was cached, estimated, unknown, unpriced or failed."""

from __future__ import annotations

from dataclasses import dataclass

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.core.reports.spending import Report
from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.money import Nanos, dollars_text
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.shares import shares_of


@dataclass(frozen=True, slots=True)
class SessionCosts:
    """What the sessions of a period cost in it, of their priced requests; `unpriced_requests` stand beside them."""

    period: Period
    timezone: str
    costs: Distribution
    unpriced_requests: int

    def to_dict(self) -> dict[str, object]:
        costs = self.costs
        return {
            "period": period_dict(self.period, self.timezone),
            "sessions": costs.count,
            "average_cost_usd": _money(costs.average),
            "p50_cost_usd": _money(costs.percentile(50)),
            "p95_cost_usd": _money(costs.percentile(95)),
            "max_cost_usd": _money(costs.largest),
            "unpriced_requests": self.unpriced_requests,
        }


@dataclass(frozen=True, slots=True)
class ShareReport:
    """Shares of a whole report and of each of its groups."""

    report: Report

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.report.period, self.report.timezone),
            "totals": shares_of(self.report.totals).to_dict(),
            "groups": [{"key": dict(group.key), **shares_of(group.totals).to_dict()} for group in self.report.groups],
        }


async def session_costs(reader: UsageReader, scope: Scope) -> SessionCosts:
    whole = await reader.grouped(scope.question())
    unpriced = sum(group.totals.unpriced_requests for group in whole)
    return SessionCosts(scope.period, scope.timezone, await reader.session_costs(scope.question()), unpriced)


def _money(nanos: Nanos | None) -> str | None:
    return None if nanos is None else dollars_text(nanos)
