"""The stand-in provider's bill is right, whether or not the client ever learns of it."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription

from benchmarks.accuracy import time_lapse
from livekit_tokens.demo.bill import (
    Billed,
    Conversation,
    Frames,
    Tokens,
    response_units,
    rough_count,
    transcription_of,
)
from livekit_tokens.demo.hearing import Ear
from livekit_tokens.demo.plan import QUICK, Knobs, draw_plan, tone
from livekit_tokens.demo.provider import Provider
from tests.waiting import PATIENCE_SECONDS

CALM = replace(QUICK, speech=(4.0, 4.0), speed=(4.0, 4.0), ahead=(0.1, 0.1), first_output=(0.02, 0.02))
"""Answers of 20 pieces, one every 50 ms, each 100 ms late: two pieces are always on their way."""


def in_time_lapse(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """What is measured by the provider's clock does not depend on how busy the machine is."""

    @wraps(test)
    def run() -> None:
        time_lapse.run(test())

    return run


class Client:
    """A bare websocket client that keeps everything it was sent."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws, self.events = ws, []

    async def send(self, event: str, **fields: Any) -> None:
        await self.ws.send_json({"type": event, **fields})

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                self.events.append(json.loads((await self.ws.receive(timeout=PATIENCE_SECONDS)).data))
                count -= self.events[-1]["type"] == event
                if count == 0:
                    return self.events[-1]

    async def answer(self) -> dict[str, Any]:
        """Ask for a response and return it as `response.done` shows it."""
        await self.send("response.create")
        return (await self.until("response.done"))["response"]

    async def speak(self, ms: int) -> None:
        for pcm in [tone(100)] * (ms // 100) + [bytes(4800)] * 3:
            await self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())


@asynccontextmanager
async def connected(knobs: Knobs = QUICK, seed: int = 1, **session: Any) -> AsyncIterator[tuple[Provider, Client]]:
    async with (
        Provider(seed, knobs) as provider,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{provider.base_url}/realtime?model=gpt-realtime") as ws,
    ):
        client = Client(ws)
        if session:
            await client.send("session.update", session=session)
            await client.until("session.updated")
        yield provider, client


def hears_with(model: str) -> dict[str, Any]:
    return {"audio": {"input": {"transcription": {"model": model}}}}


def units_by_hand(usage: dict[str, Any]) -> dict[str, int]:
    """OpenAI's usage as disjoint units, written out once more."""
    read, out = usage["input_token_details"], usage["output_token_details"]
    cached = read["cached_tokens_details"]
    units = {
        "input_text": read["text_tokens"] - cached["text_tokens"],
        "input_audio": read["audio_tokens"] - cached["audio_tokens"],
        "cached_input_text": cached["text_tokens"],
        "cached_input_audio": cached["audio_tokens"],
        "output_text": out["text_tokens"],
        "output_audio": out["audio_tokens"],
    }
    return {name: quantity for name, quantity in units.items() if quantity}


async def settled(provider: Provider, count: int = 1) -> list[Billed]:
    await provider.bill.until(lambda bill: len(bill.entries) >= count, within=PATIENCE_SECONDS)
    return provider.bill.entries


async def test_the_bill_says_what_response_done_says():
    """A completed response's usage reached the client, and the bill has the same figures as disjoint units."""
    async with connected(instructions="Be kind.") as (provider, client):
        done = await client.answer()

    (entry,) = provider.bill.entries
    assert (entry.id, entry.status, entry.usage) == (done["id"], "completed", done["usage"])
    assert entry.units == units_by_hand(done["usage"])


async def test_the_audio_that_was_delivered_is_the_audio_that_was_billed():
    """One audio token per 50 ms of 24 kHz pcm16."""
    async with connected() as (provider, client):
        await client.answer()

    deltas = [e["delta"] for e in client.events if e["type"] == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) // 2400 == provider.billed_units()["output_audio"]


