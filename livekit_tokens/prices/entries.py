"""The entries of PRICES_FILE, field by field: what each may be, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.money import NANOS_PER_DOLLAR
from livekit_tokens.domain.periods import read_moment
from livekit_tokens.domain.pricing import CALLS, STANDARD_TIERS
from livekit_tokens.domain.times import Micros, rfc3339, to_micros
from livekit_tokens.domain.units import REGISTRY
from livekit_tokens.prices.contracts import Deployment, Discount, Fallback, OwnPrice

_MOST_DOLLARS = 10**6
_COUNTS = {"1": 1, "1k": 10**3, "1m": 10**6}
_TIMES = {"second": 1000, "minute": 60_000, "hour": 3_600_000}
_LASTING = {unit.name for unit in REGISTRY.values() if unit.measure == "millisecond"}
_DATA_ZONE = Fraction(10)
"""Percent above Global. Source: azure.microsoft.com, prices of Azure OpenAI; Regional is 10 to 32, by region."""

FIELDS = {
    "price": ("provider", "model", "tier", "unit", "price", "per", "from", "until"),
    "discount": ("provider", "model", "tier", "percent", "from", "until"),
    "deployment": ("provider", "model", "is", "kind", "percent", "from", "until"),
    "fallback": ("provider", "model", "tier", "use", "use_provider", "from", "until"),
}


class BadEntry(BadSetting):
    """An entry of PRICES_FILE that cannot be used; the message names its line."""


class Entry:
    """One entry, and where each of its fields stands."""

    def __init__(
        self, path: Path, kind: str, number: int, fields: Mapping[str, object], lines: Mapping[str, int]
    ) -> None:
        self._path, self._kind, self._number, self._lines = path, kind, number, lines
        self.fields = fields

    def where(self, name: str = "") -> str:
        line = self._lines.get(name) or self._lines.get("")
        return f"{self._path.name}, line {line}" if line else f"{self._path.name}, {self._kind} entry {self._number}"

    def refuse(self, name: str, told: str, accepted: str) -> NoReturn:
        raise BadEntry(f"{self.where(name)}: {name} {told}; accepted: {accepted}")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name, default)
        if value is None:
            self.refuse(name, "is missing", "a text")
        if not isinstance(value, str) or not value.strip():
            self.refuse(name, f"is {value!r:.60}", "a text")
        return value.strip()

    def number(self, name: str, most: int) -> Fraction:
        value = self.fields.get(name)
        accepted = f"a number from 0 to {most:,}"
        if value is None:
            self.refuse(name, "is missing", accepted)
        if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
            self.refuse(name, f"is {value!r:.60}", accepted)
        try:
            number = Decimal(value)
        except InvalidOperation:
            self.refuse(name, f"is {value!r:.60}", accepted)
        if not number.is_finite() or not 0 <= number <= most or number.adjusted() < -30:
            self.refuse(name, f"is {value!s:.60}", accepted)
        return Fraction(number)

    def moment(self, name: str) -> Micros | None:
        value = self.fields.get(name)
        accepted = "2026-12-01, or 2026-12-01T15:00:00Z (UTC where no offset is given)"
        if value is None:
            return None
        if isinstance(value, datetime):
            return to_micros(value if value.tzinfo else value.replace(tzinfo=UTC))
        if isinstance(value, date):
            return to_micros(datetime.combine(value, time(), UTC))
        if not isinstance(value, str):
            self.refuse(name, f"is {value!r:.60}", accepted)
        try:
            return read_moment(value, UTC)
        except BadSetting:
            self.refuse(name, f"is {value!r:.60}", accepted)

    def term(self, provider: str | None = None) -> tuple[str, str, str, Micros | None, Micros | None]:
        """The fields of a Term, in its order."""
        for name in self.fields.keys() - set(FIELDS[self._kind]):
            self.refuse(name, "is no field of it", ", ".join(FIELDS[self._kind]))
        since, until = self.moment("from"), self.moment("until")
        if since is not None and until is not None and since >= until:
            self.refuse("until", f"is {rfc3339(until)}, not after from", "a later time, or none")
        return self.text("provider", provider), self.text("model"), self.where(), since, until

    def tier(self) -> str:
        """Empty for the standard one, under whichever name."""
        tier = self.text("tier", STANDARD_TIERS[0]).lower()
        return "" if tier in STANDARD_TIERS else tier


def own_price(entry: Entry) -> OwnPrice:
    term = entry.term()
    unit = entry.text("unit")
    if unit not in (*REGISTRY, *CALLS):
        entry.refuse("unit", f"is {unit!r:.60}", ", ".join((*REGISTRY, *CALLS)))
    rate = entry.number("price", _MOST_DOLLARS) * NANOS_PER_DOLLAR / _per(entry, unit)
    return OwnPrice(*term, unit, rate, tier=entry.tier())


def _per(entry: Entry, unit: str) -> int:
    measures = _TIMES if unit in _LASTING else _COUNTS
    value = entry.fields.get("per")
    per = measures.get(str(value).lower()) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    if per is None and measures is _COUNTS and type(value) is int and value > 0:
        per = value
    if per is None:
        told = "is missing" if value is None else f"is {value!r:.60}"
        counts = "1, 1k, 1M, or a whole number"
        entry.refuse("per", told, f"of {unit}: {', '.join(_TIMES) if measures is _TIMES else counts}")
    return per


def discount(entry: Entry) -> Discount:
    return Discount(*entry.term(), entry.number("percent", 100), tier=entry.tier())


def deployment(entry: Entry) -> Deployment:
    term = entry.term("azure")
    kind = entry.text("kind")
    if kind not in ("global", "data-zone", "regional"):
        entry.refuse("kind", f"is {kind!r:.60}", "global, data-zone, regional")
    if kind == "regional":
        surcharge = entry.number("percent", 1000)
    elif "percent" in entry.fields:
        entry.refuse("percent", f"is given for a {kind} deployment", "only with kind = 'regional'")
    else:
        surcharge = _DATA_ZONE if kind == "data-zone" else Fraction(0)
    return Deployment(*term, entry.text("is"), surcharge)


def fallback(entry: Entry) -> Fallback:
    return Fallback(*entry.term(), entry.text("use_provider", "openai"), entry.text("use"), tier=entry.tier())
