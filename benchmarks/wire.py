"""What following a request on the wire costs its call, beside the same client unpatched in the same run.

    python -m benchmarks.wire [--calls 300] [--chunks 400]

The transport answers from memory, after 30 ms (no provider is faster), so that nothing but the client's own work and
ours is measured: a call is a request with a prompt of about 2,000 tokens and its whole answer, a chunk one piece of a
streamed one. The reference is the same client and request with the wire taken out: ten calls with it and ten without,
whichever comes first in turn, are ten pairs; a figure is the median of the pairs' differences, with half the width of
its 95% confidence interval (by order statistics). Time is the clock's, less those 30 ms: measure on a machine that
does nothing else. (The kernel's count of what a thread has waited for a processor is of no use here: at a wake-up on
an idle one it was seen to be longer than the wait, and calls took less than no time.) It includes that a processor is
slow in its first moments after a wait: the same work takes a third of it where nothing waits. The loop's own time is
its thread's processor time from the request on, with all that is put off until the loop has nothing else to do.
Unknown to the spool is for how long after a request has left it is in no spool: a process that is killed then has
told nobody of it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from benchmarks.table import Line, median, share, show
from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.runtime import new_key, now

CALL_GOAL_US, CHUNK_GOAL_US = 50.0, 0.2
ADDRESS = "https://api.openai.com/v1/chat/completions"
WARM_UP, IN_TURN = 3, 10
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
    """Answers at once. `waited` is how long the last answer was waited for, `left` when its request had left."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks
        self.waited = self.left = 0.0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url  # what httpx2's own transport asks a request for
        _ = (url.raw_scheme, url.raw_host, url.port, url.raw_path, request.headers.raw)
        self.left = clock()
        await asyncio.sleep(LATENCY)
        self.waited = clock() - self.left
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=Body(self._chunks), request=request)


def clock() -> float:
    """Microseconds."""
    return time.perf_counter_ns() / 1000


class Call(NamedTuple):
    """Microseconds of one call with its whole answer: by the clock, without the wait for the answer; of the loop's own
    time; from the answer's end until it was recorded; from when its request had left until the spool knew of it.
    """

    took: float
    loop: float
    counted: float
    unknown: float


class Bench:
    """Calls by one client, and when what is pending was written."""

    def __init__(self, client: httpx2.AsyncClient, memory: Memory, spooled: list[float]) -> None:
        self._client, self._memory, self._spooled = client, memory, spooled

    async def hold(self) -> Call:
        memory = self._memory
        request = self._client.build_request("POST", ADDRESS, json=BODY)
        self._spooled.clear()
        loop, began = time.thread_time_ns(), clock()
        response = await self._client.send(request, stream=True)
        async for _ in response.aiter_raw():
            pass
        took = clock() - began - memory.waited
        await asyncio.sleep(0)
        spent, ended = (time.thread_time_ns() - loop) / 1000, clock()
        counting.settle(None, 5.0)
        unknown = self._spooled[0] - memory.left if self._spooled else 0.0
        return Call(took, spent, clock() - ended, unknown)

    async def turn(self, *, followed: bool) -> list[Call]:
        """Ten calls; the first one after the wire was put in or taken out is none of them."""
        if followed:
            watch.install(sockets=False)
        calls = [await self.hold() for _ in range(IN_TURN + 1)][1:]
        if followed:
            watch.uninstall()
        return calls


Pairs = list[tuple[Call, Call]]
"""With the wire, and without it."""


async def measure(calls: int, chunks: int, spooled: list[float]) -> Pairs:
    memory, pairs = Memory(chunks), []
    async with httpx2.AsyncClient(transport=memory) as client:
        bench = Bench(client, memory, spooled)
        for number in range(math.ceil(calls / IN_TURN) + WARM_UP):
            first = number % 2 == 0
            turns = {followed: await bench.turn(followed=followed) for followed in (first, not first)}
            pairs += zip(turns[True], turns[False], strict=True) if number >= WARM_UP else ()
    if met := faults.counts():
        raise SystemExit(f"nothing was measured: {met}")
    return pairs


def interval(figures: list[float]) -> float:
    """Half the width of the 95% confidence interval of their median."""
    ordered, count = sorted(figures), len(figures)
    off = math.ceil(0.98 * math.sqrt(count))
    return (ordered[min(count - 1, count // 2 + off)] - ordered[max(0, count // 2 - off)]) / 2


def added(pairs: Pairs, field: str) -> list[float]:
    return [getattr(ours, field) - getattr(bare, field) for ours, bare in pairs]


def lines(short: Pairs, long: Pairs, chunks: int) -> list[Line]:
    call, whole, loop = added(short, "took"), added(long, "took"), added(short, "loop")
    bare, bare_long = (median([pair[1].took for pair in pairs]) for pairs in (short, long))
    of_chunk = math.hypot(interval(call), interval(whole)) / chunks
    unknown = [ours.unknown for ours, _ in short + long]
    return [
        Line("a call, added", median(call), "us", CALL_GOAL_US, bare, None, interval(call)),
        Line(
            "a chunk, added",
            (median(whole) - median(call)) / chunks,
            "us",
            CHUNK_GOAL_US,
            (bare_long - bare) / chunks,
            None,
            of_chunk,
        ),
        Line(
            "the loop's own time a call, added",
            median(loop),
            "us",
            None,
            median([pair[1].loop for pair in short]),
            None,
            interval(loop),
        ),
        Line("unknown to the spool after it has left, median", median(unknown), "us"),
        Line("unknown to the spool after it has left, p99", share(unknown, 0.99), "us"),
        Line(f"read and counted in its thread, {chunks} chunks", median([ours.counted for ours, _ in long]), "us"),
    ]


class Spooling(Recorder):
    """Notes when what is pending has been written."""

    def __init__(self, folder: Path, spooled: list[float]) -> None:
        super().__init__(folder, Source("bench", "here", 1, 0), now)
        self._spooled = spooled

    def pend(self, pend: Pend) -> None:
        super().pend(pend)
        self._spooled.append(clock())


def track(folder: Path, spooled: list[float]) -> None:
    """This context spends the money of a part that writes to a real spool."""

    async def flush(_: float) -> bool:
        return True

    process = Process(Spooling(folder, spooled), flush, now, new_key)
    live = LivePart(Part(new_key(), "room_abc123def", now(), room="room"), process, agent=lambda: "greeter")
    spending.spend(Spending(Payer(lambda: live), "greeter"))


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=300)
    options.add_argument("--chunks", type=int, default=400)
    given = options.parse_args()
    vocabulary.load()  # as in a job process
    gc.freeze()  # as LiveKit does
    spooled: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        track(Path(folder), spooled)
        short = await measure(given.calls, 1, spooled)
        long = await measure(given.calls, given.chunks, spooled)
    title = f"Following a request on the wire, over {given.calls} pairs of calls: medians ± half their 95% interval"
    table = lines(short, long, given.chunks)
    return show(title, table, "the same client in the same run, unpatched: the whole call, and each of its chunks")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
