"""Prices of a few models, whose cards come when the test says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from livekit_tokens.domain.pricing import UNPRICED, Charge, Price
from livekit_tokens.domain.usage import UsageRecord

NANOS = {"gpt-realtime": 3, "whisper-1": 7, "gpt-4o": 11}
"""Nano-dollars a unit, of anything that goes in; half of that for what comes out."""


class Cards:
    """Fulfils `domain.pricing.Prices`. Models in `coming` have a price that is not at hand yet."""

    def __init__(self, coming: Collection[str] = (), charges: Sequence[Charge] = ()) -> None:
        self.coming = set(coming)
        self.charges = charges
        self.waited_for: list[UsageRecord] = []
        self.asked = 0

    def session_charges(self, at: int) -> Sequence[Charge]:
        return self.charges

    def look(self) -> None: ...

    def price(self, record: UsageRecord) -> Price:
        self.asked += 1
        if record.model in self.coming:
            self.waited_for.append(record)
        if record.model not in NANOS or record.provenance == "unknown":
            return UNPRICED._replace(note=f"no price of {record.model}")
        quantity = sum(record.units.values())
        return Price(quantity * NANOS[record.model], quantity * NANOS[record.model] // 2)

    def price_if_ready(self, record: UsageRecord) -> Price | None:
        return None if record.model in self.coming else self.price(record)
