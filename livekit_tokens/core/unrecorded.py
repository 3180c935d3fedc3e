"""What capture needs of a recorder, and what stands in its place where nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from livekit_tokens.core.ends import Make, Write
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.core.tally import NO_PRICES, Tally
from livekit_tokens.domain.pricing import Prices
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord


class Recording(Protocol):
    """What capture needs of a recorder."""

    def put_part(self, part: Part) -> None: ...
    def put_stay(self, stay: Stay) -> None: ...
    def record(self, record: UsageRecord, settles: str | None = None) -> int: ...
    def pend(self, pend: Pend) -> None: ...
    def more(self, more: More) -> None: ...
    def done(self, done: Done, make: Make, write: Write) -> None: ...
    def make_records(self) -> None: ...
    def unmade(self, part: str) -> list[UsageRecord]: ...
    def unpend(self, pending: str) -> None: ...
    def in_flight(self, part: str) -> list[Micros]: ...
    def hand_over(self, part: str, to: str) -> None: ...
    def late(self, late: Late) -> None: ...
    def later(self, work: Callable[[], None]) -> None: ...
    def tally(self, part: str) -> Tally: ...
    def charges(self, part: Part) -> list[UsageRecord]: ...
    def sync(self) -> bool: ...


class Unrecorded:
    """In place of a Recorder when tracking is off or no folder can be written: sums in memory, and nothing else."""

    def __init__(self, prices: Prices = NO_PRICES) -> None:
        self._prices = prices
        self._tallies: dict[str, Tally] = {}
        self.unkept = 0

    def put_part(self, part: Part) -> None:
        if part.status == "open":
            self._tallies.setdefault(part.key, Tally(self._prices))
        else:
            self._tallies.pop(part.key, None)

    def put_stay(self, stay: Stay) -> None: ...

    def record(self, record: UsageRecord, settles: str | None = None) -> int:  # noqa: ARG002
        self.tally(record.part).add(record)
        self.unkept += 1
        return 0

    def pend(self, pend: Pend) -> None: ...

    def more(self, more: More) -> None: ...

    def done(self, done: Done, make: Make, write: Write) -> None:
        write(make(done), done.id)

    def make_records(self) -> None: ...

    def unmade(self, part: str) -> list[UsageRecord]:  # noqa: ARG002 - it leaves nothing for later
        return []

    def unpend(self, pending: str) -> None: ...

    def in_flight(self, part: str) -> list[Micros]:  # noqa: ARG002 - it keeps no request in flight
        return []

    def hand_over(self, part: str, to: str) -> None: ...

    def late(self, late: Late) -> None: ...

    def later(self, work: Callable[[], None]) -> None: ...

    def tally(self, part: str) -> Tally:
        return self._tallies.get(part) or Tally()

    def charges(self, part: Part) -> list[UsageRecord]:  # noqa: ARG002 - it knows no stays, and nobody bills for it
        return []

    def sync(self) -> bool:
        return True
