"""What has no price: by provider, model and reason, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.measures import Unpriced
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import Price, Pricing
from livekit_tokens.domain.times import rfc3339, to_datetime


@dataclass(frozen=True, slots=True)
class Missing:
    """What has no price in a period, most requests first, each with what is known of its price now."""

    period: Period
    timezone: str
    found: tuple[tuple[Unpriced, Price], ...]

    @property
    def requests(self) -> int:
        return sum(group.requests for group, _ in self.found)

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "unpriced_requests": self.requests,
            "missing": [
                {
                    "provider": group.last.provider,
                    "model": group.last.model,
                    "why": group.why,
                    "requests": group.requests,
                    "first_seen": rfc3339(group.first_at),
                    "last_seen": rfc3339(group.last.at),
                    "todo": remedy(group, now),
                }
                for group, now in self.found
            ],
        }


async def missing(reader: UsageReader, scope: Scope, pricing: Pricing) -> Missing:
    found: Sequence[Unpriced] = await reader.unpriced(scope.question())
    ordered = sorted(found, key=lambda group: (-group.requests, group.last.provider, group.last.model, group.why or ""))
    return Missing(scope.period, scope.timezone, tuple((group, pricing(group.last)) for group in ordered))


def remedy(group: Unpriced, now: Price) -> str:
    """What to do, by what the newest of these requests would cost now."""
    provider, model = quote(group.last.provider), quote(group.last.model)
    since = f"{to_datetime(group.first_at):%Y-%m-%dT%H:%MZ}"
    reprice = f"livekit-tokens prices reprice --since {since} --provider {provider} --model {model}"
    if now.total is not None:
        return f"its price is known now: {reprice}"
    if group.last.provenance == "unknown":
        return "nothing here: the provider did not say how much it was; its bill does"
    known = now.note or "no price is known"
    return f"{'give it a price in PRICES_FILE' if known == group.why else known}; then {reprice}"
