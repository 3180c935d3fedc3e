"""What is sent leaves before anything is made of it; whatever comes of it, it is told of once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import httpx2
import pytest

from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.sending import when_it_waits
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


async def test_a_turn_of_the_loop_is_no_wait() -> None:
    """As anyio takes one between the writes of a request."""
    seen: list[str] = []

    async def send() -> str:
        for part in ("head", "body"):
            await asyncio.sleep(0)
            seen.append(part)
        await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        seen.append("answer")
        return "done"

    assert await when_it_waits(send(), lambda: seen.append("told")) == "done"
    assert seen == ["head", "body", "told", "answer"]


async def returns() -> None:
    pass


async def fails() -> None:
    raise ConnectionError


async def fails_after_a_wait() -> None:
    await asyncio.sleep(0.001)
    raise ConnectionError


@pytest.mark.parametrize(("send", "error"), [(returns, None), (fails, OSError), (fails_after_a_wait, OSError)])
async def test_it_is_told_once_whatever_comes_of_it(
    send: Callable[[], Awaitable[None]], error: type[Exception] | None
) -> None:
    told: list[None] = []
    if error is None:
        await when_it_waits(send(), lambda: told.append(None))
    else:
        with pytest.raises(error):
            await when_it_waits(send(), lambda: told.append(None))
    assert len(told) == 1


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_a_cancellation_reaches_what_is_sent(seconds: float) -> None:
    """Before it waits, and while it does."""
    told: list[str] = []

    async def send() -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def ask() -> None:
        await when_it_waits(send(), lambda: told.append("told"))

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(told) == ["cancelled", "told"]


async def test_what_is_awaited_may_go_on_after_it_was_cancelled() -> None:
    async def send() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return "gone on"

    asking = asyncio.create_task(when_it_waits_in_a_task(send()))
    await asyncio.sleep(0)
    asking.cancel()
    assert await asking == "gone on"


async def when_it_waits_in_a_task(sending: Awaitable[str]) -> str:
    return await when_it_waits(sending, lambda: None)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a client's library writes to its socket, and where it was woken who counts."""
    seen: list[str] = []
    follow = counting.follow

    def followed(request: Any) -> None:
        seen.append("counted")
        follow(request)

    monkeypatch.setattr(counting, "follow", followed)
    return seen


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_a_request_has_left_before_it_is_counted(
    provider: Provider, tracked: Paper, seen: list[str], library: Any
) -> None:
    """On a connection that is open; while one is opened, who counts has time."""

    async def trace(name: str, _: Any) -> None:
        seen.append(name)

    async with library.AsyncClient() as client:
        url = provider.base_url + "/chat/completions"
        await client.post(url, json=ASKED)
        seen.clear()
        await client.post(url, json=ASKED, extensions={"trace": trace})
    assert seen.index("http11.send_request_body.complete") < seen.index("counted")
    assert seen.index("counted") < seen.index("http11.receive_response_headers.complete")
    assert len(tracked.records) == 2


async def body() -> AsyncIterator[bytes]:
    await asyncio.sleep(0)
    raise ConnectionError
    yield b""


async def test_a_request_that_fails_before_it_has_left_is_one(provider: Provider, tracked: Paper) -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(ConnectionError):
            await client.post(provider.base_url + "/chat/completions", content=body())
    (record,) = tracked.records
    assert (record.success, record.error) == (False, "ConnectionError")


async def test_a_request_that_is_cancelled_before_it_has_left_is_one(tracked: Paper) -> None:
    class Slow(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            while True:
                await asyncio.sleep(0)

    async with httpx2.AsyncClient(transport=Slow()) as client:
        asking = asyncio.create_task(client.post("https://api.openai.com/v1/chat/completions", json=ASKED))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert len(tracked.records) == 1
