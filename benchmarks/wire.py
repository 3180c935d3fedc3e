"""What following a request on the wire costs its call, beside the same client unpatched in the same run.

    python -m benchmarks.wire [--calls 300] [--chunks 400]

The transport answers from memory, after 30 ms (no provider is faster), so that nothing but the client's
own work and ours is measured: a call is a request with a prompt of about 2,000 tokens and its whole answer, a chunk
one piece of a streamed one. The reference is the same client, same request, ten in turn, with the wire taken out. Time
is the clock's, less those 30 ms and what other processes took; what the counting thread takes from the loop by holding
the interpreter is in it. The loop's own time is its thread's processor time from the request on, with all that is put
off until the loop has nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.clock import Stopwatch
from benchmarks.table import Line, median, show
from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.runtime import new_key, now

CALL_GOAL_US, CHUNK_GOAL_US = 50.0, 0.2
ADDRESS = "https://api.openai.com/v1/chat/completions"
WARM_UP = 50
IN_TURN = 10
LATENCY = 0.03
"""Seconds."""
TURN = "The caller asked for the opening hours of the shop in the old town, and whether it is open on holidays. "
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": TURN * 4}] * 20,
    "model": "gpt-4o",
    "stream": True,
    "stream_options": {"include_usage": True},
}


def chunk(text: str | None, usage: dict[str, int] | None = None) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return f"data: {json.dumps(told | {'choices': choices, 'usage': usage})}\n\n".encode()


class Body(httpx2.AsyncByteStream):
    """A streamed answer of so many chunks, each of which is there at once."""

    def __init__(self, chunks: int) -> None:
        usage = {"prompt_tokens": 2000, "completion_tokens": chunks, "total_tokens": 2000 + chunks}
        self.pieces = [chunk(" word")] * chunks + [chunk(None, usage), b"data: [DONE]\n\n"]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class Memory(httpx2.AsyncBaseTransport):
    """Answers at once."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks
        self.waited = 0.0
        """Microseconds that the last answer was waited for."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        watch = Stopwatch()
        await asyncio.sleep(LATENCY)
        _, own = watch.stop()
        self.waited = own * 1000
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=Body(self._chunks), request=request)


class Calls:
    """Microseconds of calls, each with its whole answer read."""

    def __init__(self) -> None:
        self.took: list[float] = []
        """By the clock, without the wait for the answer."""
        self.loop: list[float] = []
        """Of the loop's own time."""
        self.counted: list[float] = []
        """Until its request is recorded, from the answer's end on."""

    async def hold(self, client: httpx2.AsyncClient, memory: Memory) -> None:
        request = client.build_request("POST", ADDRESS, json=BODY)
        loop = time.thread_time_ns()
        watch = Stopwatch()
        response = await client.send(request, stream=True)
        async for _ in response.aiter_raw():
            pass
        _, own = watch.stop()
        await asyncio.sleep(0)
        self.loop.append((time.thread_time_ns() - loop) / 1000)
        ended = time.perf_counter_ns()
        counting.settle(None, 5.0)
        self.took.append(own * 1000 - memory.waited)
        self.counted.append((time.perf_counter_ns() - ended) / 1000)

    def forget(self) -> None:
        for figures in (self.took, self.loop, self.counted):
            figures.clear()


async def measure(calls: int, chunks: int) -> tuple[Calls, Calls]:
    """So many calls with the wire, and without it."""
    memory, ours, bare = Memory(chunks), Calls(), Calls()
    async with httpx2.AsyncClient(transport=memory) as client:
        for number in range(0, calls + WARM_UP, IN_TURN):
            if number == WARM_UP:
                ours.forget()
                bare.forget()
            watch.install(sockets=False)
            for _ in range(IN_TURN):
                await ours.hold(client, memory)
            watch.uninstall()
            for _ in range(IN_TURN):
                await bare.hold(client, memory)
    if met := faults.counts():
        raise SystemExit(f"nothing was measured: {met}")
    return ours, bare


def tracked(folder: Path) -> Recorder:
    """This context spends the money of a part that writes to a real spool."""

    async def flush(_: float) -> bool:
        return True

    recorder = Recorder(folder, Source("bench", "here", 1, 0), now)
    process = Process(recorder, flush, now, new_key)
    live = LivePart(Part(new_key(), "room_abc123def", now(), room="room"), process, agent=lambda: "greeter")
    spending.spend(Spending(Payer(lambda: live), "greeter"))
    return recorder


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=300)
    options.add_argument("--chunks", type=int, default=400)
    given = options.parse_args()
    vocabulary.load()  # as in a job process
    gc.freeze()  # as LiveKit does
    with tempfile.TemporaryDirectory() as folder:
        tracked(Path(folder))
        short, short_bare = await measure(given.calls, 1)
        long, long_bare = await measure(given.calls, given.chunks)
    bare = median(short_bare.took)
    call = median(short.took) - bare
    a_chunk = (median(long.took) - median(long_bare.took) - call) / given.chunks
    loop_bare = median(short_bare.loop)
    lines = [
        Line("a call, added", call, "us", CALL_GOAL_US, bare),
        Line("a chunk, added", a_chunk, "us", CHUNK_GOAL_US, (median(long_bare.took) - bare) / given.chunks),
        Line("the loop's own time a call, added", median(short.loop) - loop_bare, "us", None, loop_bare),
        Line(f"read and counted in its thread, {given.chunks} chunks", median(long.counted), "us"),
    ]
    title = f"Following a request on the wire, over {given.calls} calls"
    return show(title, lines, "the same client in the same run, unpatched: the whole call, and each of its chunks")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
