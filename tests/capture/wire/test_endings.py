"""Every request that was sent is settled once, whatever its host, its hooks and its transport do with it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.wire import counting, tee
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS, until

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}
EMBEDDED: Any = {"model": "text-embedding-3-small", "input": "one two"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024", "choices": [], "usage": USAGE}
COMPLETIONS = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """The counting thread sleeps again after each test."""
    yield
    gc.collect()
    assert counting.settle(None, PATIENCE_SECONDS)
    assert not counting._counting._open


def answering(status: int, body: Any = None, **headers: str) -> Callable[[Any], httpx2.Response]:
    """A transport that answers so, with a body that is not read yet, as from a socket."""

    class Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield json.dumps(body).encode()

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield json.dumps(body).encode()

    return lambda _: httpx2.Response(status, headers={"content-type": "application/json"} | headers, stream=Body())


def client_of(status: int, body: Any = None, *hooks: Any, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.MockTransport(answering(status, body, **headers))
    return httpx2.AsyncClient(transport=transport, event_hooks={"response": list(hooks)})


async def closes_refusals(response: Any) -> None:
    if response.status_code >= 400:
        await response.aclose()


async def raises_for_status(response: Any) -> None:
    """As in httpx's own documentation of its hooks."""
    response.raise_for_status()


async def reads(response: Any) -> None:
    await response.aread()


async def consumes(response: Any) -> None:
    async for _ in response.aiter_bytes():
        pass


# -- hooks of the host's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hook_that_closes_a_refusal_gives_the_host_what_it_gives_without_us(paper: Paper, stream: bool) -> None:
    """The client's own retries go on, and each attempt is a refused request."""

    async def attempts() -> tuple[int, type[BaseException]]:
        asked = 0

        def refuse(request: Any) -> httpx2.Response:
            nonlocal asked
            asked += 1
            return answering(429, {"error": {}}, **{"retry-after-ms": "1"})(request)

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(refuse), event_hooks={"response": [closes_refusals]})
        async with openai.AsyncOpenAI(base_url="http://p/v1", api_key="x", max_retries=1, http_client=http) as client:
            with pytest.raises(Exception) as met:  # noqa: PT011 - whichever it is, it is to be the same
                await client.chat.completions.create(**ASKED, stream=stream)
        return asked, met.type

    bare = await attempts()
    spending.spend(spending.Spending(spending.Payer(lambda: paper)))
    tracked = await attempts()
    spending.spend(None)
    assert tracked == bare
    assert [(r.success, r.error, r.units) for r in paper.records] == [(False, "RateLimitError", {})] * bare[0]


async def test_an_answer_that_a_hook_has_read_is_recorded(tracked: Paper) -> None:
    """As hooks do that log it."""
    async with client_of(200, ANSWER, reads, **{"x-request-id": "req_7"}) as client:
        told = await client.post(COMPLETIONS, json=ASKED)
    assert told.json() == ANSWER
    assert [record.units for record in tracked.records] == [{"input_text": 7, "output_text": 3}]


async def test_an_answer_that_a_hook_has_consumed_is_unknown(tracked: Paper) -> None:
    """It came, it is billed, and nobody of us has seen it: no figure is made up for it."""
    async with client_of(200, ANSWER, consumes) as client:
        await client.send(client.build_request("POST", COMPLETIONS, json=ASKED), stream=True)
    (record,) = tracked.records
    assert (record.provenance, record.units, record.low, record.high) == ("unknown", {}, None, None)


async def test_a_refusal_for_which_a_hook_raises_costs_nothing(tracked: Paper) -> None:
    async with client_of(429, {"error": {}}, raises_for_status) as client:
        with pytest.raises(httpx2.HTTPStatusError):
            await client.post(COMPLETIONS, json=ASKED)
    (record,) = tracked.records
    assert (record.success, record.error, record.provenance) == (False, "RateLimitError", "reported")
    assert (record.units, record.metadata["status_code"]) == ({}, 429)


