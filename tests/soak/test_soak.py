"""Every experiment of the fault harness in its short form; `python -m tests.soak --full` is the long one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests import lacking
from tests.soak.experiments import EXPERIMENTS, Experiment
from tests.soak.processes import kill_all
from tests.soak.result import Result
from tests.soak.worlds import Worlds

SEED = 1
AT_ONCE = 4
"""Most of an experiment's time is waiting: several of them share it."""


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[Result]]]:
    """The experiments that this run has chosen, all under way."""
    chosen = {item.callspec.params["experiment"].name for item in request.session.items if item.path == request.path}
    worlds = Worlds()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield {
                experiment.name: pool.submit(experiment.run, worlds, experiment.short, seed=SEED, say=lambda _: None)
                for experiment in EXPERIMENTS
                if experiment.name in chosen
            }
        finally:
            pool.shutdown(cancel_futures=True)
            kill_all()
            worlds.close()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_nothing_is_lost_or_counted_twice(experiment: Experiment, running: Mapping[str, Future[Result]]) -> None:
    """Whatever is killed, damaged or taken away: each acknowledged record is in the ledger once, unit by unit."""
    result = running[experiment.name].result(timeout=600)
    if result.skipped is not None:
        lacking.give_up(result.skipped)
    assert result.faults == []
    assert result.lost - result.counted == 0
    assert result.twice == 0
    assert result.acknowledged > 0
