"""A part while it lives, and its end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from livekit_tokens.capture import part as parts
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.core.health import Health
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Use
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.core.cards import Cards
from tests.core.makers import a_done, a_made_record, a_pend, lines_in


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


def a_call_with_figures(folder: Path, **given: object) -> tuple[LivePart, Recorder]:
    """A part whose one response has ended just now: its figures are written down, and its record is not made yet."""
    recorder = Recorder(folder, Source("s", "here", 1, 0), now)
    live = LivePart(
        Part(new_key(), "room_1", now()), Process(recorder, flush, now, new_key), agent=lambda: None, **given
    )
    pend = replace(a_pend(), record=dataclasses.replace(a_pend().record, part=live.part.key))
    live.pend(pend)
    live.done(a_done(), a_made_record)
    return live, recorder


async def test_a_summary_has_the_response_that_has_ended_just_now(tmp_path: Path) -> None:
    """Also where the background has not come round to it."""
    live, recorder = a_call_with_figures(tmp_path)
    assert not any(isinstance(line, Use) for line in lines_in(recorder.folder))
    assert live.summary().totals.units == {"input_text": 60, "cached_input_text": 40, "output_audio": 50}


async def test_what_has_ended_before_a_part_is_in_its_receipt(tmp_path: Path) -> None:
    """And not in what is spent afterwards."""
    live, recorder = a_call_with_figures(tmp_path)
    assert live.fix("user_initiated").totals.requests == 1
    live.close("user_initiated")
    assert [line.record.part for line in lines_in(recorder.folder) if isinstance(line, Use)] == [live.part.key]


async def test_what_is_told_by_hand_of_a_response_that_has_ended_counts_once(tmp_path: Path) -> None:
    """The provider's figures came first: they stand, with what was cached."""
    live, _ = a_call_with_figures(tmp_path)
    seen = live.summary().totals.units
    live, _ = a_call_with_figures(tmp_path / "again")
    told = live.new_record(
        service="agent",
        provider="openai",
        model="gpt-realtime",
        operation="realtime_response",
        units={"input_text": 100, "output_audio": 50},
        request_id="resp_1",
    )
    counts = live.tell(told)
    assert counts.units == seen
    assert live.summary().totals.units == seen


async def test_who_hears_of_usage_hears_of_it_at_once(tmp_path: Path) -> None:
    """`on_usage` is given each record as it is written, in the handler of its event."""
    heard: list[UsageRecord] = []
    live, recorder = a_call_with_figures(tmp_path, on_usage=heard.append)
    assert [record.request_id for record in heard] == ["resp_1"]
    assert (recorder.records, live.counted) == (1, 1)


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
