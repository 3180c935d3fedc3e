"""What each operation costs, and what could be cheaper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context, Decimal

from livekit_tokens.core.reports.advice import BY, Advice, Tariff, advise
from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.cache_hits import CacheHits, hits_of
from livekit_tokens.core.reports.economy import SessionCosts, session_costs
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.money import Nanos, dollars, dollars_text
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.domain.shares import shares_of
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import CACHE_SERVICE

_TWELVE_DIGITS = Context(prec=12)


@dataclass(frozen=True, slots=True)
class OperationCost:
    """What one operation cost; ratios are of the priced part, to 12 significant digits, None where nothing is."""

    operation: str
    totals: Totals

    @property
    def per_operation(self) -> Decimal | None:
        """Dollars a priced request."""
        return _ratio(self.totals.cost, self.totals.requests - self.totals.unpriced_requests)

    @property
    def per_token(self) -> Decimal | None:
        """Dollars a token; None where a request has no price, whose tokens would make it too small."""
        return None if self.totals.unpriced_requests else _ratio(self.totals.cost, self.totals.total_tokens)

    def to_dict(self) -> dict[str, object]:
        return {
            "total_cost_usd": dollars_text(self.totals.cost),
            "total_tokens": self.totals.total_tokens,
            "operation_count": self.totals.requests,
            "cost_per_operation_usd": _text(self.per_operation),
            "cost_per_token_usd": _text(self.per_token),
            "unpriced_requests": self.totals.unpriced_requests,
        }


@dataclass(frozen=True, slots=True)
class CostAnalysis:
    """`operations`: the dearest first; `advice`: the largest saving first; `cache_hits`: what the application's own
    caches answered, which is in none of them."""

    period: Period
    timezone: str
    whole: OperationCost
    operations: tuple[OperationCost, ...]
    advice: tuple[Advice, ...]
    sessions: SessionCosts
    cache_hits: tuple[CacheHits, ...] = ()

    def to_dict(self) -> dict[str, object]:
        whole = self.whole.to_dict()
        return {
            "period": period_dict(self.period, self.timezone),
            **{name: whole[name] for name in ("total_cost_usd", "total_tokens", "cost_per_token_usd")},
            "unpriced_requests": whole["unpriced_requests"],
            "shares": shares_of(self.whole.totals).to_dict(),
            "session_costs": self.sessions.to_dict(),
            "operation_costs": {line.operation: line.to_dict() for line in self.operations},
            "recommendations": [advice.to_dict() for advice in self.advice],
            "cache_hits": [line.to_dict() for line in self.cache_hits],
        }


async def cost_analysis(reader: UsageReader, scope: Scope, pricing: Pricing) -> CostAnalysis:
    asked = scope.question(*BY)
    spent = await reader.grouped(asked)
    cut_off = await reader.grouped(replace(asked, cancelled=True))
    by_operation: dict[str, Totals] = {}
    # What a cache answered cost nothing: among what did, it would make a request look cheaper than it is.
    for group in spent:
        if group.key["service"] == CACHE_SERVICE:
            continue
        name = group.key["operation"] or ""
        by_operation[name] = by_operation.get(name, Totals()) + group.totals
    operations = [OperationCost(name, totals) for name, totals in by_operation.items()]
    operations.sort(key=lambda line: (-line.totals.cost, -line.totals.total_tokens, line.operation))
    whole = OperationCost("", sum(by_operation.values(), Totals()))
    # The last moment that belongs to the period, or now: a price of the future is not one that anybody pays.
    tariff = Tariff(pricing, min(scope.period.until - 1, scope.now))
    advice = advise(spent, cut_off, tariff)
    sessions = await session_costs(reader, scope)
    return CostAnalysis(scope.period, scope.timezone, whole, tuple(operations), advice, sessions, hits_of(spent))


def _ratio(cost: Nanos, count: int) -> Decimal | None:
    return _TWELVE_DIGITS.divide(dollars(cost), Decimal(count)) if count > 0 and cost else None


def _text(ratio: Decimal | None) -> str | None:
    return None if ratio is None else f"{ratio:f}"
