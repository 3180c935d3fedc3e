"""What the log says, and when."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from livekit_tokens.core import faults
from tests.test_runtime import RECORD, run

CALL = RECORD.replace("level=logging.WARNING", "level=logging.INFO, format='%(levelname)s %(message)s'")
CALLER = """
import logging
{before}
logging.basicConfig(level=logging.DEBUG, format='%(levelname)s %(name)s %(message)s')
from livekit_tokens.runtime import runtime, new_key, now
from livekit_tokens.domain.sessions import Part, Stay

own, key = runtime(), new_key()
own.recorder.put_part(Part(key, "room_1", now(), user="+49301234567", user_name="Ada Lovelace", tenant="Analytical"))
own.recorder.put_stay(Stay(key, "PA_1", "+49301234567", "Ada Lovelace", now()))
"""


def test_batches_and_records_are_told_at_debug_if_the_setting_says_so(tmp_path: Path) -> None:
    """LOG_LEVEL is the level of our logger alone. Counts are told, not who spoke."""
    code = "record('room_of_ada'); runtime().background.flush_blocking(60)"
    told = run(tmp_path, CALL + code, LIVEKIT_TOKENS_LOG_LEVEL="DEBUG").stderr
    assert "DEBUG a record was written: tool gpt-4o" in told
    assert "DEBUG a batch is in the ledger: 1 records, 1 parts" in told
    assert "ada" not in told


def test_a_level_that_was_not_set_is_left_as_it_is(tmp_path: Path) -> None:
    """The host's own configuration counts; by default nothing is told for each record."""
    done = run(tmp_path, CALL + "record('a'); print(logging.getLogger('livekit_tokens').level)")
    assert done.stdout.strip() == "0"
    assert "DEBUG" not in done.stderr


def test_the_setting_can_make_it_quieter(tmp_path: Path) -> None:
    """Than the host's."""
    code = CALL + "record('a'); print(logging.getLogger('livekit_tokens').isEnabledFor(logging.WARNING))"
    assert run(tmp_path, code, LIVEKIT_TOKENS_LOG_LEVEL="error").stdout.strip() == "False"


def test_a_host_at_debug_is_told_of_no_caller(tmp_path: Path, database_url: str) -> None:
    """LiveKit's `dev` sets the root logger to DEBUG, where a database's driver tells each statement with its values."""
    told = run(tmp_path, CALLER.format(before=""), LIVEKIT_TOKENS_DATABASE_URL=database_url).stderr
    assert "livekit_tokens a batch is in the ledger" in told
    assert not [secret for secret in ("+49301234567", "Ada Lovelace", "Analytical") if secret in told]
    assert not [line for line in told.splitlines() if "livekit_tokens" not in line and "asyncio" not in line]


def test_a_driver_whose_level_the_host_has_set_keeps_it(tmp_path: Path) -> None:
    """Who wants to see statements asks for them by the driver's name."""
    before = "logging.getLogger('aiosqlite').setLevel(logging.DEBUG)"
    assert "DEBUG aiosqlite executing" in run(tmp_path, CALLER.format(before=before)).stderr


def test_a_hosts_handler_that_raises_does_not_reach_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is counted in any case; what becomes of its line is the host's affair."""

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError

    monkeypatch.setattr(faults.logger, "filters", [refuse])
    faults.note("nobody can be told")
    assert faults.counts()["nobody can be told"] == 1
