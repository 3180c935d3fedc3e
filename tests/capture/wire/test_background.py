"""Responses that run on in the background, by real clients; the provider answers from memory."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.capture.wire.pieces import Pieces
from livekit_tokens.core.pending import estimated
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.capture.wire.conftest import Paper
from tests.waiting import PATIENCE_SECONDS

USAGE = {"input_tokens": 12, "output_tokens": 5000, "total_tokens": 5012}
USAGE |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 4000}}
UNITS = {"input_text": 12, "output_text": 1000, "output_reasoning": 4000}


class Writer:
    """Answers with how far the one response is that it writes."""

    def __init__(self) -> None:
        self.response: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5"}
        self.response |= {"status": "queued", "background": True, "output": [], "usage": None}
        self.response |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if b'"stream":true' in request.content.replace(b" ", b""):
            begun = {"type": "response.created", "response": self.response, "sequence_number": 0}
            body = f"data: {json.dumps(begun)}\n\n"
            return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})
        return httpx2.Response(200, json=self.response)


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
async def client(writer: Writer) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.MockTransport(writer.answer)
    async with httpx2.AsyncClient(transport=transport, base_url="https://api.openai.com/v1/") as client:
        yield client


async def ask(client: httpx2.AsyncClient, **more: Any) -> None:
    await client.post("responses", json={"model": "gpt-5", "input": "Write a long report.", "background": True} | more)


async def look(client: httpx2.AsyncClient, response_id: str = "resp_1") -> None:
    await client.get(f"responses/{response_id}")
    await counted()


async def counted() -> None:
    """Until all is counted that has ended."""
    assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_response_in_the_background_is_recorded_when_it_is_asked_for_at_its_end(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper, streamed: bool
) -> None:
    """By its figures, once, whoever asks; until then it is in flight, also when its stream has been left."""
    await ask(client, stream=streamed)
    await look(client)
    writer.response["status"] = "in_progress"
    await look(client)
    assert tracked.records == []
    (pending,) = tracked.pending.values()
    assert estimated(pending).provenance == "unknown"  # by the process that takes the spool over
    writer.response |= {"status": "completed", "usage": USAGE}
    spending.spend(None)
    await look(client, "resp_2")
    assert tracked.records == []
    await look(client)
    await look(client)
    (record,) = tracked.records
    assert (record.units, record.provenance, record.success) == (UNITS, "reported", True)
    assert (record.request_id, record.operation, tracked.pending) == ("resp_1", "chat_completion", {})
    assert record.metadata == {"messages_count": 1}


async def test_one_that_is_asked_for_at_once_is_recorded(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper
) -> None:
    """Before its first answer has been read."""
    await ask(client)
    writer.response |= {"status": "completed", "usage": USAGE}
    await look(client)
    assert [record.units for record in tracked.records] == [UNITS]


@pytest.mark.parametrize(
    ("end", "provenance", "success"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "x"}}, "reported", False),
        ({"status": "cancelled"}, "unknown", True),
    ],
)
async def test_one_that_fails_is_not_billed_and_of_a_cancelled_one_nobody_knows(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper, end: dict[str, Any], provenance: str, success: bool
) -> None:
    """Neither has figures."""
    await ask(client)
    writer.response |= end
    await look(client)
    (record,) = tracked.records
    assert (record.units, record.provenance, record.success) == ({}, provenance, success)


def a_part(records: list[UsageRecord]) -> LivePart:
    part = Part(new_key(), "session", now())
    return LivePart(part, Process.of_nobody(now, new_key), agent=lambda: None, on_usage=records.append)


async def test_one_that_is_begun_in_a_session_by_hand_may_be_asked_for_when_that_has_been_left(
    client: httpx2.AsyncClient, writer: Writer
) -> None:
    """A web app asks in its next request: recorded in the same session."""
    records: list[UsageRecord] = []
    live = a_part(records)
    spending.spend(Spending(Payer(lambda: live), None))
    await ask(client)
    spending.spend(None)
    await asyncio.to_thread(live.close, "completed")
    assert records == []
    writer.response |= {"status": "completed", "usage": USAGE}
    await look(client)
    assert [record.units for record in records] == [UNITS]
    assert records[0].part == live.afterwards.part.key


async def test_one_that_nobody_asks_for_is_unknown_when_its_call_ends(client: httpx2.AsyncClient) -> None:
    """No bound is made up for it; what comes of it later changes nothing."""
    records: list[UsageRecord] = []
    live = a_part(records)
    spending.spend(Spending(Payer(lambda: live), "greeter"))
    await ask(client)
    await counted()
    assert records == []
    summary = await live.finish("done", now())
    spending.spend(None)
    (record,) = records
    assert (record.provenance, record.units, record.low, record.high) == ("unknown", {}, None, None)
    assert (record.request_id, summary.totals.unknown_requests) == ("resp_1", 1)
    await look(client)
    assert len(records) == 1


async def test_figures_that_come_after_its_call_are_kept_beside_its_record(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper
) -> None:
    """Once, and never summed."""
    await ask(client)
    await counted()
    await counting.finished(tracked.part.key)
    await look(client)
    writer.response |= {"status": "completed", "usage": USAGE}
    await look(client)
    await look(client)
    assert [record.provenance for record in tracked.records] == ["unknown"]
    assert [(told.of, told.units) for told in tracked.told_late] == [(1, UNITS)]


async def test_who_leaves_a_session_by_hand_does_not_wait_for_it(client: httpx2.AsyncClient) -> None:
    """It counts as ended until its first answer has been read."""
    live = a_part([])
    spending.spend(Spending(Payer(lambda: live), None))
    await ask(client)
    began = time.monotonic()
    assert await asyncio.to_thread(counting.settle, live.part.key, PATIENCE_SECONDS)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    spending.spend(None)


async def test_of_many_that_nobody_asks_for_the_oldest_is_unknown(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a backend whose results come by webhook: it would be waited for as long as the process lives."""
    monkeypatch.setattr(counting, "MOST_RESTING", 3)
    for number in range(5):
        writer.response["id"] = f"resp_{number}"
        await ask(client)
        await counted()
    await counted()
    assert [(record.request_id, record.provenance) for record in tracked.records] == [
        ("resp_0", "unknown"),
        ("resp_1", "unknown"),
    ]
    assert [pend.record.request_id for pend in tracked.pending.values()] == ["resp_2", "resp_3", "resp_4"]