async def test_a_conversation_grows_and_its_beginning_comes_from_the_cache():
    """Each response reads the ones before it, in whole cached blocks of 64, split by modality."""
    async with connected(replace(QUICK, cached_share=(1, 1), speech=(2, 2)), instructions="word " * 80) as (_, client):
        usages = [(await client.answer())["usage"]["input_token_details"] for _ in range(4)]

    read = [usage["text_tokens"] + usage["audio_tokens"] for usage in usages]
    assert read == sorted(set(read))
    assert usages[0]["cached_tokens"] == 0
    assert all(usage["cached_tokens"] > 0 and usage["cached_tokens"] % 64 == 0 for usage in usages[1:])
    assert sum(usages[3]["cached_tokens_details"].values()) == usages[3]["cached_tokens"]
    assert usages[3]["cached_tokens_details"]["audio_tokens"] > 0


async def test_other_instructions_for_one_response_miss_the_cache():
    """`generate_reply(instructions=...)` replaces the beginning of the prompt."""
    async with connected(replace(QUICK, cached_share=(1, 1)), instructions="word " * 80) as (_, client):
        await client.answer()
        await client.send("response.create", response={"instructions": "other " * 80})
        done = await client.until("response.done")

    assert done["response"]["usage"]["input_token_details"]["cached_tokens"] == 0


@in_time_lapse
async def test_a_cancelled_response_is_billed_as_far_as_it_was_generated():
    """More was generated than the client had received, less than the whole answer."""
    async with connected(CALM) as (provider, client):
        await client.send("response.create")
        await client.until("response.output_audio.delta", count=4)
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]

    received = sum(e["type"] == "response.output_audio.delta" for e in client.events)
    (entry,) = provider.bill.entries
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert entry.usage == done["usage"]
    assert received * 4 < entry.units["output_audio"] < 20 * 4


@in_time_lapse
async def test_a_response_cancelled_before_it_was_created_is_billed_for_what_it_read():
    """The input is billed although nothing was said (LiveKit drops this one)."""
    knobs = replace(CALM, created=(0.3, 0.3))
    async with connected(knobs, instructions="Be kind.") as (provider, client):
        await client.send("response.create")
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]

    assert done["status"] == "cancelled"
    assert provider.billed_units() == {"input_text": 8}


@in_time_lapse
async def test_speech_cancels_the_response_under_way():
    """interrupt_response: the caller's voice ends the response, and a new one answers what was said."""
    async with connected(CALM) as (provider, client):
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.speak(600)
        await client.until("response.created")
        await client.until("response.done", count=1)

    assert [(e.status, e.reason) for e in provider.bill.entries] == [
        ("cancelled", "turn_detected"),
        ("completed", None),
    ]


@in_time_lapse
async def test_a_client_that_hangs_up_is_billed_for_what_was_generated_by_then():
    """Nobody reads the figures, and they stand on the bill."""
    async with connected(CALM) as (provider, client):
        await client.send("response.create")
        await client.until("response.output_audio.delta", count=3)
        await client.ws.close()
        (entry,) = await settled(provider)

    assert (entry.status, entry.reason, entry.delivered) == ("cancelled", "socket_closed", False)
    assert 3 * 4 <= entry.units["output_audio"] < 20 * 4


@in_time_lapse
async def test_a_dropped_socket_bills_what_was_generated_ahead():
    """After 5 pieces on the wire the network breaks; two more existed, exactly."""
    async with connected(replace(CALM, drop_after=5)) as (provider, client):
        await client.send("response.create")
        (entry,) = await settled(provider)
        while not client.ws.closed:
            await client.ws.receive(timeout=PATIENCE_SECONDS)

    assert (entry.reason, entry.delivered, entry.units["output_audio"]) == ("socket_closed", False, 7 * 4)
    assert provider.knobs.drop_after is None


async def test_a_missing_response_done_is_billed():
    async with connected(replace(QUICK, done_missing=True)) as (provider, client):
        await client.send("response.create")
        await client.until("response.output_item.done")
        (entry,) = await settled(provider)

    assert (entry.status, entry.delivered) == ("completed", False)
    assert entry.units["output_audio"] > 0


