"""LiveKit's own components and helpers that speak by aiohttp: each billed request is one record."""

from __future__ import annotations

import asyncio
import base64
import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.agents.utils import http_context
from livekit.plugins import openai

from livekit_tokens.domain.units import input_tokens, output_tokens
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(autouse=True)
async def _sessions() -> AsyncIterator[None]:
    """LiveKit's components ask their job for an HTTP session."""
    async with http_context.open():
        yield


def asked(text: str = "Hello") -> llm.ChatContext:
    chat = llm.ChatContext()
    chat.add_message(role="user", content=text)
    return chat


async def test_responses_over_a_socket_are_recorded(provider: Provider, tracked: Paper) -> None:
    """By default `openai.responses.LLM` speaks over a WebSocket that it keeps."""
    model = openai.responses.LLM(model="gpt-4.1", base_url=f"{provider.base_url}/responses", api_key="not-a-key")
    for _ in range(2):
        async with model.chat(chat_ctx=asked()) as stream:
            async for _ in stream:
                pass
    await model.aclose()
    assert [(record.model, input_tokens(record.units), output_tokens(record.units)) for record in tracked.records] == [
        ("gpt-4.1", entry.input, entry.output) for entry in provider.bill
    ]
    assert [record.request_id for record in tracked.records] == ["resp_1", "resp_2"]
    assert {record.provenance for record in tracked.records} == {"reported"}


async def cut(provider: Provider) -> llm.LLM:
    """A response that is cancelled when four of its eight words have come."""
    provider.quiet_after = 4
    model = openai.responses.LLM(model="gpt-4.1", base_url=f"{provider.base_url}/responses", api_key="not-a-key")
    stream = model.chat(chat_ctx=asked())
    async for chunk in stream:
        if chunk.delta is not None and chunk.delta.content == " fine":
            break
    await stream.aclose()
    return model


async def test_a_cancelled_responses_socket_is_listened_on_to_its_figures(provider: Provider, tracked: Paper) -> None:
    """LiveKit puts the socket aside and does not close it: the provider goes on, and bills the whole answer."""
    model = await cut(provider)
    provider.go_on.set()
    await until(lambda: tracked.records)
    (record,) = tracked.records
    assert (record.provenance, output_tokens(record.units)) == ("reported", provider.bill[0].output)
    await model.aclose()


async def test_a_response_whose_socket_is_closed_is_an_estimate(provider: Provider, tracked: Paper) -> None:
    await (await cut(provider)).aclose()
    (record,) = tracked.records
    assert (record.provenance, record.metadata["cancelled"]) == ("estimated", True)
    assert 4 <= record.units["output_text"] <= 6


async def test_what_a_closed_socket_had_on_its_way_counts_by_the_time_that_it_took_to_open(
    provider: Provider, tracked: Paper
) -> None:
    """A socket's answers have no header that tells how long they were made for; it opens in two round trips."""
    provider.hesitation = 0.6
    began = time.monotonic()
    model = await cut(provider)
    opening = time.monotonic() - began
    await asyncio.sleep(0.3)
    await model.aclose()
    (record,) = tracked.records
    # Four words had come in some 0.3 s: as fast, four more in the 0.3 s of a round trip. A busy machine opens later.
    pace = 3.5 / (record.processing_ms - record.first_output_ms) * 1000
    assert pace * provider.hesitation / 2 - 1 <= record.units["output_text"] - 4 <= pace * opening / 2 + 1
    assert (record.low or {})["output_text"] <= 6


async def test_who_listens_again_misses_nothing(provider: Provider, tracked: Paper) -> None:
    """A receive that was given up, as by a timeout, and tried again: all messages come, in their order, once."""
    provider.pause = 0.02
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{provider.base_url}/responses") as socket:
        await socket.send_json(CREATE)
        heard: list[str] = []
        while "response.completed" not in heard:
            try:
                heard.append((await asyncio.wait_for(socket.receive(), 0.013)).json()["type"])
            except TimeoutError:
                await asyncio.sleep(0.05)
    assert heard == ["response.created", *["response.output_text.delta"] * 8, "response.completed"]
    assert [record.provenance for record in tracked.records] == ["reported"]


CREATE = {"type": "response.create", "model": "gpt-4.1", "input": "Hello"}


