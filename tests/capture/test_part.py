"""A part while it lives, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from livekit_tokens.capture import part as parts
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.core.health import Health
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.core.cards import Cards


async def flush(_: float) -> bool:
    return True


@pytest.mark.parametrize("behind", [0, 3])
async def test_what_waits_at_the_end_of_a_call_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, behind: int
) -> None:
    """With the reason, for who has a log and no hand on the machine; where all is in the ledger, nothing."""
    health = Health(records=9, behind=behind, lag_seconds=4, ledger_error="database is locked")
    process = Process(Recorder(tmp_path, Source("s", "here", 1, 0), now), flush, now, new_key, health=lambda: health)
    live = LivePart(Part(new_key(), "room_1", now()), process, agent=lambda: None)
    with caplog.at_level(logging.INFO, "livekit_tokens"):
        await live.finish("user_initiated", now())
    said = [line.getMessage() for line in caplog.records if "not all is in the ledger" in line.getMessage()]
    told = "records not in the ledger: 3, the oldest for 4 s; last error: database is locked"
    assert said == ([f"not all is in the ledger yet: {told}"] if behind else [])


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over."""
    over = threading.Event()
    yield over
    over.set()


async def test_the_final_summary_is_priced_although_the_call_was_over_before_its_prices_came(tmp_path: Path) -> None:
    """While it lives nothing waits for a price; at its end the summary that `on_end` receives has them all."""
    told: list[SessionSummary] = []
    recorder = Recorder(tmp_path, Source("s", "here", 1, 0), now, prices=Cards(coming=["gpt-realtime"]))
    part = Part(new_key(), "room_1", now())
    live = LivePart(part, Process(recorder, flush, now, new_key), agent=lambda: None, on_end=told.append)
    live.write(a_record(live))

    fixed = live.fix("user_initiated")
    settled = await live.settle()

    assert (fixed.totals.cost, fixed.totals.unpriced_requests) == (0, 1)
    assert (settled.totals.cost, settled.totals.unpriced_requests) == (45, 0)
    assert told == [settled] == [live.summary()]
    assert settled.duration == fixed.duration


async def test_an_end_waits_for_nothing_of_the_hosts(tmp_path: Path, full_executor: None) -> None:
    """The host's own work has filled the loop's executor: the end is durable all the same, priced, and told."""
    told: list[SessionSummary] = []
    recorder = Recorder(tmp_path, Source("s", "here", 1, 0), now, prices=Cards(coming=["gpt-realtime"]))
    live = LivePart(
        Part(new_key(), "room_1", now()),
        Process(recorder, flush, now, new_key),
        agent=lambda: None,
        on_end=told.append,
    )
    live.write(a_record(live))
    async with asyncio.timeout(10):
        final = await live.finish("user_initiated", now())
    assert (final.totals.cost, final.totals.unpriced_requests) == (45, 0)
    assert told == [final]


async def test_on_end_is_called_whatever_the_end_could_not_do(
    tmp_path: Path, over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hangs, the prices do not come, the ledger's thread fails: each is given up in its time, and noted."""
    told: list[SessionSummary] = []

    async def failing(_: float) -> bool:
        raise RuntimeError("can't start new thread")

    def hangs(_: object) -> bool:
        return over.wait()

    recorder = Recorder(tmp_path, Source("s", "here", 1, 0), now, prices=Cards(coming=["gpt-realtime"]))
    process = Process(recorder, failing, now, new_key)
    live = LivePart(Part(new_key(), "room_1", now()), process, agent=lambda: None, on_end=told.append)
    live.write(a_record(live))
    for name in ("SYNC_SECONDS", "PRICE_SECONDS"):
        monkeypatch.setattr(parts, name, 0.05)
    monkeypatch.setattr(os, "fsync", hangs)
    monkeypatch.setattr(live._tally, "price_all", over.wait)
    async with asyncio.timeout(10):
        final = await live.finish("user_initiated", now())
    assert told == [final]
    assert final.totals.unpriced_requests == 1


def a_record(live: LivePart) -> UsageRecord:
    return live.new_record(
        service="agent",
        provider="openai",
        model="gpt-realtime",
        operation="realtime_response",
        units={"input_text": 10},
        provenance="reported",
    )
