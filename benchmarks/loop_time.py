"""Event-loop time per realtime event, spooled, beside LiveKit's own counting of the same event.

    python -m benchmarks.loop_time [--turns 2000]

Ours is the whole `emit` with everything behind it (our handler, splitting, the record, its line, one write to the
spool on disk), less the same `emit` with nobody listening. `response.create` is the client's own event: the same turns
are held once more in a session whose provider begins no response by itself. LiveKit's is `ModelUsageCollector.collect`
and the copy that `AgentSession.usage` makes. One turn of each in turn, so that a busy machine is busy for both. What
the background does twice a second is done between two turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from livekit.agents.metrics import AgentSessionUsage, ModelUsageCollector, RealtimeModelMetrics
from livekit.agents.metrics.base import Metadata
from livekit.rtc import EventEmitter

from benchmarks.call import SESSION, USAGE, Call, Model, turn
from benchmarks.table import Line, median, share, show
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.providers import provider_of
from livekit_tokens.domain.sessions import Part
from livekit_tokens.runtime import new_key, now

GOAL_US, GOAL_RATIO = 10.0, 0.5
EVENT, SENT = "openai_server_event_received", "openai_client_event_queued"
ASKED = "response.create"
WARM_UP = 50
_prefixes = itertools.count(1)
_LEAST_US = 0.001
"""Less than the clock tells."""
Times = dict[str, list[float]]
"""Microseconds, by the type of event."""


def listening(recorder: Recorder, session: dict[str, Any] = SESSION) -> EventEmitter[str]:
    """An emitter with our witness behind it, which writes to a real spool, in a conversation that has begun."""

    async def flush(_: float) -> bool:
        return True

    call, model = Call(), Model()
    call.start()
    part = LivePart(
        Part(new_key(), "room_abc123def", now(), room="room"),
        Process(recorder, flush, now, new_key),
        agent=lambda: call.current_agent.id,
    )

    def named() -> tuple[str, str]:
        metadata = model.metrics_metadata
        return metadata["model_name"], provider_of(metadata["model_provider"])

    emitter: EventEmitter[str] = EventEmitter()
    RealtimeWitness(part, named, f"r{next(_prefixes)}").attach(emitter)
    emitter.emit(EVENT, {"type": "session.created", "session": session})
    return emitter


def as_livekit_sees_it() -> RealtimeModelMetrics:
    """The metrics that the openai plugin makes of USAGE; its making is not measured."""
    told: Any = USAGE["input_token_details"]
    return RealtimeModelMetrics(
        request_id="resp_1",
        timestamp=time.time(),
        input_tokens=939,
        output_tokens=200,
        total_tokens=1139,
        input_token_details=RealtimeModelMetrics.InputTokenDetails.model_validate(told),
        output_token_details=RealtimeModelMetrics.OutputTokenDetails(text_tokens=48, audio_tokens=152),
        metadata=Metadata(model_name="gpt-realtime", model_provider="openai"),
    )


def asked(number: int) -> Iterator[dict[str, Any]]:
    """The same turn where the client asks for the response."""
    for event in turn(number):
        if event["type"] == "response.created":
            yield {"type": ASKED, "event_id": f"event_{number}"}
            response = {**event["response"], "metadata": {"client_event_id": f"event_{number}"}}
            yield {**event, "response": response}
        else:
            yield event


def emit_turn(emitter: EventEmitter[str], events: Iterator[dict[str, Any]], times: Times) -> None:
    for event in events:
        name = SENT if event["type"] == ASKED else EVENT
        began = time.perf_counter_ns()
        emitter.emit(name, event)
        times[event["type"]].append((time.perf_counter_ns() - began) / 1000)


def collect(collector: ModelUsageCollector, metrics: RealtimeModelMetrics, times: list[float]) -> None:
    """Once a turn, as ours: what is done rarely is done with cold caches."""
    began = time.perf_counter_ns()
    collector.collect(metrics)
    AgentSessionUsage(model_usage=collector.flatten())
    times.append((time.perf_counter_ns() - began) / 1000)


def measure(turns: int, folder: Path) -> tuple[Times, Times, list[float]]:
    recorder = Recorder(folder, Source("bench", "here", 1, 0), now)
    ours, nobody = listening(recorder), EventEmitter[str]()
    by_client = listening(
        recorder, {**SESSION, "audio": {"input": {**SESSION["audio"]["input"], "turn_detection": None}}}
    )
    collector, metrics = ModelUsageCollector(), as_livekit_sees_it()
    for number in range(turns + WARM_UP):
        if number in (0, WARM_UP):
            our_times, asked_times, bare_times = (defaultdict[str, list[float]](list) for _ in range(3))
            their_times: list[float] = []
        emit_turn(ours, turn(number), our_times)
        recorder.tend()
        emit_turn(by_client, asked(number), asked_times)
        recorder.tend()
        emit_turn(nobody, asked(number), bare_times)
        collect(collector, metrics, their_times)
    our_times[ASKED] = asked_times[ASKED]
    if met := faults.counts():
        raise SystemExit(f"nothing was measured: {met}")
    return our_times, bare_times, their_times


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=2000)
    given = options.parse_args()
    vocabulary.load()  # as in a job process
    gc.freeze()  # as LiveKit does
    with tempfile.TemporaryDirectory() as folder:
        ours, bare, theirs = measure(given.turns, Path(folder))
    lines = []
    for kind, times in ours.items():
        less = median(bare[kind])
        own = [max(_LEAST_US, time - less) for time in times]
        lines.append(Line.of(f"{kind}, median", own, "us", GOAL_US, reference=theirs, ratio_goal=GOAL_RATIO))
        lines.append(Line(f"{kind}, p99", share(times, 0.99) - less, "us", reference=share(theirs, 0.99)))
    title = f"Event-loop time per event, spooled, over {given.turns} turns"
    return show(title, lines, "LiveKit's ModelUsageCollector.collect and AgentSession.usage for one response.done")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
