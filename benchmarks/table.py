"""The table that every benchmark prints: a promise, its goal, our figure, the reference of the same run.

Figures of several samples are medians, with their median absolute deviation (pyperf's); `?` stands where that is more
than a tenth: pyperf's own mark of a result that another run may not confirm. Where each sample has a reference of its
own, measured just before or after it, the ratio is the median of theirs, with the interval that holds it (95 %): a
machine that is slow for a minute is slow for both.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb

import pyperf

MET, MISSED, MISSING = 0, 1, 77
"""Exit codes of a benchmark. 77, as test drivers have it: something is missing that it needs."""


class Missing(Exception):
    """The benchmark cannot run here: says what it needs."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. `goal` is the most it may be, `ratio_goal` the most it may be of the reference.

    Without either it is only told.
    """

    promise: str
    figure: float
    unit: str
    goal: float | None = None
    reference: float | None = None
    ratio_goal: float | None = None
    spread: float | None = None
    reference_spread: float | None = None
    ratios: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        promise: str,
        samples: Sequence[float],
        unit: str,
        goal: float | None = None,
        *,
        reference: Sequence[float] | None = None,
        ratio_goal: float | None = None,
    ) -> Line:
        """The line of several samples, ours and the reference's; all above zero."""
        figure, spread = typical(samples)
        beside, beside_spread = (None, None) if reference is None else typical(reference)
        return cls(promise, figure, unit, goal, beside, ratio_goal, spread, beside_spread)

    @classmethod
    def paired(
        cls, promise: str, samples: Sequence[float], reference: Sequence[float], unit: str, ratio_goal: float | None
    ) -> Line:
        """The line of samples that have a reference each; all above zero."""
        line = cls.of(promise, samples, unit, reference=reference, ratio_goal=ratio_goal)
        return replace(line, ratios=tuple(ours / theirs for ours, theirs in zip(samples, reference, strict=True)))

    @property
    def ratio(self) -> float | None:
        if self.ratios:
            return median(self.ratios)
        return self.figure / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        if self.goal is None and self.ratio_goal is None:
            return None
        within = self.goal is None or self.figure <= self.goal
        if self.ratio_goal is None or self.ratio is None:
            return within
        return within and self.ratio <= self.ratio_goal

    def cells(self) -> tuple[str, ...]:
        goals = [] if self.goal is None else [f"<= {_short(self.goal)} {self.unit}"]
        if self.ratio_goal is not None:
            goals.append(f"<= {self.ratio_goal:.3g} of ref")
        return (
            self.promise,
            ", ".join(goals) or "-",
            f"{_spread(self.figure, self.spread)} {self.unit}",
            "-" if self.reference is None else f"{_spread(self.reference, self.reference_spread)} {self.unit}",
            "-" if self.ratio is None else f"{self.ratio:.2f}" + _between(self.ratios),
            {True: "yes", False: "NO", None: "-"}[self.met],
        )


def show(title: str, lines: Sequence[Line], reference: str = "none") -> int:
    """Print the table; answers the exit code."""
    rows = [("promise", "goal", "figure", "reference", "ratio", "met"), *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}\nreference: {reference}")
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip(), flush=True)
    return MISSED if any(line.met is False for line in lines) else MET


def typical(samples: Sequence[float]) -> tuple[float, float]:
    """Median and median absolute deviation."""
    run = pyperf.Run(samples, metadata={"name": "samples"}, collect_metadata=False)
    found = pyperf.Benchmark([run])
    return found.median(), found.median_abs_dev() if len(samples) > 1 else 0.0


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """What holds the true median with a probability of 95 %, whatever the distribution; all of them, if fewer than six.

    By order statistics: Conover, Practical Nonparametric Statistics, 3.2.
    """
    ordered, count = sorted(samples), len(samples)
    outside, below = 0, 0  # of the 2**count ways to lie on either side of the median
    while 40 * (outside + comb(count, below)) <= 2**count:
        outside += comb(count, below)
        below += 1
    least = max(below - 1, 0)
    return ordered[least], ordered[count - 1 - least]


def share(figures: Sequence[float], part: float) -> float:
    """The figure that `part` (as 0.999) of all figures do not exceed: one of them, never interpolated."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def _between(ratios: Sequence[float]) -> str:
    return " ({:.2f} to {:.2f})".format(*interval(ratios)) if ratios else ""


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _spread(figure: float, spread: float | None) -> str:
    if spread is None:
        return _short(figure)
    return f"{_short(figure)} ± {_short(spread)}{'?' if spread > abs(figure) / 10 else ''}"
