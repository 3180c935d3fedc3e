"""Who and what costs most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.entries import Entry
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.shares import share, share_text
from livekit_tokens.domain.totals import Totals

Ranked = Literal["users", "tenants", "agents", "sessions", "models", "operations", "features"]
Kind = Literal[Ranked, "requests"]
RANKED: tuple[Ranked, ...] = get_args(Ranked)
KINDS: tuple[Kind, ...] = (*RANKED, "requests")
"""What can be ranked."""

DEFAULT_TOP = 10


@dataclass(frozen=True, slots=True)
class Top:
    """The dearest first: by cost, then by tokens. `totals` are of all that matched, shown or not."""

    period: Period
    timezone: str
    kind: Ranked
    sessions: int
    totals: Totals
    groups: tuple[Group, ...]
    more: bool = False

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "kind": self.kind,
            "totals": {"sessions": self.sessions, **self.totals.to_dict()},
            "top": [{"cost_share": self.cost_share(group), **group.to_dict()} for group in self.groups],
            "more": self.more,
        }

    def cost_share(self, group: Group) -> str | None:
        """Of the cost of all that matched, from 0 to 1; None where nothing has a price."""
        return share_text(share(group.totals.cost, self.totals.cost))


@dataclass(frozen=True, slots=True)
class TopRequests:
    """The dearest single requests first; then those with most tokens, then the oldest."""

    period: Period
    timezone: str
    entries: tuple[Entry, ...]
    more: bool = False

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "kind": "requests",
            "top": [entry.to_dict() for entry in self.entries],
            "more": self.more,
        }


def check_ranked(kind: str) -> None:
    """Raises BadSetting with one line."""
    if kind not in RANKED:
        raise BadSetting(f"there is no top of {kind!r}; accepted: {', '.join(RANKED)}")


def check_kind(kind: str) -> Kind:
    """Raises BadSetting with one line."""
    for name in KINDS:
        if name == kind:
            return name
    raise BadSetting(f"there is no top of {kind!r}; accepted: {', '.join(KINDS)}")


async def tops(reader: UsageReader, scope: Scope, kinds: Sequence[Ranked], limit: int) -> dict[Ranked, Top]:
    """One answer a kind; asked together, the store goes through the period once."""
    names = {kind: kind.removesuffix("s") for kind in kinds}
    found = await reader.dearest(scope.question(*names.values()), limit + 1)
    whole = await reader.grouped(scope.question())
    sessions, totals = (whole[0].sessions, whole[0].totals) if whole else (0, Totals())
    ranked = {kind: found[name] for kind, name in names.items()}
    return {
        kind: Top(scope.period, scope.timezone, kind, sessions, totals, tuple(groups[:limit]), len(groups) > limit)
        for kind, groups in ranked.items()
    }


async def top_requests(reader: UsageReader, scope: Scope, limit: int) -> TopRequests:
    found = await reader.dearest_entries(scope.question(), limit + 1)
    return TopRequests(scope.period, scope.timezone, tuple(found[:limit]), more=len(found) > limit)
