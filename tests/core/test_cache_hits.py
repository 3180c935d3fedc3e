"""What the application's own caches answered, beside what was asked of a provider."""

from __future__ import annotations

from decimal import Decimal

from livekit_tokens.core.reports.cache_hits import hits_of
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.domain.totals import Totals


def group(service: str, operation: str, model: str, requests: int) -> Group:
    return Group({"service": service, "operation": operation, "model": model}, 1, Totals(requests))


def test_hits_are_counted_by_layer_and_set_beside_the_requests():
    """Of the same operation, whichever model answered it; operations without a cache are not listed."""
    found = hits_of(
        [
            group("cache", "chat_completion", "memory", 3),
            group("cache", "chat_completion", "redis", 7),
            group("cache", "query_embedding", "redis", 40),
            group("agent", "chat_completion", "a", 20),
            group("tool", "chat_completion", "b", 10),
            group("agent", "realtime_response", "c", 99),
        ]
    )
    assert [(line.operation, line.layers, line.requests) for line in found] == [
        ("query_embedding", (("redis", 40),), 0),
        ("chat_completion", (("redis", 7), ("memory", 3)), 30),
    ]
    assert [line.hit_rate for line in found] == [Decimal(1), Decimal("0.2500")]


def test_without_a_cache_there_is_nothing():
    """No operation, no rate of 0."""
    assert hits_of([group("agent", "chat_completion", "a", 20)]) == ()
