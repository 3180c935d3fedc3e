"""A period beside the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.money import Nanos, dollars_text
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.shares import share, share_text
from livekit_tokens.domain.totals import Totals


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one group, or of the whole (without a key), from the period before to this one."""

    key: Mapping[str, str | None]
    sessions: int
    totals: Totals
    sessions_before: int
    before: Totals

    @property
    def cost_change(self) -> Nanos:
        return self.totals.cost - self.before.cost

    @property
    def cost_ratio(self) -> Decimal | None:
        """1.5: half as much again. None where the period before had no cost."""
        return share(self.totals.cost, self.before.cost)

    @property
    def tokens_ratio(self) -> Decimal | None:
        return share(self.totals.total_tokens, self.before.total_tokens)

    def to_dict(self) -> dict[str, object]:
        return {
            "key": dict(self.key),
            "now": {"sessions": self.sessions, **self.totals.to_dict()},
            "before": {"sessions": self.sessions_before, **self.before.to_dict()},
            "change": {
                "sessions": self.sessions - self.sessions_before,
                "requests": self.totals.requests - self.before.requests,
                "total_tokens": self.totals.total_tokens - self.before.total_tokens,
                "tokens_ratio": share_text(self.tokens_ratio),
                "cost_usd": dollars_text(self.cost_change),
                "cost_ratio": share_text(self.cost_ratio),
            },
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """`groups`: what changed most in cost first, then in tokens; `more` says that the limit left some out."""

    period: Period
    before: Period
    timezone: str
    by: tuple[str, ...]
    whole: Change
    groups: tuple[Change, ...]
    more: bool = False

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "period_before": period_dict(self.before, self.timezone),
            "totals": {name: value for name, value in self.whole.to_dict().items() if name != "key"},
            "groups": [group.to_dict() for group in self.groups],
            "more": self.more,
        }


async def compare(reader: UsageReader, scope: Scope, before: Period, by: tuple[str, ...], limit: int) -> Comparison:
    groups = _matched(
        await reader.grouped(scope.question(*by)), await reader.grouped(scope.question(*by, period=before))
    )
    (whole,) = _matched(
        await reader.grouped(scope.question()), await reader.grouped(scope.question(period=before))
    ) or [Change({}, 0, Totals(), 0, Totals())]
    shown = tuple(sorted(groups, key=_standing)[:limit])
    return Comparison(scope.period, before, scope.timezone, by, whole, shown, more=len(groups) > limit)


def _matched(now: Sequence[Group], before: Sequence[Group]) -> list[Change]:
    """Groups of both periods by their key; what stands in one period only was nothing in the other."""
    nothing: Mapping[str, str | None] = {}
    then = {tuple(group.key.values()): group for group in before}
    changes = []
    for group in now:
        other = then.pop(tuple(group.key.values()), Group(nothing, 0, Totals()))
        changes.append(Change(group.key, group.sessions, group.totals, other.sessions, other.totals))
    changes += [Change(gone.key, 0, Totals(), gone.sessions, gone.totals) for gone in then.values()]
    return changes


def _standing(change: Change) -> tuple[object, ...]:
    tokens = abs(change.totals.total_tokens - change.before.total_tokens)
    names = tuple((name is None, name or "") for name in change.key.values())
    return (-abs(change.cost_change), -tokens, names)