@asynccontextmanager
async def given_up(provider: Provider) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A socket in the middle of a response, on which a `receive` has just been given up."""
    provider.pause = 30.0
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{provider.base_url}/responses") as socket:
        await socket.send_json(CREATE)
        await socket.receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.receive(), 0.02)
        yield socket


async def test_who_listens_again_can_be_cancelled_at_once(provider: Provider, tracked: Paper) -> None:
    """A task whose cancellation is swallowed never ends."""
    async with given_up(provider) as socket:
        for _ in range(3):
            again = asyncio.create_task(socket.receive())
            await asyncio.sleep(0)
            again.cancel()
            done, _ = await asyncio.wait({again}, timeout=PATIENCE_SECONDS)
            assert done
            assert again.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await socket.receive()
    assert [record.provenance for record in tracked.records] == ["estimated"]


async def test_a_time_limit_of_aiohttps_own_is_one_more_way_to_stop(provider: Provider, tracked: Paper) -> None:
    provider.quiet_after = 0
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{provider.base_url}/responses") as socket:
        await socket.send_json(CREATE)
        await socket.receive()
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.001)
        provider.go_on.set()
        await until(lambda: tracked.records)
        assert [record.provenance for record in tracked.records] == ["reported"]


async def test_a_socket_that_its_server_closes_while_nobody_listens_is_closed(
    provider: Provider, tracked: Paper
) -> None:
    """It closes itself within the `receive` by which we listen on, and the response has its end."""
    provider.quiet_after, provider.hangs_up = 0, True
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{provider.base_url}/responses") as socket:
        await socket.send_json(CREATE)
        await socket.receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.receive(), 0.001)
        provider.go_on.set()
        await until(lambda: socket.closed)
        assert [record.provenance for record in tracked.records] == ["estimated"]


async def test_a_socket_that_is_dropped_ends_its_response(provider: Provider, tracked: Paper) -> None:
    """At once, as it goes at once without us: we tie no knot around it."""
    provider.pause = 0.02
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{provider.base_url}/responses")
        await socket.send_json(CREATE)
        await socket.receive()
        forgotten = weakref.ref(socket)
        gc.disable()
        try:
            del socket
            assert forgotten() is None
        finally:
            gc.enable()
        assert [record.provenance for record in tracked.records] == ["estimated"]


async def test_a_socket_that_several_share_spends_the_money_of_who_asks(provider: Provider, tracked: Paper) -> None:
    """A pooled socket was opened for somebody else, or before anybody was tracked."""
    from livekit_tokens.capture import spending
    from livekit_tokens.capture.spending import Payer, Spending

    other = Paper("1" * 32)
    model = openai.responses.LLM(model="gpt-4.1", base_url=f"{provider.base_url}/responses", api_key="not-a-key")

    async def ask() -> None:
        async with model.chat(chat_ctx=asked()) as stream:
            async for _ in stream:
                pass

    await ask()
    spending.spend(Spending(Payer(lambda: other)))
    await ask()
    spending.spend(None)
    await model.aclose()
    assert (len(tracked.records), len(other.records)) == (1, 1)


@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "gpt-realtime-whisper"])
async def test_transcriptions_over_a_socket_are_recorded_as_they_are_billed(
    provider: Provider, tracked: Paper, model: str
) -> None:
    """LiveKit drops the seconds and the split of the audio. Nobody answers what is said there: no response is due."""
    ear = openai.STT(model=model, base_url=provider.base_url, api_key="not-a-key", use_realtime=True, vad=None)
    frame = rtc.AudioFrame(bytes(2400), 24_000, 1, 1200)
    async with aclosing(ear.stream()) as stream:
        for _ in range(25):
            stream.push_frame(frame)
        async for event in stream:
            if event.alternatives:
                break
    await ear.aclose()
    (record,) = tracked.records
    expected: dict[str, Any] = {
        "gpt-4o-transcribe": {"input_audio": 8, "input_text": 2, "output_text": 8},
        "gpt-realtime-whisper": {"audio_ms": 1000},
    }
    assert (record.model, record.units, record.provenance) == (model, expected[model], "reported")
    assert (record.service, record.provider) == ("transcriber", "openai")


TRANSCRIBING: Any = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}}}


@asynccontextmanager
async def committing(provider: Provider, milliseconds: int) -> AsyncIterator[Any]:
    """A socket on which so much audio was sent and committed by hand, of which nothing has been told yet."""
    address = f"{provider.base_url}/realtime?intent=transcription"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await socket.send_json({"type": "session.update", "session": TRANSCRIBING})
        await commit(socket, milliseconds)
        yield socket


async def commit(socket: Any, milliseconds: int) -> None:
    audio = base64.b64encode(bytes(48 * milliseconds)).decode()
    await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
    await socket.send_json({"type": "input_audio_buffer.commit"})


@pytest.mark.parametrize(("milliseconds", "estimates"), [(2000, [(20, "estimated", {})]), (60, [])])
async def test_what_was_committed_when_its_socket_ends_is_estimated(
    provider: Provider, tracked: Paper, milliseconds: int, estimates: list[Any]
) -> None:
    """By its length; nobody knows whether it has been read. Less than 100 ms are refused."""
    async with committing(provider, milliseconds):
        assert len(tracked.pending) == len(estimates)
    assert [(record.units["input_audio"], record.provenance, record.low) for record in tracked.records] == estimates
    assert not tracked.pending


async def test_what_is_told_to_be_committed_is_one_request(provider: Provider, tracked: Paper) -> None:
    """Its item's. And none where the provider found nothing to be committed."""
    async with committing(provider, 2000) as socket:
        ears = socket.livekit_tokens_ears
        ears.receives('{"type": "input_audio_buffer.committed", "item_id": "item_1"}')
        await commit(socket, 1000)
        assert len(tracked.pending) == 2
        ears.receives('{"type": "error", "error": {"code": "input_audio_buffer_commit_empty"}}')
        (pend,) = tracked.pending.values()
        assert (pend.record.request_id, pend.spoken_ms) == ("item_1", 2000)
    assert [(record.units["input_audio"], record.provenance) for record in tracked.records] == [(20, "estimated")]


class _Redirected(aiohttp.ClientSession):
    """Sends to the stand-in what is meant for api.openai.com."""

    place = ""

    async def _request(self, method: str, url: Any, **options: Any) -> Any:
        return await super()._request(method, self.place + str(url).partition("/v1")[2], **options)


@pytest.mark.filterwarnings("ignore:Inheritance class")
async def test_livekits_own_embeddings_are_recorded(provider: Provider, tracked: Paper) -> None:
    async with _Redirected() as session:
        session.place = provider.base_url
        await openai.create_embeddings(input=["one two", "three"], api_key="not-a-key", http_session=session)
    (record,) = tracked.records
    assert (record.units, record.operation, record.provider) == ({"input_text": 3}, "embedding", "openai")


async def test_other_posts_and_sockets_pass_untouched(provider: Provider, tracked: Paper) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{provider.base_url}/moderations", json={"input": "x"}) as answer:
            assert answer.status == 200
        made = await asyncio.create_task(session.post(f"{provider.base_url}/embeddings", data=b"{}"))
        made.close()
    assert tracked.records == []
