"""Responses that run on in the background, by real clients; the provider answers from memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import counting
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


async def test_by_the_openai_client(writer: Writer, tracked: Paper) -> None:
    """Its `retrieve`."""
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(writer.answer))
    async with openai.AsyncOpenAI(api_key="not-a-key", http_client=http) as client:
        response = await client.responses.create(model="gpt-5", input="Write a long report.", background=True)
        writer.response |= {"status": "completed", "usage": USAGE}
        await client.responses.retrieve(response.id)
    assert [record.units for record in tracked.records] == [UNITS]
