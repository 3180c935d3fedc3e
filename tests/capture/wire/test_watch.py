"""Putting the tees in and taking them out; a fault of ours on the wire never reaches the call."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import account, counting, watch
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.remains import read_remains
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part
from livekit_tokens.prices.book import PriceBook
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS, until

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}
PATCHED = (
    (httpx2.AsyncClient, "send"),
    (httpx2.Client, "send"),
    (aiohttp.ClientSession, "ws_connect"),
    (aiohttp.ClientSession, "post"),
)


def methods() -> list[Any]:
    return [owner.__dict__[name] for owner, name in PATCHED]


def test_what_was_put_in_can_be_taken_out() -> None:
    """Once, however often it was put in."""
    with_it = methods()
    watch.install()
    assert methods() == with_it
    watch.uninstall()
    bare = methods()
    assert all(ours is not theirs for ours, theirs in zip(with_it, bare, strict=True))
    watch.install()
    watch.uninstall()
    watch.uninstall()
    assert methods() == bare


def test_another_ones_patch_on_top_of_ours_stays() -> None:
    """Taking ours out beneath it would take theirs out too."""
    watch.uninstall()
    bare = httpx2.Client.send
    watch.install()
    ours = httpx2.Client.send

    def theirs(client: Any, request: Any, **options: Any) -> Any:
        return ours(client, request, **options)

    httpx2.Client.send = theirs
    watch.uninstall()
    assert httpx2.Client.send is theirs
    httpx2.Client.send = bare


async def test_a_request_that_cannot_be_followed_goes_out_all_the_same(
    provider: Provider, tracked: Paper, monkeypatch: pytest.MonkeyPatch, noted: list[str]
) -> None:
    monkeypatch.setattr(watch, "follow", lambda *_: 1 / 0)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        answer = await client.chat.completions.create(**ASKED)
    assert answer.choices[0].message.content == provider.answer
    assert noted == ["a request could not be followed"]


async def test_nothing_of_a_settled_request_is_kept(provider: Provider, tracked: Paper) -> None:
    """Neither what the host has in the context that it was sent in, nor what was said, nor a response that is held."""
    held: ContextVar[object] = ContextVar("held")

    class Big:
        """Something of the host's."""

    left: list[weakref.ref[Any]] = []
    responses = []

    async def ask(**asked: Any) -> None:
        big = Big()
        left.append(weakref.ref(big))
        held.set(big)
        responses.append(await client.chat.completions.with_raw_response.create(**ASKED, **asked))

    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        for asked in ({}, {}, STREAM):
            await asyncio.create_task(ask(**asked))
        await responses[-1].http_response.aread()
        assert len(tracked.records) == 3
        await until(lambda: gc.collect() >= 0 and [big() for big in left] == [None] * 3)
        kept = [one for one in gc.get_objects() if isinstance(one, (account.Account, Reading))]
        assert kept == []
    assert len(responses) == 3


async def test_an_answer_that_cannot_be_read_is_recorded_as_unknown(
    provider: Provider, tracked: Paper, monkeypatch: pytest.MonkeyPatch, noted: list[str]
) -> None:
    """It happened, it is billed, and it is no longer pending."""
    monkeypatch.setattr(account, "Reading", lambda *_: 1 / 0)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        await client.chat.completions.create(**ASKED)
    (record,) = tracked.records
    assert (record.provenance, record.units, tracked.pending) == ("unknown", {}, {})
    assert noted == ["an answer could not be read; recorded as unknown"]
    monkeypatch.undo()
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        await client.chat.completions.create(**ASKED)
    assert tracked.records[-1].provenance == "reported"


async def test_a_transport_that_answers_from_memory_is_recorded_too(tracked: Paper) -> None:
    """As the tests of an app have it."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

    def answer(_: Any) -> httpx2.Response:
        return httpx2.Response(200, json={"id": "c", "model": "gpt-4o", "choices": [], "usage": usage})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        told = await client.post("https://api.openai.com/v1/chat/completions", json=ASKED)
    assert told.json()["usage"] == usage
    assert [record.units for record in tracked.records] == [{"input_text": 7, "output_text": 3}]


async def test_tokens_written_to_the_cache_are_a_unit_of_their_own(tracked: Paper) -> None:
    """Some models bill them dearer."""
    details = {"cached_tokens": 0, "cache_write_tokens": 5}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": details}

    def answer(_: Any) -> httpx2.Response:
        return httpx2.Response(200, json={"id": "c", "model": "gpt-5.6-sol", "choices": [], "usage": usage})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        await client.post("https://api.openai.com/v1/chat/completions", json=ASKED)
    (record,) = tracked.records
    assert record.units == {"input_text": 2, "cache_write_text": 5, "output_text": 3}


async def answered(url: str, status: int, body: dict[str, Any], asked: Any = ASKED) -> None:
    """One request there, answered so."""

    def answer(_: Any) -> httpx2.Response:
        return httpx2.Response(status, json=body)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        await client.post(url, json=asked)


AZURE = "https://here.openai.azure.com/openai/deployments/d/chat/completions"
FILTERED = {"error": {"type": None, "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}


async def test_a_prompt_that_azure_refuses_for_what_it_says_is_billed(tracked: Paper) -> None:
    """And one that times out may be."""
    await answered(AZURE, 400, FILTERED)
    await answered(AZURE, 408, {"error": {"code": "Timeout"}})
    filtered, late = tracked.records
    for record in (filtered, late):
        assert (record.provenance, record.success, record.units) == ("estimated", False, {"input_text": 8})
        assert record.high is not None
        assert record.high["input_text"] >= 8
        assert record.high["output_text"] > 0
    assert filtered.low == {"input_text": 7}
    assert late.low == {}
    assert [record.metadata["status_code"] for record in tracked.records] == [400, 408]


async def test_other_refusals_are_not_billed(tracked: Paper) -> None:
    """Azure's others, and a filter's by others."""
    await answered(AZURE, 400, {"error": {"code": "BadRequest"}})
    await answered(AZURE, 429, FILTERED)
    await answered("https://api.openai.com/v1/chat/completions", 400, FILTERED)
    assert [(record.provenance, record.units, record.success) for record in tracked.records] == [
        ("reported", {}, False)
    ] * 3


async def test_the_tier_that_served_a_request_is_kept_where_it_is_another_than_the_standard_one(tracked: Paper) -> None:
    """Providers name it in their answers."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    for tier in ("priority", "default"):
        body = {"id": "c", "model": "gpt-4o", "choices": [], "usage": usage, "service_tier": tier}
        await answered("https://api.openai.com/v1/chat/completions", 200, body)
    assert [record.metadata.get("service_tier") for record in tracked.records] == ["priority", None]