async def test_a_hooks_error_about_another_request_says_nothing_of_ours(tracked: Paper) -> None:
    """As of a hook that asks somebody else about the answer, and is refused."""

    async def asks_another(_: Any) -> None:
        request = httpx2.Request("GET", "https://audit.example")
        httpx2.Response(503, request=request).raise_for_status()

    async with client_of(200, ANSWER, asks_another) as client:
        with pytest.raises(httpx2.HTTPStatusError):
            await client.post(COMPLETIONS, json=ASKED)
    (record,) = tracked.records
    assert (record.provenance, record.error, record.metadata) == (
        "estimated",
        "HTTPStatusError",
        {"messages_count": 1},
    )


async def test_an_answer_that_cannot_be_followed_is_the_hosts_all_the_same(
    provider: Provider, tracked: Paper, monkeypatch: pytest.MonkeyPatch, noted: list[str]
) -> None:
    monkeypatch.setattr(tee, "_over_already", lambda *_: 1 / 0)
    async with client_of(200, ANSWER, reads) as client:
        assert (await client.post(COMPLETIONS, json=ASKED)).json() == ANSWER
    assert [record.provenance for record in tracked.records] == ["unknown"]
    assert noted == ["an answer could not be followed"]


# -- requests whose body goes past us ---------------------------------------------------------------------------------


async def body() -> AsyncIterator[bytes]:
    yield json.dumps(ASKED).encode()


async def test_a_request_whose_body_is_an_iterator_is_told_by_its_answer(provider: Provider, tracked: Paper) -> None:
    async with httpx2.AsyncClient() as client:
        await client.post(f"{provider.base_url}/chat/completions", content=body())
    (record,) = tracked.records
    assert (record.model, record.units) == ("gpt-4o", {"input_text": 4, "cached_input_text": 3, "output_text": 8})
    assert record.provenance == "reported"


async def test_without_figures_such_a_request_is_unknown_once(provider: Provider, tracked: Paper) -> None:
    """However long its stream is, and without a word in the log: nothing is wrong with it."""
    provider.usage, provider.pause = False, 0.03
    streamed = json.dumps(ASKED | STREAM).encode()

    async def parts() -> AsyncIterator[bytes]:
        yield streamed

    async with httpx2.AsyncClient() as client:
        await client.post(f"{provider.base_url}/chat/completions", content=parts())
    (record,) = tracked.records
    assert (record.model, record.provenance, record.units) == ("gpt-4o", "unknown", {})
    assert not tracked.progress


async def test_a_request_that_cannot_be_read_is_recorded_as_its_answer_tells(
    provider: Provider, tracked: Paper, monkeypatch: pytest.MonkeyPatch, noted: list[str]
) -> None:
    """A fault of ours is noted once, not at every look."""
    from livekit_tokens.capture.wire import watch

    monkeypatch.setattr(watch, "read_json", lambda *_: 1 / 0)
    provider.pause = 0.05
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        async for _ in await client.chat.completions.create(**ASKED, **STREAM):
            pass
    (record,) = tracked.records
    assert (record.model, record.provenance, record.units["output_text"]) == ("gpt-4o", "reported", 8)
    assert noted == ["a request could not be read"]


async def test_a_redirect_that_is_followed_by_hand_costs_nothing_and_its_goal_is_recorded(
    provider: Provider, tracked: Paper
) -> None:
    moved = {"location": f"{provider.base_url}/chat/completions"}

    class Moving(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.host == "moved.example":
                return httpx2.Response(307, headers=moved, request=request)
            return await super().handle_async_request(request)

    async with httpx2.AsyncClient(transport=Moving()) as client:
        told = await client.post("http://moved.example/v1/chat/completions", json=ASKED)
        assert told.next_request is not None
        await client.send(told.next_request)
    redirect, asked = tracked.records
    assert (redirect.units, redirect.provenance, redirect.metadata["status_code"]) == ({}, "reported", 307)
    assert (asked.model, asked.metadata, asked.provenance) == ("gpt-4o", {"messages_count": 1}, "reported")


# -- answers of somebody else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/surveys/7/responses", "application/json", b'{"stored": true, "id": "s1"}'),
        ("/surveys/7/responses", "text/html; charset=utf-8", b"<html>Thank you</html>"),
        ("/places/embeddings", "application/json", b"[]"),
    ],
)
async def test_an_answer_of_another_protocol_is_no_request(
    tracked: Paper, path: str, content_type: str, body: bytes
) -> None:
    """An app's own server may have such a path, and such fields."""
    headers = {"content-type": content_type}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=body))
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.post(f"https://app.example{path}", json={"model": "T3", "input": "very good"})
    assert tracked.records == []
    assert not tracked.pending


