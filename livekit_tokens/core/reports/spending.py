"""What was spent in a period, in total and by group."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from livekit_tokens.core.reports.asking import Scope, period_dict
from livekit_tokens.core.reports.groups import Group, in_order
from livekit_tokens.core.reports.reader import Calls, UsageReader
from livekit_tokens.domain.money import dollars
from livekit_tokens.domain.periods import CUTTINGS, Cut, Period, cut
from livekit_tokens.domain.times import Micros, seconds_text
from livekit_tokens.domain.totals import Totals, cost_per_minute


@dataclass(frozen=True, slots=True)
class Report:
    """What was spent in a period, in total and by group. `sessions` are those with at least one matching record,
    `call_time` (microseconds) is how long their calls went on in it, and `in_calls` what was spent in these.
    """

    period: Period
    timezone: str
    by: tuple[str, ...]
    sessions: int
    totals: Totals
    groups: tuple[Group, ...]
    call_time: Micros = 0
    in_calls: Totals = field(default_factory=Totals)

    @property
    def cost_per_minute(self) -> Decimal | None:
        """Dollars a minute of call, of its priced requests; None without a call, and where nothing has a price."""
        nanos = cost_per_minute(self.in_calls, self.call_time)
        return None if nanos is None else dollars(nanos)

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "totals": {"sessions": self.sessions, **self.totals.to_dict()},
            "groups": [group.to_dict() for group in self.groups],
            "call_seconds": seconds_text(self.call_time),
            "cost_per_minute_usd": None if self.cost_per_minute is None else f"{self.cost_per_minute:f}",
        }


async def spending(reader: UsageReader, scope: Scope, by: tuple[str, ...]) -> Report:
    cuts = await _cuts(reader, scope, by)
    if cuts == ():
        return Report(scope.period, scope.timezone, by, 0, Totals(), ())
    asked = scope.question(*by, cuts=cuts or ())
    groups = in_order(await reader.grouped(asked), asked.cuts)
    # A session may stand in several groups: their counts of sessions do not add up.
    calls = await reader.calls(asked, scope.now) if groups else Calls()
    totals = in_calls = sum((group.totals for group in groups), Totals())
    if calls.time and calls.others:
        spent = await reader.grouped(replace(scope.question(), in_calls=True))
        in_calls = sum((group.totals for group in spent), Totals())
    return Report(scope.period, scope.timezone, by, calls.sessions, totals, tuple(groups), calls.time, in_calls)


async def _cuts(reader: UsageReader, scope: Scope, by: tuple[str, ...]) -> tuple[Cut, ...] | None:
    """What a grouping in time means; None where there is none, empty where the period holds nothing."""
    cutting = next((name for name in CUTTINGS if name in by), None)
    if cutting is None:
        return None
    extent = await reader.extent(scope.period)
    return () if extent is None else cut(extent, cutting, scope.zone)
