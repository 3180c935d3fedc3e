"""A client whose transport sends by another client: what the provider is asked is counted, once for each time."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import httpx2
import pytest

from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.exchange import Exchange
from tests.capture.wire.conftest import Paper

URL = "https://api.openai.com/v1/chat/completions"
ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ANSWER = {"id": "c", "model": "gpt-4o", "choices": [], "usage": USAGE}


def answering(library: Any, *statuses: int) -> Any:
    """A provider that answers one after the other."""
    left = list(statuses)

    def answer(_: Any) -> Any:
        status = left.pop(0)
        return library.Response(status, json=ANSWER if status < 300 else {})

    return library.MockTransport(answer)


async def passed_on(library: Any, pass_on: Callable[[Any, Any], Awaitable[Any]], *statuses: int) -> None:
    """Ask by a client that gives its requests to `pass_on`, with a client of its own for a provider."""
    async with library.AsyncClient(transport=answering(library, *statuses)) as inner:

        class Transport(library.AsyncBaseTransport):  # type: ignore[misc]
            async def handle_async_request(self, request: Any) -> Any:
                response = await pass_on(inner, request)
                headers = {"content-type": "application/json"}
                return library.Response(response.status_code, headers=headers, content=response.content)

        async with library.AsyncClient(transport=Transport()) as client:
            await client.post(URL, json=ASKED)


async def the_same(inner: Any, request: Any) -> Any:
    return await inner.post(request.url, headers=request.headers, content=await request.aread())


async def after_a_wait(inner: Any, request: Any) -> Any:
    await asyncio.sleep(0.001)
    return await the_same(inner, request)


async def in_a_task(inner: Any, request: Any) -> Any:
    return await asyncio.create_task(the_same(inner, request))


@pytest.mark.parametrize("library", [httpx2, httpx])
@pytest.mark.parametrize("pass_on", [the_same, after_a_wait, in_a_task])
async def test_a_request_that_passes_two_clients_is_one(tracked: Paper, library: Any, pass_on: Any) -> None:
    await passed_on(library, pass_on, 200)
    (record,) = tracked.records
    assert record.units == {"input_text": 7, "output_text": 3}
    assert not tracked.pending


@pytest.mark.parametrize("library", [httpx2, httpx])
def test_by_clients_that_block_too(tracked: Paper, library: Any) -> None:
    with library.Client(transport=answering(library, 200)) as inner:

        class Transport(library.BaseTransport):  # type: ignore[misc]
            def handle_request(self, request: Any) -> Any:
                response = inner.post(request.url, headers=request.headers, content=request.read())
                return library.Response(response.status_code, json=json.loads(response.content))

        with library.Client(transport=Transport()) as client:
            client.post(URL, json=ASKED)
            assert len(tracked.records) == 1
    assert not tracked.pending


async def test_each_attempt_that_a_transport_repeats_is_one(tracked: Paper) -> None:
    """The provider sees each of them."""

    async def repeat(inner: Any, request: Any) -> Any:
        await the_same(inner, request)
        return await the_same(inner, request)

    await passed_on(httpx2, repeat, 500, 200)
    assert [record.success for record in tracked.records] == [False, True]


async def test_a_gateway_may_ask_for_a_model_by_another_name(tracked: Paper) -> None:
    """That is what is billed."""

    async def rename(inner: Any, request: Any) -> Any:
        return await inner.post(request.url, json=ASKED | {"model": "gpt-4o-mini"})

    await passed_on(httpx2, rename, 500)
    assert [record.model for record in tracked.records] == ["gpt-4o-mini"]


async def test_what_a_transport_sends_itself_when_its_client_failed_is_one_too(tracked: Paper) -> None:
    """It is billed; the failed one stands as the attempt that it was."""
    direct = answering(httpx2, 200)

    async def fall_back(inner: Any, request: Any) -> Any:
        refused = await the_same(inner, request)
        assert refused.status_code == 500
        assert len(tracked.records) == 1  # what came of it is counted, and let go, before the other one is sent
        response = await direct.handle_async_request(request)
        await response.aread()
        return response

    await passed_on(httpx2, fall_back, 500)
    assert [(record.success, record.units) for record in tracked.records] == [
        (False, {}),
        (True, {"input_text": 7, "output_text": 3}),
    ]
    assert not tracked.pending


async def asked_for_ever(asked: asyncio.Event) -> None:
    """Ask by two clients, one in the other, for what nobody answers."""

    async def never(_: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(never)) as inner:

        class Transport(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request: Any) -> Any:
                return await the_same(inner, request)

        async with httpx2.AsyncClient(transport=Transport()) as client:
            await client.post(URL, json=ASKED)


async def test_a_request_that_is_cancelled_in_both_clients_is_one(tracked: Paper) -> None:
    """What it may cost is estimated once."""
    asked = asyncio.Event()
    asking = asyncio.create_task(asked_for_ever(asked))
    await asked.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert len(tracked.records) == 1
    assert not tracked.pending


async def test_while_nobody_has_answered_the_prompt_is_counted_once(
    tracked: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a process that is killed then leaves one estimate."""
    followed: list[Exchange] = []
    monkeypatch.setattr(counting, "follow", followed.append)
    asked = asyncio.Event()
    asking = asyncio.create_task(asked_for_ever(asked))
    await asked.wait()
    for exchange in followed:
        exchange.advance()
    assert sorted(bool(pend.record.units) for pend in tracked.pending.values()) == [False, True]
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_what_else_a_transport_asks_meanwhile_is_a_request_of_its_own(tracked: Paper) -> None:
    """As whether the prompt is harmless, or in whose context it works on when it has answered."""
    later: list[asyncio.Task[Any]] = []

    async def look_first(inner: Any, request: Any) -> Any:
        harmless = {"role": "system", "content": "Is that harmless?"}
        await inner.post(URL, json={**ASKED, "messages": [harmless, *ASKED["messages"]]})
        await inner.post("https://api.openai.com/v1/embeddings", json={"model": "e", "input": "Hello"})
        later.append(asyncio.create_task(ask_later(inner)))
        return httpx2.Response(200, json=ANSWER)

    answered = asyncio.Event()

    async def ask_later(inner: Any) -> None:
        await answered.wait()
        await inner.post(URL, json=ASKED)

    async with httpx2.AsyncClient(transport=answering(httpx2, 200, 200, 200)) as inner:

        class Transport(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request: Any) -> Any:
                return await look_first(inner, request)

        async with httpx2.AsyncClient(transport=Transport()) as client:
            await client.post(URL, json=ASKED)
        answered.set()
        await asyncio.gather(*later)
    operations = sorted(record.operation for record in tracked.records)
    assert operations == ["chat_completion", "chat_completion", "chat_completion", "embedding"]


async def test_of_what_a_context_has_sent_only_the_last_is_kept(tracked: Paper) -> None:
    """Also of those who ask whether a response has run to its end: they may go on for hours."""
    runs_on = {"id": "r", "status": "queued", "output": []}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=ANSWER if request.url.path.endswith("/completions") else runs_on)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        responses = URL.replace("chat/completions", "responses")
        await client.post(responses, json={"model": "gpt-4o", "input": "Hello", "background": True})
        for _ in range(10):
            await client.get(f"{responses}/r")
            await client.post(URL, json=ASKED)
    assert len(tracked.records) == 10
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, Exchange) and not one.rests]
    assert len(kept) < 5  # beside it, what the counting thread has had in hand