async def test_an_incomplete_response_is_billed_and_a_failed_one_is_not():
    async with connected(replace(QUICK, ends="incomplete")) as (provider, client):
        incomplete = await client.answer()
        provider.knobs = replace(QUICK, ends="failed")
        failed = await client.answer()

    assert incomplete["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert (failed["status"], failed["usage"]) == ("failed", None)
    assert [bool(entry.units) for entry in provider.bill.entries] == [True, False]


@pytest.mark.parametrize(
    ("model", "units", "usage_type"),
    [
        ("whisper-1", {"audio_ms": 2000}, "duration"),
        ("gpt-4o-transcribe", {"input_audio": 14, "output_text": 4}, "tokens"),
    ],
)
async def test_what_the_caller_said_is_transcribed_by_tokens_or_by_duration(model, units, usage_type):
    """1.2 s of speech and 0.2 s of the silence that ended it."""
    async with connected(**hears_with(model)) as (provider, client):
        await client.speak(1200)
        done = await client.until("conversation.item.input_audio_transcription.completed")

    entry = next(entry for entry in provider.bill.entries if entry.kind == "transcription")
    assert (entry.model, entry.id, done["usage"]["type"]) == (model, done["item_id"], usage_type)
    assert set(entry.units) == set(units)
    assert entry.units.get("audio_ms") == units.get("audio_ms")
    assert entry.units.get("input_audio") == units.get("input_audio")


async def test_the_same_seed_gives_the_same_bill():
    """And another seed another one."""

    async def bill_of(seed: int) -> list[dict[str, int]]:
        async with connected(seed=seed, instructions="Be kind.", **hears_with("whisper-1")) as (provider, client):
            await client.speak(800)
            await client.until("response.done")
            await client.answer()
            return [entry.units for entry in provider.bill.entries]

    assert await bill_of(3) == await bill_of(3) != await bill_of(4)


@in_time_lapse
async def test_a_late_done_never_mixes_with_the_next_response():
    """The next response begins only after the cancelled one's figures, however late they are."""
    async with connected(replace(CALM, done_delay=(0.3, 0.3))) as (_, client):
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        await client.send("response.create")
        await client.until("response.done", count=2)

    order = [e["type"] for e in client.events if e["type"] in ("response.created", "response.done")]
    assert order == ["response.created", "response.done"] * 2


@in_time_lapse
async def test_a_second_response_at_a_time_is_refused():
    async with connected(CALM) as (_, client):
        await client.send("response.create")
        await client.send("response.create", event_id="second")
        error = (await client.until("error"))["error"]

    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")


async def test_the_bill_can_be_fetched():
    async with connected() as (provider, client), aiohttp.ClientSession() as http:
        await client.answer()
        async with http.get(f"{provider.url}/bill") as answer:
            bill = await answer.json()

    assert bill["units"] == provider.billed_units()
    assert bill["entries"][0]["kind"] == "realtime_response"


def test_units_are_disjoint():
    """A cached token is not counted again as a fresh one."""
    units = response_units(Tokens(100, 50), Tokens(64, 20), Tokens(10, 40))

    assert units == {
        "input_text": 36,
        "input_audio": 30,
        "cached_input_text": 64,
        "cached_input_audio": 20,
        "output_text": 10,
        "output_audio": 40,
    }


def test_whisper_is_billed_by_whole_seconds():
    assert transcription_of("whisper-1", 2100, "")[0] == {"audio_ms": 3000}


def test_an_item_can_be_put_between_others():
    conversation = Conversation()
    for name, after in (("b", None), ("a", "root"), ("c", "b"), ("ab", "a")):
        conversation.put(name, Tokens(1), after)

    assert [conversation.before(name) for name in ("a", "ab", "b", "c")] == [None, "a", "ab", "b"]


def test_an_interrupted_answer_keeps_only_what_was_heard():
    conversation = Conversation()
    conversation.put("answer", Tokens(text=30, audio=100))
    conversation.keep_audio("answer", 1000)

    assert conversation.read([], 0)[0] == Tokens(text=2, audio=20)


def test_the_ear_commits_speech_with_a_little_of_what_came_before():
    """Two quiet seconds are forgotten, 300 ms of padding, the speech and the silence that ended it are kept."""
    ear = Ear(silence_ms=200)
    heard = [ear.append(pcm) for pcm in [bytes(4800)] * 20 + [tone(100)] * 5 + [bytes(4800)] * 2]

    assert [what for what in heard if what] == ["started", "stopped"]
    assert ear.take() == 300 + 500 + 200


# The same provider, heard by LiveKit's own realtime session.


@asynccontextmanager
async def livekit_session(provider: Provider, **options: Any) -> AsyncIterator[llm.RealtimeSession]:
    async with aiohttp.ClientSession() as http:
        model = openai.realtime.RealtimeModel(
            base_url=provider.base_url, api_key="none", http_session=http, turn_detection=None, **options
        )
        session = model.session()
        try:
            yield session
        finally:
            await session.aclose()


async def drain(generation: llm.GenerationCreatedEvent) -> str:
    """Take in a whole answer, as the agent's playout does."""
    said = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for message in generation.message_stream:
            said += "".join([text async for text in message.text_stream])
            assert [frame async for frame in message.audio_stream]
    return said


async def test_livekits_realtime_session_counts_what_was_billed_when_nothing_is_cut_off():
    """Every token of LiveKit's metrics is on the bill: the provider speaks LiveKit's dialect."""
    metrics: list[Any] = []
    async with Provider(seed=1, knobs=QUICK) as provider, livekit_session(provider) as session:
        session.on("metrics_collected", metrics.append)
        await session.update_instructions("Be kind.")
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="Good morning")
        context.add_message(role="assistant", content="Good morning to you")
        await session.update_chat_ctx(context)
        for _ in range(3):
            assert await drain(await session.generate_reply())

    metrics = [m for m in metrics if m.request_id]  # one without an id only tells of the connection (1.8.9)
    usages = [entry.usage for entry in provider.bill.entries if entry.usage]
    assert [m.input_tokens for m in metrics] == [usage["input_tokens"] for usage in usages]
    assert [m.output_tokens for m in metrics] == [usage["output_tokens"] for usage in usages]
    assert [m.input_token_details.cached_tokens for m in metrics] == [
        usage["input_token_details"]["cached_tokens"] for usage in usages
    ]