@pytest.mark.parametrize(
    "answer", [{"choices": []}, {"object": "response", "output": []}, {"data": []}, {"error": {"type": "x"}}]
)
async def test_an_answer_of_this_protocol_without_figures_is_a_request(tracked: Paper, answer: Any) -> None:
    async with client_of(200, answer) as client:
        await client.post("https://app.example/v1/responses", json={"model": "m", "input": "very good"})
    assert len(tracked.records) == 1


# -- answers that nobody reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_an_answer_that_is_dropped_unread_is_settled(provider: Provider, tracked: Paper, library: Any) -> None:
    """Nobody closes it: it ends when it is forgotten."""

    async def drop() -> None:
        client = library.AsyncClient()
        request = client.build_request("POST", f"{provider.base_url}/chat/completions", json=ASKED)
        await client.send(request, stream=True)
        await client.aclose()

    await drop()
    gc.collect()
    (record,) = tracked.records
    assert (record.provenance, record.metadata["cancelled"]) == ("estimated", True)


def test_a_client_that_blocks_may_drop_an_answer_too(tracked: Paper) -> None:
    with httpx2.Client(transport=httpx2.MockTransport(answering(200, ANSWER))) as client:
        client.send(client.build_request("POST", COMPLETIONS, json=ASKED), stream=True)
    gc.collect()
    assert [record.provenance for record in tracked.records] == ["estimated"]


# -- what is posted by aiohttp ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _post(provider: Provider, path: str, body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.post(provider.base_url + path, json=body) as answer:
        yield answer


async def test_a_posts_figures_are_recorded_when_it_is_read(provider: Provider, tracked: Paper) -> None:
    async with _post(provider, "/embeddings", EMBEDDED) as answer:
        assert (await answer.json())["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
        assert await answer.read() == await answer.read()
    assert [(record.units, record.provenance) for record in tracked.records] == [({"input_text": 2}, "reported")]


async def test_a_post_that_is_read_past_us_is_unknown(provider: Provider, tracked: Paper) -> None:
    """By its `content`, line by line: what came is not known, and not made up."""
    for _ in range(2):
        async with _post(provider, "/chat/completions", ASKED | STREAM) as answer:
            lines = [line async for line in answer.content]
    assert lines[-2] == b"data: [DONE]\n"
    assert [(record.provenance, record.units) for record in tracked.records] == [("unknown", {})] * 2


async def test_a_post_that_is_refused_costs_nothing(provider: Provider, tracked: Paper) -> None:
    """LiveKit asks for the status, and reads nothing of it."""
    provider.refusals = 1
    async with _post(provider, "/embeddings", EMBEDDED) as answer:
        with pytest.raises(aiohttp.ClientResponseError):
            answer.raise_for_status()
    (record,) = tracked.records
    assert (record.error, record.units, record.metadata["status_code"]) == ("InternalServerError", {}, 500)


async def test_a_post_that_is_dropped_unread_is_settled(provider: Provider, tracked: Paper) -> None:
    """It lives as long as its connection: until its session is closed."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"{provider.base_url}/chat/completions", json=ASKED | STREAM)
    gc.collect()
    assert [record.provenance for record in tracked.records] == ["unknown"]


async def test_a_post_that_breaks_says_by_what(provider: Provider, tracked: Paper) -> None:
    provider.breaks, provider.whole = 1, 2
    async with _post(provider, "/chat/completions", ASKED | STREAM) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    (record,) = tracked.records
    assert (record.success, record.error) == (False, "ClientPayloadError")


async def test_a_post_that_is_cancelled_is_an_estimate(provider: Provider, tracked: Paper) -> None:
    provider.hesitation = 60.0
    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(session.post(f"{provider.base_url}/chat/completions", json=ASKED))
        await until(lambda: provider.asked == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    (record,) = tracked.records
    assert (record.provenance, record.metadata["cancelled"]) == ("estimated", True)
