"""The accuracy bench in its short form: a few cuts of each kind. The long one is `make bench-accuracy`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from benchmarks.accuracy import time_lapse
from benchmarks.accuracy.__main__ import run
from benchmarks.accuracy.comparing import Charged, Recorded, Row, paired, summed
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


def test_a_record_without_an_id_is_of_what_had_given_a_sign() -> None:
    """Of two that were billed and never announced, the one that nothing was seen of is the one that has no record."""
    unseen, seen, named = (
        Charged(kind, id_, "realtime_response", "gpt-realtime", {}, 0)
        for kind, id_ in (("no sign", "resp_1"), ("killed", "resp_2"), ("whole", "resp_3"))
    )
    nameless, other = (
        Recorded(request_id, "realtime_response", "estimated", {}, {}, {}) for request_id in (None, "resp_3")
    )
    pairs, strangers = paired([unseen, seen, named], [nameless, other])
    assert (pairs, strangers) == ([(unseen, None), (seen, nameless), (named, other)], [])
    assert paired([unseen], [nameless]) == ([(unseen, nameless)], [])


def test_how_far_off_a_kind_is_varies_by_its_standard_error() -> None:
    """Two requests, 10% above and below their bill, are none off in sum; another two might be by as much again."""
    row = Row("killed", costs=[(100, 110), (100, 90)])
    assert (row.cost_error, row.cost_spread) == (0.0, pytest.approx(0.1))
    row = Row("killed", costs=[(100, 90), (300, 270)])
    assert (row.cost_error, row.cost_spread) == (pytest.approx(-0.1), pytest.approx(0.0))


def test_in_a_time_lapse_neither_waiting_nor_work_takes_the_time_that_it_takes() -> None:
    """Waiting leaps; work, also a thread's, stands still."""

    async def wait_and_work() -> list[float]:
        times = [time.monotonic()]
        await asyncio.sleep(3_600)
        times.append(time.monotonic())
        time.sleep(0.01)  # noqa: ASYNC251 - a busy machine
        await asyncio.to_thread(time.sleep, 0.01)
        times.append(asyncio.get_running_loop().time())
        return times

    start, slept, worked = time_lapse.run(wait_and_work())
    assert (slept - start, worked - slept) == (pytest.approx(3_600), 0.0)
