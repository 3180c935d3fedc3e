"""docs/faults.md says what there is: its tests exist, and it has every row that the harness has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.soak.experiments import EXPERIMENTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")


def test_every_test_that_it_names_exists() -> None:
    """By file and function."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    assert [
        (file, name)
        for file, name in named
        if not re.search(rf"^(async )?def {name}\b", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    ] == []


def test_it_has_every_row_and_no_other() -> None:
    """In the table of what is broken on purpose."""
    table = PAGE.split("## Found")[0].split("|---|---|")[1]
    assert sorted(re.findall(r"`([^`]+)`", table)) == sorted(experiment.name for experiment in EXPERIMENTS)
