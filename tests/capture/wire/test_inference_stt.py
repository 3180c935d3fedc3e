"""LiveKit Inference's speech to text by its real component: what is sent is counted, also what nobody tells of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import inference, stt

from livekit_tokens.capture import spending
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.spending import Payer
from livekit_tokens.core.pending import estimated
from tests.capture.wire.conftest import Paper
from tests.waiting import until

SECOND = rtc.AudioFrame(bytes(32_000), 16_000, 1, 16_000)


class Gateway:
    """Tells a final transcript once it has been sent so many of its messages of 50 ms."""

    def __init__(self) -> None:
        self.final_after = 0
        self.drops_after = 0
        self.heard = 0

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            match json.loads(message.data)["type"]:
                case "input_audio":
                    self.heard += 1
                    if self.heard == self.final_after:
                        await socket.send_json({"type": "final_transcript", "request_id": "r", "transcript": "hi"})
                    if self.heard == self.drops_after:
                        return socket
                case "session.finalize":
                    await socket.send_json({"type": "session.closed"})
                    break
        return socket


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def heard(gateway: Gateway) -> AsyncIterator[inference.STT]:
    application = web.Application()
    application.router.add_get("/v1/stt", gateway.listen)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        yield inference.STT(
            model="deepgram/nova-3",
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key="k",
            api_secret="s" * 40,
            http_session=session,
            sample_rate=16_000,
        )
    await runner.cleanup()


@pytest.fixture
def call(paper: Paper, heard: inference.STT) -> Iterator[Paper]:
    """A tracked call that listens to it."""

    class Owner:
        stt = heard

    witness = ComponentWitness(Payer(lambda: paper))
    witness.begin(None)
    witness.listen_to(Owner())
    yield paper
    witness.stop()
    spending.spend(None)


@asynccontextmanager
async def stream_of(heard: inference.STT) -> AsyncIterator[stt.RecognizeStream]:
    async with heard.stream() as stream:

        async def drain() -> None:
            async for _ in stream:
                pass

        draining = asyncio.create_task(drain())
        yield stream
        draining.cancel()


async def test_what_follows_the_last_transcript_is_an_estimate(
    gateway: Gateway, heard: inference.STT, call: Paper
) -> None:
    gateway.final_after = 20
    async with stream_of(heard) as stream:
        stream.push_frame(SECOND)
        await until(lambda: call.written)
        for _ in range(3):
            stream.push_frame(SECOND)
        await until(lambda: gateway.heard == 80)
    await until(lambda: len(call.written) == 2)
    told, tail = call.written
    assert (told.units, told.provenance) == ({"audio_ms": 1000}, "reported")
    assert (tail.units, tail.provenance, tail.low, tail.high) == (
        {"audio_ms": 3000},
        "estimated",
        {},
        {"audio_ms": 3000},
    )
    assert {(one.service, one.provider, one.model, one.operation) for one in call.written} == {
        ("transcriber", "livekit", "deepgram/nova-3", "transcription")
    }
    assert not call.pending


async def test_what_a_killed_process_has_sent_is_in_its_spool(
    gateway: Gateway, heard: inference.STT, call: Paper
) -> None:
    async with stream_of(heard) as stream:
        for _ in range(2):
            stream.push_frame(SECOND)
        await until(lambda: gateway.heard == 40)
        (pend,) = call.pending.values()
        left = estimated(pend)
        assert (left.units, left.provenance) == ({"audio_ms": 2000}, "estimated")


async def test_a_stream_that_connects_again_goes_on_counting(
    gateway: Gateway, heard: inference.STT, call: Paper
) -> None:
    """Its next final transcript tells what the connection before had been sent, too."""
    gateway.drops_after, gateway.final_after = 20, 40
    async with stream_of(heard) as stream:
        stream.push_frame(SECOND)
        await until(lambda: any(not one.success for one in call.written))
        stream.push_frame(SECOND)
        await until(lambda: len(call.written) == 2)
    assert [one.units for one in call.written if one.success] == [{"audio_ms": 2000}]
    assert not call.pending


async def test_without_a_call_nothing_is_recorded(gateway: Gateway, heard: inference.STT, paper: Paper) -> None:
    async with stream_of(heard) as stream:
        for _ in range(2):
            stream.push_frame(SECOND)
        await until(lambda: gateway.heard == 40)
    assert not paper.pending
    assert not paper.written
