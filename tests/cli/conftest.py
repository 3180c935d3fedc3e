"""The command line as a person runs it, over a ledger in an empty folder."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from livekit_tokens.cli import main
from tests.cli.callers import write_calls


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command line; answers exit code, stdout, stderr. The ledger is an empty folder's."""
    for name in os.environ:
        if name.startswith("LIVEKIT_TOKENS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")

    def run_it(*args: str, entry=main) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *args])
        with pytest.raises(SystemExit) as ended:
            entry()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run_it


@pytest.fixture
def asked(run, tmp_path):
    """The command line over a ledger with a call of each of `callers.NAMES`."""
    asyncio.run(write_calls(tmp_path))
    return run