async def test_livekits_realtime_session_hears_transcriptions():
    """The caller's committed audio is transcribed and billed apart from the answer."""
    metrics: list[Any] = []
    transcribes = AudioTranscription(model="gpt-4o-transcribe")
    async with (
        Provider(seed=1, knobs=QUICK) as provider,
        livekit_session(provider, input_audio_transcription=transcribes) as session,
    ):
        session.on("metrics_collected", metrics.append)
        for _ in range(10):
            session.push_audio(rtc.AudioFrame(tone(100), 24_000, 1, 2400))
        session.commit_audio()
        await drain(await session.generate_reply())
        await provider.bill.until(lambda bill: sum(entry.delivered for entry in bill.entries) == 2)

    heard, answered = sorted(provider.bill.entries, key=lambda entry: entry.kind, reverse=True)
    assert heard.units["input_audio"] == answered.units["input_audio"] == 10
    assert next(m for m in metrics if m.type == "stt_metrics").input_tokens == 10


async def test_livekits_realtime_session_gets_a_tools_call():
    """Asked to, the model calls the session's first tool with arguments that satisfy its schema."""

    @llm.function_tool
    async def opening_hours(day: str, branch: int) -> str:
        """When the shop is open."""
        return f"{day} {branch}"

    async with (
        Provider(seed=1, knobs=replace(QUICK, call_tools=True)) as provider,
        livekit_session(provider) as session,
    ):
        await session.update_tools([opening_hours])
        async with asyncio.timeout(PATIENCE_SECONDS):
            generation = await session.generate_reply()
            calls = [call async for call in generation.function_stream]

    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("opening_hours", {"day": "Thursday", "branch": 3})
    ]
    assert "output_audio" not in provider.billed_units()
    assert provider.billed_units()["output_text"] > 0


