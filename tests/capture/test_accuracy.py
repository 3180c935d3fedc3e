"""The accuracy bench in its short form: a few cuts of each kind. The long one is `make bench-accuracy`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy.__main__ import run
from benchmarks.accuracy.comparing import Row, summed
from benchmarks.accuracy.draws import CUTS, SPARE
from livekit_tokens.core import vocabulary


def test_what_is_counted_is_what_is_billed_or_says_how_far_off_it_may_be(tmp_path: Path) -> None:
    """Reported figures are the bill's to the token, all others are marked, and most of the bill lies within bounds."""
    vocabulary.load("o200k")
    pairs = run(seed=7, cuts=2 - SPARE, at_once=4, folder=tmp_path)
    rows = summed(pairs, lambda _, units: sum(units.values()))
    whole = Row("all")
    for row in rows.values():
        whole.wrong_reported += row.wrong_reported
        whole.unmarked += row.unmarked
        whole.missed += row.missed if row.kind != "no sign" else 0
        whole.figures += row.figures
        whole.figures_inside += row.figures_inside
    assert set(CUTS) <= rows.keys()
    assert (whole.wrong_reported, whole.unmarked, whole.missed) == (0, 0, 0)
    assert whole.figures > 10
    assert whole.inside >= 0.7
