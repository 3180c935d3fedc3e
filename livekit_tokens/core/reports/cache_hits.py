"""Requests that the application's own caches answered: counted by operation and layer, no provider heard of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.shares import share, share_text
from livekit_tokens.domain.usage import CACHE_SERVICE


@dataclass(frozen=True, slots=True)
class CacheHits:
    """Of one operation: the hits of each layer, most first, and the requests that went to a provider beside them."""

    operation: str
    layers: tuple[tuple[str, int], ...]
    requests: int

    @property
    def hits(self) -> int:
        return sum(hits for _, hits in self.layers)

    @property
    def hit_rate(self) -> Decimal | None:
        """Hits of all that was asked, from 0 to 1."""
        return share(self.hits, self.hits + self.requests)

    def to_dict(self) -> dict[str, object]:
        return {
            "operation": self.operation,
            "hits": self.hits,
            "requests": self.requests,
            "hit_rate": share_text(self.hit_rate),
            "layers": dict(self.layers),
        }


@dataclass(frozen=True, slots=True)
class CacheReport:
    """The operations that a cache of the application answers, most hits first."""

    period: Period
    timezone: str
    operations: tuple[CacheHits, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "operations": [line.to_dict() for line in self.operations],
        }


async def cache_hits(reader: UsageReader, scope: Scope) -> CacheReport:
    groups = await reader.grouped(scope.question("service", "operation", "model"))
    return CacheReport(scope.period, scope.timezone, hits_of(groups))


def hits_of(groups: Iterable[Group]) -> tuple[CacheHits, ...]:
    """Out of groups that tell service, operation and model apart; a hit has its layer for a model."""
    layers: dict[str, dict[str, int]] = {}
    asked: dict[str, int] = {}
    for group in groups:
        operation, requests = group.key["operation"] or "", group.totals.requests
        if group.key["service"] == CACHE_SERVICE:
            of = layers.setdefault(operation, {})
            layer = group.key["model"] or ""
            of[layer] = of.get(layer, 0) + requests
        else:
            asked[operation] = asked.get(operation, 0) + requests
    lines = [CacheHits(name, _most_first(of), asked.get(name, 0)) for name, of in layers.items()]
    return tuple(sorted(lines, key=lambda line: (-line.hits, line.operation)))


def _most_first(layers: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(layers.items(), key=lambda pair: (-pair[1], pair[0])))
