"""Money is integer nano-dollars inside, Decimal in Python's face, text in JSON. Never a float."""

from __future__ import annotations

from decimal import Decimal

Nanos = int
"""10**-9 US dollars."""

NANOS_PER_DOLLAR = 10**9


def dollars(nanos: Nanos) -> Decimal:
    """Exact Decimal dollars, always with nine decimals."""
    return Decimal(nanos).scaleb(-9).quantize(Decimal("0.000000001"))


def dollars_text(nanos: Nanos) -> str:
    """Dollars as JSON and CSV carry them: `12.345678900`."""
    return f"{dollars(nanos):f}"


def dollars_shown(nanos: Nanos) -> str:
    """Dollars for reading, rounded half-even: `$1,234.567890`."""
    return f"${dollars(nanos):,.6f}"
