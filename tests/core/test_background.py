"""The background: drains by itself, survives what the ledger does, lets go before a fork."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from livekit_tokens.core import background as module
from livekit_tokens.core.background import Background
from tests.core.makers import a_part, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger


def a_background(tmp_path: Path, ledger: MemoryLedger) -> tuple[Background, object]:
    recorder = a_recorder(tmp_path)
    background = Background(recorder, ledger, tmp_path)
    recorder._on_written = background.written
    background.start()
    return background, recorder


async def until(found, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not found():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_what_is_written_follows_into_the_ledger_by_itself(tmp_path: Path) -> None:
    """Nobody has to ask."""
    ledger = MemoryLedger()
    _, recorder = a_background(tmp_path, ledger)
    recorder.put_part(a_part())
    recorder.record(a_record())
    await until(lambda: ledger.seqs() == [1])
    recorder.record(a_record())
    await until(lambda: ledger.seqs() == [1, 2])


async def test_a_flush_waits_for_the_ledger(tmp_path: Path) -> None:
    """All that is written when it is asked is there when it answers True."""
    ledger = MemoryLedger()
    background, recorder = a_background(tmp_path, ledger)
    for _ in range(50):
        recorder.record(a_record())
    assert await background.flush(5)
    assert ledger.seqs() == list(range(1, 51))


async def test_a_ledger_that_fails_is_tried_again_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing more is written."""
    monkeypatch.setattr(module, "_FIRST_RETRY_SECONDS", 0.05)
    ledger = MemoryLedger()
    ledger.fail_next = 3
    background, recorder = a_background(tmp_path, ledger)
    recorder.record(a_record())
    assert not await background.flush(5)
    await until(lambda: ledger.seqs() == [1])


async def test_the_database_is_let_go_before_a_fork_and_taken_again_after_it(tmp_path: Path) -> None:
    """A child that inherited an open SQLite connection would believe in locks that it was never given."""
    ledger = MemoryLedger()
    background, recorder = a_background(tmp_path, ledger)
    recorder.record(a_record())
    assert await background.flush(5)
    assert background._connection is not None
    assert background.hold(5)
    assert background._connection is None
    recorder.record(a_record())
    assert not await background.flush(0.3)
    background.go_on()
    assert await background.flush(5)
    assert ledger.seqs() == [1, 2]
