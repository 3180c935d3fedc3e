"""Running sums of a live part, in memory: what `Tracking.summary()` reads without any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from livekit_tokens.domain import units as u
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

Line = tuple[str, str, str]
"""Service, provider, model."""


@dataclass(slots=True)
class _Sum:
    first_at: Micros
    last_at: Micros
    requests: int = 0
    failed: int = 0
    unknown: int = 0
    estimated: int = 0
    unpriced: int = 0
    estimated_tokens: int = 0
    units: Units = field(default_factory=dict)
    informational: Units = field(default_factory=dict)

    def totals(self) -> Totals:
        return Totals(
            requests=self.requests,
            failed_requests=self.failed,
            unknown_requests=self.unknown,
            estimated_requests=self.estimated,
            unpriced_requests=self.unpriced,
            units=dict(self.units),
            informational=dict(self.informational),
            estimated_tokens=self.estimated_tokens,
        )


class Tally:
    """Sums of one part by service, provider and model. `add` is on the call's path: it only adds integers."""

    def __init__(self) -> None:
        self._sums: dict[Line, _Sum] = {}

    def add(self, record: UsageRecord) -> None:
        key = (record.service, record.provider, record.model)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = _Sum(record.at, record.at)
        found.last_at = record.at
        found.requests += 1
        units = found.units
        for name, quantity in record.units.items():
            units[name] = units.get(name, 0) + quantity
        if record.units or record.provenance == "unknown":
            found.unpriced += 1
        if not record.success:
            found.failed += 1
        if record.provenance != "reported":
            self._add_unreported(found, record)
        if record.informational:
            for name, quantity in record.informational.items():
                found.informational[name] = found.informational.get(name, 0) + quantity
            found.estimated_tokens += u.total(record.informational, u.TOKENS)

    @staticmethod
    def _add_unreported(found: _Sum, record: UsageRecord) -> None:
        if record.provenance == "unknown":
            found.unknown += 1
        else:
            found.estimated += 1
            found.estimated_tokens += u.total(record.units, u.TOKENS)

    def lines(self) -> list[tuple[Line, Totals, Micros, Micros]]:
        """Each line with its totals and the times of its first and last record."""
        return [(key, found.totals(), found.first_at, found.last_at) for key, found in list(self._sums.items())]
