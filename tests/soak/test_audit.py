"""The harness itself: what it must see is done to a sound ledger, and to the children, and it is seen."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from livekit_tokens.demo.bill import Billed
from tests.soak.audit import Row, audit
from tests.soak.experiments import Experiment
from tests.soak.killed_jobs import is_kept
from tests.soak.processes import Victim
from tests.soak.result import Result
from tests.soak.told import Teller, Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write


@pytest.fixture(scope="module")
def sound() -> Iterator[tuple[World, Told]]:
    """A world that one writer has lived in, to a good end."""
    worlds = Worlds()
    with worlds.new() as world:
        told = Victim(write, Writing(world, 1, records=60)).end(60)
        with closing(sqlite3.connect(world.database)) as conn:  # its file alone is copied below
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield world, told
    worlds.close()


def audited(world: World, told: Told, **given: bool) -> Result:
    result = Result("one")
    audit(world, told, result, runs=1, **given)
    return result


def test_a_sound_ledger_is_met(sound: tuple[World, Told]) -> None:
    """Some of it priced, some not."""
    found = audited(*sound)
    assert (found.met, found.faults, found.lost) == (True, [], 0)


@pytest.mark.parametrize(
    "harm",
    [
        *(
            f"UPDATE sums SET {name} = {name} + 1"
            for name in ("requests", "failed_requests", "unpriced_requests", "input_text", "info_output_text")
        ),
        "UPDATE sums SET input_cost = 2 * input_cost",
        "UPDATE sums SET first_at = first_at - 1",
        "DELETE FROM sums WHERE rowid = (SELECT min(rowid) FROM sums)",
        "UPDATE records SET output_cost = 1 + ifnull(output_cost, 0) WHERE seq = 7",
        "UPDATE records SET units = '{\"input_text\": 1}' WHERE seq = 7",
        "UPDATE sources SET lost = 3",
        "UPDATE parts SET status = 'open'",
        "DELETE FROM records WHERE seq = 7",
        "INSERT INTO rolled_days (day) SELECT DISTINCT bucket - bucket % 86400000000 FROM sums",
    ],
)
def test_what_is_wrong_in_a_ledger_is_seen(sound: tuple[World, Told], tmp_path: Path, harm: str) -> None:
    """Money, failures, first times, units, alarms without a reason, calls that seem to go on, and losses."""
    world, told = sound
    harmed = World(tmp_path, f"sqlite:///{shutil.copy(world.database, tmp_path)}")
    with closing(sqlite3.connect(harmed.database)) as conn, conn:
        assert conn.execute(harm).rowcount > 0
    assert not audited(harmed, told).met


def test_over_and_under_counted_losses_do_not_cancel_each_other(sound: tuple[World, Told], tmp_path: Path) -> None:
    """Each run is judged by itself: one lost and not counted, one counted and not lost."""
    world, told = sound
    result = Result("two runs")
    for name, harm in (("under", "DELETE FROM records WHERE seq = 60"), ("over", "UPDATE sources SET lost = 1")):
        (tmp_path / name).mkdir()
        harmed = World(tmp_path / name, f"sqlite:///{shutil.copy(world.database, tmp_path / name)}")
        with closing(sqlite3.connect(harmed.database)) as conn, conn:
            conn.execute(harm)
        audit(harmed, told, result, runs=1, counts_losses=True)
    assert (result.lost, result.counted, result.met) == (1, 1, False)


def test_a_run_in_which_nothing_was_acknowledged_proves_nothing(sound: tuple[World, Told]) -> None:
    """It would pass whatever the product does."""
    assert not audited(sound[0], Told()).met


def raise_something(_teller: Teller) -> None:
    """A child's work."""
    raise RuntimeError("the product breaks the call")


def leave_badly(teller: Teller) -> None:
    """A child's work."""
    teller.moment("leaving")
    os._exit(7)


@pytest.mark.parametrize(("work", "told"), [(raise_something, "exit code 1"), (leave_badly, "exit code 7")])
@pytest.mark.parametrize("killed", [True, False])
def test_a_child_that_breaks_does_not_pass_for_one_that_was_killed(work: object, told: str, *, killed: bool) -> None:
    """Whether the parent comes to kill it or waits for its end."""
    child = Victim(work)
    child.look_for("that never comes", within=20)  # returns when the child is dead
    assert [told in fault for fault in (child.kill() if killed else child.end(20)).faults] == [True]


def test_a_moment_that_does_not_come_is_a_fault() -> None:
    """An experiment that did not hit what it meant to hit says so."""
    child = Victim(leave_badly)
    child.wait_for("leaving")
    child.wait_for("arriving")
    assert [fault for fault in child.end(20).faults if "arriving" in fault] != []


def test_an_experiment_that_cannot_be_run_is_not_met() -> None:
    """Its failure is a fault of its row, and does not hide the other rows."""

    def fail(*_args: object) -> None:
        raise OSError("no such thing")

    worlds = Worlds()
    result = Experiment("broken", fail, full=1, short=1).run(worlds, 1, seed=1, say=lambda _: None)
    worlds.close()
    assert not result.met


BILLED = Billed("realtime_response", "gpt-realtime", "resp_1", "one", "cancelled", {"input_text": 9}, None)
FIGURES = {"provenance": "reported", "units": '{"input_text": 9}'}


@pytest.mark.parametrize(
    ("row", "heard", "kept"),
    [
        (None, "in_flight", False),
        ({"provenance": "estimated", "units": '{"input_text": 8}'}, "in_flight", True),
        (FIGURES, "in_flight", True),
        (FIGURES, "reported", True),
        ({**FIGURES, "units": '{"input_text": 8}'}, "reported", False),
        ({**FIGURES, "provenance": "estimated"}, "reported", False),
        (None, "reported", False),
    ],
)
def test_what_a_killed_job_had_heard_of_a_request_is_kept_or_lost(row: Row | None, heard: str, kept: bool) -> None:
    """In flight: it has a record, an estimate if need be. Its figures: they are the bill's."""
    assert is_kept(row, heard, BILLED) is kept
