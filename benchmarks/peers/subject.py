"""One tracker at work, in its own environment: `python subject.py ours|theirs|nobody WHAT [NUMBER ...]`.

Imports neither of them but by name, as each is missing in the other's environment. What it finds is JSON on stdout.
The event is an LLM's `metrics_collected`, which both count: a component's own figures, with nothing on the wire.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from livekit.agents import AgentSession, llm
from livekit.agents.metrics import LLMMetrics
from livekit.agents.metrics.base import Metadata

_WARM_UP = 25
_SETTLE_S = 3.0
"""Given to what a tracker does after its events: VoiceGateway writes each in tasks of the loop."""


class Model(llm.LLM):
    """An LLM that is never asked: it only says what it has spent."""

    @property
    def model(self) -> str:
        return "gpt-4o-mini"

    @property
    def provider(self) -> str:
        return "openai"

    def chat(self, **_: Any) -> Any:
        raise NotImplementedError


def spent(number: int) -> LLMMetrics:
    return LLMMetrics(
        label="openai.LLM",
        request_id=f"chatcmpl-{number:08}",
        timestamp=time.time(),
        duration=1.2,
        ttft=0.4,
        cancelled=False,
        completion_tokens=60,
        prompt_tokens=900,
        prompt_cached_tokens=640,
        total_tokens=960,
        tokens_per_second=50,
        metadata=Metadata(model_name="gpt-4o-mini", model_provider="openai"),
    )


def tracker_of(which: str) -> Callable[[Any], Any]:
    """`track` or `attach`, imported as a user would."""
    if which == "nobody":
        return lambda _: None
    module, name = {"ours": ("livekit_tokens", "track"), "theirs": ("voicegateway", "attach")}[which]
    tracker: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    return tracker


async def attach(which: str) -> None:
    """What the line in the entrypoint costs, its import included, and the longest that the loop is held from there on
    through the first event; then wait to be ended."""
    began = time.perf_counter()
    tracker = tracker_of(which)
    imported = time.perf_counter()
    session: Any = AgentSession(llm=Model())
    made = time.perf_counter()
    kept = tracker(session)
    attached = time.perf_counter()
    session.llm.emit("metrics_collected", spent(0))
    emitted, told_at = time.perf_counter(), time.monotonic()
    _say(
        import_ms=(imported - began) * 1e3,
        attach_ms=(attached - made) * 1e3,
        event_ms=(emitted - attached) * 1e3,
        told_at=told_at,
    )
    _say(stall_ms=await _longest_stall_ms(_SETTLE_S))
    await asyncio.sleep(60)
    del kept


async def _longest_stall_ms(seconds: float) -> float:
    """By how much the latest beat of a millisecond was late."""
    longest, until = 0.0, time.perf_counter() + seconds
    while (due := time.perf_counter() + 0.001) < until:
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - due)
    return longest * 1e3


async def loop(which: str, rate: int, events: int) -> None:
    """The loop's own CPU time for so many events at a rate a second, and for what follows from them."""
    tracker, session = tracker_of(which), AgentSession(llm=Model())
    kept = tracker(session)
    await _emit(session, rate, range(_WARM_UP))
    await asyncio.sleep(_SETTLE_S)
    began = time.thread_time()
    await _emit(session, rate, range(_WARM_UP, _WARM_UP + events))
    await asyncio.sleep(_SETTLE_S)
    _say(cpu_s=time.thread_time() - began)
    os._exit(0)  # not measured: how each of them ends
    del kept


async def until_killed(which: str, rate: int) -> None:
    """Events at a rate a second; a byte on stdout for each whose handlers have returned."""
    tracker, session = tracker_of(which), AgentSession(llm=Model())
    kept = tracker(session)
    await _emit(session, rate, itertools.count(), lambda: os.write(1, b"."))
    del kept


async def month_of_theirs(database: str) -> None:
    """The summary of the last 30 days, as their dashboard and their command ask for it."""
    storage = importlib.import_module("voicegateway.services.storage_service").StorageService(database)
    await storage.initialize()
    took, summary = [], {}
    for _ in range(3):
        began = time.perf_counter()
        summary = await storage.get_cost_summary("month")
        took.append((time.perf_counter() - began) * 1e3)
    _say(ms=statistics.median(took), requests=summary["requests"])


async def month_of_ours() -> None:
    took, requests = [], 0
    async with importlib.import_module("livekit_tokens").open_ledger() as ledger:
        for _ in range(3):
            began = time.perf_counter()
            since = datetime.now(UTC) - timedelta(days=30)
            found = await ledger.report(since=since, by=("provider", "model"))
            took.append((time.perf_counter() - began) * 1e3)
            requests = found.totals.requests
    _say(ms=statistics.median(took), requests=requests)


async def _emit(session: Any, rate: int, numbers: Iterable[int], emitted: Callable[[], object] = lambda: None) -> None:
    """An event each, so many a second; who falls behind catches up."""
    began = time.perf_counter()
    for place, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, began + place / rate - time.perf_counter()))
        session.llm.emit("metrics_collected", spent(number))
        emitted()


def _say(**found: float) -> None:
    print(json.dumps(found), flush=True)


def _work(which: str, what: str, given: Iterator[str]) -> Any:
    match what:
        case "attach":
            return attach(which)
        case "loop":
            return loop(which, int(next(given)), int(next(given)))
        case "kill":
            return until_killed(which, int(next(given)))
        case "month":
            return month_of_ours() if which == "ours" else month_of_theirs(next(given))
        case _:
            raise SystemExit(f"nothing is measured by {what!r}")


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], sys.argv[2], iter(sys.argv[3:])))
