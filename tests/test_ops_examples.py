"""The examples for operators name commands and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from livekit_tokens.cli.app import app
from livekit_tokens.prices.prices_file import check

OPS = Path(__file__).parents[1] / "examples" / "ops"
COMMANDS = sorted(
    {
        found
        for file in OPS.iterdir()
        for found in re.findall(r"^[^#\n]*?livekit-tokens ([a-z][^>&|\n]*)", file.read_text(), re.MULTILINE)
    }
)


def test_there_are_some():
    assert {command.split()[0] for command in COMMANDS} >= {"backup", "db", "prune"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_of_an_example_can_be_run(command):
    """Its options are read before its help is printed."""
    done = CliRunner().invoke(app, [*shlex.split(command), "--help"])

    assert done.exit_code == 0
    for option in re.findall(r"--[a-z-]+", command):
        assert option in done.output


def test_the_prices_file_can_be_used_whole():
    """Each entry, and there is one of every kind."""
    contracts, complaints = check(OPS / "prices.toml")
    assert not complaints
    assert all((contracts.prices, contracts.discounts, contracts.deployments, contracts.fallbacks))