async def test_livekit_loses_the_usage_of_a_response_under_way_when_it_closes():
    """`aclose()` hangs up at once: LiveKit counts nothing, the bill has it all. This is what the tracker is for."""
    metrics: list[Any] = []
    async with Provider(seed=1, knobs=CALM) as provider:
        async with livekit_session(provider) as session:
            session.on("metrics_collected", metrics.append)
            generation = await session.generate_reply()
            message = await anext(aiter(generation.message_stream))
            await anext(aiter(message.audio_stream))
        (entry,) = await settled(provider)

    assert [m for m in metrics if m.request_id] == []
    assert (entry.status, entry.delivered) == ("cancelled", False)
    assert entry.units["output_audio"] > 0


# What the accuracy bench draws.


@in_time_lapse
async def test_latency_holds_events_back_each_way_and_in_order():
    """100 ms to the provider and 100 ms back; nothing overtakes."""
    loop = asyncio.get_running_loop()
    async with connected(replace(CALM, latency=0.1)) as (_, client):
        began = loop.time()
        await client.send("response.create")
        await client.until("response.output_audio.delta", count=3)

    assert loop.time() - began >= 0.2
    order = [event["type"] for event in client.events if event["type"].startswith("response.")]
    assert order[:2] == ["response.created", "response.output_item.added"]


@in_time_lapse
async def test_a_socket_that_drops_takes_along_what_was_under_way():
    """It was generated and billed, and the provider goes on until it notices."""
    async with connected(replace(CALM, latency=0.1)) as (provider, client):
        await client.send("response.create")
        await client.until("response.output_audio.delta", count=4)
        provider.connections[-1].drop()
        (entry,) = await settled(provider)

    # 100 ms kept, 100 ms under way, 100 ms until it is noticed: at one piece every 50 ms.
    assert 4 * 4 + 5 * 4 <= entry.units["output_audio"] <= 4 * 4 + 9 * 4


@in_time_lapse
async def test_bursts_bring_several_pieces_at_a_time():
    """The first when all of them are made; the last may be smaller."""
    plan = draw_plan(random.Random(1), replace(CALM, burst=8), 0, spoken=True)
    assert [round(due - plan.first - plan.ahead, 3) for due, _ in plan.deliveries()] == [0.35] * 8 + [0.75] * 8 + [
        0.95
    ] * 4


async def test_frames_of_ones_own_are_billed():
    """An item framed by 9, tools for half of their JSON."""
    tool = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
    frames = Frames(item=9, tools=0.5)
    async with (
        Provider(1, QUICK, frames=frames) as provider,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{provider.base_url}/realtime?model=gpt-realtime") as ws,
    ):
        client = Client(ws)
        await client.send("session.update", session={"instructions": "Be kind.", "tools": [tool]})
        usage = (await client.answer())["usage"]

    assert usage["input_token_details"]["text_tokens"] == 9 + 3 + 9 + round(rough_count(json.dumps(tool)) * 0.5)


def test_a_trimmed_conversation_leaves_out_its_oldest_items_for_good():
    """Above 50 tokens, until no more than 60% of them remain; nobody is told."""
    conversation = Conversation()
    for name in "abcd":
        conversation.put(name, Tokens(15))
    conversation.trim(50, 0.6)

    assert conversation.read([], 0)[0] == Tokens(30)
    conversation.put("e", Tokens(15))
    conversation.trim(50, 0.6)
    assert conversation.read([], 0)[0] == Tokens(45)


@in_time_lapse
async def test_a_cancel_that_comes_too_early_can_be_refused():
    """Then the response goes on, and has to be cancelled again once it is announced."""
    knobs = replace(CALM, created=(0.1, 0.1), hears_early_cancel=False)
    async with connected(knobs) as (provider, client):
        await client.send("response.create")
        await client.send("response.cancel")
        error = (await client.until("error"))["error"]
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        await client.until("response.done")

    assert error["code"] == "response_cancel_not_active"
    assert provider.billed_units()["output_audio"] > 0


@in_time_lapse
async def test_a_response_may_end_without_having_been_announced():
    """Only its `response.done` is sent, with all that was billed."""
    async with connected(replace(CALM, announced=False)) as (provider, client):
        await client.send("response.create")
        await asyncio.sleep(0.2)
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]

    assert [event["type"] for event in client.events if event["type"].startswith("response.")] == ["response.done"]
    assert done["usage"] == provider.bill.entries[0].usage
    assert provider.billed_units()["output_audio"] > 0