async def test_calls_of_hosted_tools_stand_beside_the_tokens(tracked: Paper) -> None:
    """They are billed by the call: a record that has them is not priced by its tokens alone."""
    output = [{"type": "web_search_call", "action": {"type": "search"}}]
    body = {"id": "r", "model": "gpt-4o", "output": output, "usage": {"input_tokens": 7, "output_tokens": 3}}
    await answered("https://api.openai.com/v1/responses", 200, body, {"model": "gpt-4o", "input": "Hello"})
    (record,) = tracked.records
    assert record.units == {"input_text": 7, "output_text": 3}
    assert record.metadata["web_search_calls"] == 1
    assert PriceBook().price(record) == Price(note="no price for web_search_calls")


async def test_the_response_is_what_it_was(provider: Provider, tracked: Paper) -> None:
    """Its time, its body, its state."""
    async with httpx2.AsyncClient() as client:
        told = await client.post(f"{provider.base_url}/chat/completions", json=ASKED)
        assert told.is_closed
        assert told.elapsed.total_seconds() > 0
        assert told.json()["choices"][0]["message"]["content"] == provider.answer


async def test_a_redirect_is_one_request(provider: Provider, tracked: Paper) -> None:
    """As a client counts it that follows them."""
    moved = {"location": f"{provider.base_url}/chat/completions"}

    class Moving(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.host == "moved.example":
                return httpx2.Response(307, headers=moved, request=request)
            return await super().handle_async_request(request)

    async with httpx2.AsyncClient(transport=Moving(), follow_redirects=True) as client:
        await client.post("http://moved.example/v1/chat/completions", json=ASKED)
    assert len(tracked.records) == len(provider.bill) == 1


async def test_a_process_that_is_killed_leaves_what_its_requests_had_come_to(
    provider: Provider, tmp_path: Path
) -> None:
    """The next process on the host makes an estimate of it, by the spool alone; nothing that was said is in there."""

    async def flush(_: float) -> bool:
        return True

    recorder = Recorder(tmp_path, Source("source", "here", 1, 0), lambda: 1)
    process = Process(recorder, flush, lambda: 1, lambda: "0" * 32)
    live = LivePart(Part("0" * 32, "room_a", 1), process, agent=lambda: "greeter")
    spending.spend(Spending(Payer(lambda: live), "greeter"))
    provider.quiet_after = 4
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        stream: Any = await client.chat.completions.create(**ASKED, **STREAM)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content == " fine":
                break
        async with asyncio.timeout(PATIENCE_SECONDS):
            remains = await read_remains(recorder.folder)
            while [more.tokens for more in remains.progress.values()] != [4]:
                await asyncio.sleep(0.005)
                remains = await read_remains(recorder.folder)
        (pend,) = remains.pending.values()
        left = estimated(pend, remains.progress[pend.id])
        await stream.close()
    counting.settle(live.part.key, PATIENCE_SECONDS)
    assert (left.provenance, left.units["input_text"]) == ("estimated", 8)
    assert 3 <= left.units["output_text"] <= 6
    spool = b"".join(file.read_bytes() for file in recorder.folder.glob("*"))
    assert b"Hello" not in spool
    assert b"fine" not in spool


def test_a_forked_child_counts_for_itself() -> None:
    """The thread of its parent is not in it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        waiting: Counter[str] = Counter()
        settled = threading.Event()

        class Request:
            part = "p"
            ended = True
            rests = False

            def advance(self) -> bool:
                waiting["advanced"] += 1
                settled.set()
                return True

        counting.follow(Request())
        os.write(writer, b"1" if settled.wait(PATIENCE_SECONDS) and waiting["advanced"] == 1 else b"0")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
