"""How requests went: success, errors, response times and scores, by provider and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.groups import in_order
from livekit_tokens.core.reports.measures import Key, Measured, Scores
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.shares import share, share_text

BY = ("provider", "model", "operation")


@dataclass(frozen=True, slots=True)
class Performance:
    """Of one model in one operation, or of all (empty `key`). Times are in milliseconds, of the requests with any.

    `errors` counts failed requests by their error's class. Times, errors and scores are of the records that are kept.
    """

    key: Mapping[str, str | None]
    requests: int
    failed_requests: int
    errors: Mapping[str, int]
    response_ms: Distribution
    first_output_ms: Distribution
    scores: Scores

    @property
    def success_rate(self) -> Decimal | None:
        """From 0 to 1; None without requests."""
        return share(self.requests - self.failed_requests, self.requests)

    def to_dict(self) -> dict[str, object]:
        return {
            **self.key,
            "requests": self.requests,
            "failed_requests": self.failed_requests,
            "success_rate": share_text(self.success_rate),
            "errors": dict(self.errors),
            "response_ms": self.response_ms.to_dict(),
            "first_output_ms": self.first_output_ms.to_dict(),
            **self.scores.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class PerformanceReport:
    """A period's performance: of all requests, and by provider, model and operation."""

    period: Period
    timezone: str
    whole: Performance
    models: tuple[Performance, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "totals": self.whole.to_dict(),
            "models": [line.to_dict() for line in self.models],
        }


async def performance(reader: UsageReader, scope: Scope) -> PerformanceReport:
    asked = scope.question(*BY)
    groups = in_order(await reader.grouped(asked))
    measured = await reader.measured(asked)
    lines = []
    for group in groups:
        key: Key = tuple(group.key.values())
        lines.append(
            Performance(
                key=group.key,
                requests=group.totals.requests,
                failed_requests=group.totals.failed_requests,
                **measured.get(key, Measured())._asdict(),
            )
        )
    return PerformanceReport(scope.period, scope.timezone, _together(lines), tuple(lines))


def _together(lines: list[Performance]) -> Performance:
    errors: dict[str, int] = {}
    for line in lines:
        for error, times in line.errors.items():
            errors[error] = errors.get(error, 0) + times
    return Performance(
        key={},
        requests=sum(line.requests for line in lines),
        failed_requests=sum(line.failed_requests for line in lines),
        errors=errors,
        response_ms=sum((line.response_ms for line in lines), Distribution()),
        first_output_ms=sum((line.first_output_ms for line in lines), Distribution()),
        scores=sum((line.scores for line in lines), Scores()),
    )
