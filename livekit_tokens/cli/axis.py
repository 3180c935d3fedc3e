"""The axes of a picture: round numbers on one, short names of times on the other."""

from __future__ import annotations

import math


def round_steps(highest: float) -> list[float]:
    """Round numbers from 0 up to the highest value, at most six; 0 and 1 where it is 0."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
    return [round(step * n, 12) for n in range(math.floor(highest / step) + 1)]


def short_key(key: str) -> str:
    """`11-22` for a day, `11-22 15h` for an hour: the year is in the title."""
    day, sign, clock = key.partition("T")
    return f"{day[5:]} {clock[:2]}h" if sign else (day[5:] if len(day) == len("2026-11-22") else day)
