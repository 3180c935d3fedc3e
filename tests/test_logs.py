"""What the log says, and when."""

from __future__ import annotations

from pathlib import Path

from tests.test_runtime import RECORD, run

CALL = RECORD.replace("level=logging.WARNING", "level=logging.INFO, format='%(levelname)s %(message)s'")


def test_batches_and_records_are_told_at_debug_if_the_setting_says_so(tmp_path: Path) -> None:
    """LOG_LEVEL is the level of our logger alone. Counts are told, not who spoke."""
    told = run(tmp_path, CALL + "record('room_of_ada')", LIVEKIT_TOKENS_LOG_LEVEL="DEBUG").stderr
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