async def test_one_is_waited_for_a_day(
    client: httpx2.AsyncClient, writer: Writer, tracked: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(client)
    await counted()
    monkeypatch.setattr(counting, "LONGEST_REST_SECONDS", 0.0)
    writer.response["id"] = "resp_2"
    await ask(client)
    await counted()
    await counted()
    assert [record.request_id for record in tracked.records] == ["resp_1"]


@pytest.mark.parametrize(
    "address", ["https://forms.example/surveys/7/responses/export.csv", "responses/resp_of_nobody"]
)
async def test_what_nobody_waits_for_is_not_followed(
    client: httpx2.AsyncClient, tracked: Paper, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """It may be a download of any length that has nothing to do with a model."""
    await ask(client)
    await counted()
    followed: list[Any] = []
    monkeypatch.setattr(watch, "Retrieval", lambda *given: followed.append(given) or 1 / 0)
    await client.get(address)
    assert followed == []


async def test_what_is_read_of_a_long_answer_is_bounded(tracked: Paper) -> None:
    """Whatever it is that came from a response's address."""
    kept: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(1 << 20)
            await asyncio.sleep(0.01)
        kept.append(
            sum(
                len(piece) for one in gc.get_objects() if isinstance(one, Pieces) for piece in (*one._pieces, one._head)
            )
        )

    class Waiting(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in endless():
                yield piece

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Waiting())

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(watch, "is_waited_for", lambda *_: True)
    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client,
        client.stream("GET", "https://api.openai.com/v1/responses/resp_1") as response,
    ):
        async for _ in response.aiter_raw():
            pass
    monkeypatch.undo()
    assert 0 < kept[0] < 10 << 20


async def test_by_the_openai_client(writer: Writer, tracked: Paper) -> None:
    """Its `retrieve`."""
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(writer.answer))
    async with openai.AsyncOpenAI(api_key="not-a-key", http_client=http) as client:
        response = await client.responses.create(model="gpt-5", input="Write a long report.", background=True)
        writer.response |= {"status": "completed", "usage": USAGE}
        await client.responses.retrieve(response.id)
    assert [record.units for record in tracked.records] == [UNITS]
