"""An estimate and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

from livekit_tokens.domain.units import Units


@dataclass(frozen=True, slots=True)
class Estimate:
    """Units of a request that told no figures, and the bounds that its true ones most likely lie within.

    A unit that is missing is 0. The bounds hold for each unit by itself.
    """

    units: Units
    low: Units
    high: Units

    def __add__(self, other: Estimate) -> Estimate:
        """Both together; they share no unit."""
        return Estimate(self.units | other.units, self.low | other.low, self.high | other.high)


NOTHING = Estimate({}, {}, {})


def kept(**quantities: float) -> Units:
    """Whole quantities above zero."""
    return {name: whole for name, quantity in quantities.items() if (whole := round(quantity)) > 0}
