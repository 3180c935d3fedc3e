"""Real openai clients over real sockets, against a provider with its own bill: each billed request is one record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import httpx2
import openai
import pytest

from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.wire.conftest import Paper, wav
from tests.capture.wire.provider import Billed, Provider
from tests.waiting import until

HELLO: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]
STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key", max_retries=0) as client:
        yield client


def billed(entry: Billed) -> tuple[str, int, int]:
    return entry.model, entry.input, entry.output


def counted(record: UsageRecord) -> tuple[str, int, int]:
    return record.model, input_tokens(record.units), output_tokens(record.units)


async def test_a_completion_is_recorded_with_the_providers_figures(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    (record,) = tracked.records
    assert record.units == {"input_text": 7, "cached_input_text": 7, "output_text": 8}
    assert (record.provenance, record.provider, record.operation) == ("reported", "openai", "chat_completion")
    assert (record.service, record.agent, record.request_id) == ("tool", "greeter", "chatcmpl-1")
    assert record.metadata == {"messages_count": 2}
    assert not tracked.pending


async def test_a_stream_is_recorded_with_its_last_chunks_figures(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.pause = 0.01
    async for _ in await client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM):
        pass
    (record,) = tracked.records
    assert counted(record) == billed(provider.bill[0])
    assert record.provenance == "reported"
    assert record.first_output_ms is not None
    assert record.processing_ms is not None
    assert record.processing_ms >= record.first_output_ms + 80


async def test_a_client_that_blocks_is_recorded_too(provider: Provider, tracked: Paper) -> None:
    client = openai.OpenAI(base_url=provider.base_url, api_key="not-a-key")

    def ask() -> None:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
        for _ in client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM):
            pass

    await asyncio.to_thread(ask)
    assert [counted(record) for record in tracked.records] == [billed(entry) for entry in provider.bill]


async def test_a_stream_that_is_cancelled_is_an_estimate_of_what_had_come(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.quiet_after = 4
    heard = asyncio.Event()

    async def listen() -> None:
        async for chunk in await client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM):
            if chunk.choices[0].delta.content == " fine":
                heard.set()

    task = asyncio.create_task(listen())
    await heard.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    (record,) = tracked.records
    assert (record.provenance, record.success, record.metadata["cancelled"]) == ("estimated", True, True)
    assert 0 < record.units["output_text"] <= 8
    assert record.low is not None
    assert record.high is not None
    assert record.low["output_text"] <= record.units["output_text"] <= record.high["output_text"]
    assert not tracked.pending


async def test_a_request_that_is_cancelled_before_its_answer_is_an_estimate_of_its_prompt(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.hesitation = 60.0
    task = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=HELLO))
    await until(lambda: provider.asked == 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    (record,) = tracked.records
    assert record.provenance == "estimated"
    assert record.units == {"input_text": 4 * 2 + 3 + 3 + 2}
    assert record.low == {}


async def test_a_body_that_is_not_streamed_can_be_cut_too(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    """What is cancelled while its body comes has spent its prompt."""
    provider.quiet_after = 4
    answer = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, **STREAM)
    reading = asyncio.create_task(answer.http_response.aread())
    await until(lambda: [more.tokens for more in tracked.progress.values()] == [4])
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    (record,) = tracked.records
    assert record.provenance == "estimated"


async def test_each_attempt_of_the_clients_retries_is_a_request(provider: Provider, tracked: Paper) -> None:
    client = openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key", max_retries=2)
    provider.refusals = 1
    await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    refused, answered = tracked.records
    assert (refused.success, refused.error, refused.units) == (False, "InternalServerError", {})
    assert (refused.provenance, refused.metadata["status_code"]) == ("reported", 500)
    assert counted(answered) == billed(provider.bill[0])


async def test_a_stream_that_breaks_is_a_failed_request_with_an_estimate(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.breaks = 1
    with pytest.raises((openai.APIError, httpx2.HTTPError, httpx.HTTPError)):  # openai 2.x speaks httpx
        async for _ in await client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM):
            pass
    (record,) = tracked.records
    assert (record.success, record.error, record.provenance) == (False, "RemoteProtocolError", "estimated")
    assert record.units["output_text"] > 0


async def test_nobody_at_the_address_is_a_failed_request_that_costs_nothing(tracked: Paper) -> None:
    client = openai.AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="not-a-key", max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    (record,) = tracked.records
    assert (record.success, record.error, record.provenance, record.units) == (False, "ConnectError", "reported", {})


@pytest.mark.parametrize("stream", [True, False])
async def test_compressed_answers_are_read(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper, stream: bool
) -> None:
    provider.compressed = True
    answer: Any = await client.chat.completions.create(model="gpt-4o", messages=HELLO, **(STREAM if stream else {}))
    if stream:
        async for _ in answer:
            pass
    (record,) = tracked.records
    assert counted(record) == billed(provider.bill[0])


async def test_a_compressed_stream_that_is_cut_is_read_as_far_as_it_came(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.compressed, provider.quiet_after = True, 4
    stream: Any = await client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM)
    async for chunk in stream:
        if chunk.choices[0].delta.content == " fine":
            break
    await stream.close()
    (record,) = tracked.records
    assert record.provenance == "estimated"
    assert 4 <= record.units["output_text"] <= 5


async def test_a_whole_stream_without_figures_is_estimated_as_complete(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    async for _ in await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
        pass
    (record,) = tracked.records
    assert record.provenance == "estimated"
    assert record.units["output_text"] in (8, 9)
    assert "cancelled" not in record.metadata


async def test_what_is_in_flight_is_pending_with_its_latest_counts(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    """A process that is killed here leaves a line that knows the prompt and what had come."""
    provider.quiet_after = 4
    stream: Any = await client.chat.completions.create(model="gpt-4o", messages=HELLO, **STREAM)
    task = asyncio.create_task(_all(stream))
    await until(lambda: [more.tokens for more in tracked.progress.values()] == [4])
    (pend,) = tracked.pending.values()
    assert pend.record.units == {"input_text": 16}
    assert list(tracked.progress) == [pend.id]
    provider.go_on.set()
    await task
    assert len(tracked.records) == 1


async def _all(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_a_deployment_of_azures_is_recorded_under_its_model(provider: Provider, tracked: Paper) -> None:
    client = openai.AsyncAzureOpenAI(
        azure_endpoint=provider.base_url.removesuffix("/v1"), api_version="2025-01-01", api_key="not-a-key"
    )
    await client.chat.completions.create(model="ours", messages=HELLO)
    (record,) = tracked.records
    assert counted(record)[1:] == (14, 8)
    assert record.metadata["served_model"] == "ours-2026-01-01"  # on loopback it stands for openai


async def test_responses_are_recorded(provider: Provider, client: openai.AsyncOpenAI, tracked: Paper) -> None:
    await client.responses.create(model="gpt-4.1", input="Hello")
    async for _ in await client.responses.create(model="gpt-4.1", input="Hello", stream=True):
        pass
    assert [counted(record) for record in tracked.records] == [billed(entry) for entry in provider.bill]
    assert [record.request_id for record in tracked.records] == ["resp_1", "resp_2"]


async def test_transcriptions_are_recorded_by_tokens_or_by_seconds(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    for model in ("gpt-4o-transcribe", "whisper-1"):
        await client.audio.transcriptions.create(model=model, file=("speech.wav", wav(2.0)))
    tokens, seconds = tracked.records
    assert (tokens.units, tokens.provenance) == ({"input_audio": 20, "output_text": 8}, "reported")
    assert (seconds.units, seconds.provenance) == ({"audio_ms": 2000}, "reported")
    assert seconds.informational == {"input_audio": 20, "output_text": 10}
    assert seconds.metadata["counted_by"] == "o200k"


async def test_a_transcription_without_figures_is_estimated_by_its_audio(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    provider.usage = False
    await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("speech.wav", wav(2.34)))
    (record,) = tracked.records
    assert (record.units, record.provenance) == ({"input_audio": 23, "output_text": 10}, "estimated")


async def test_speech_is_recorded_by_tokens_or_by_characters(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    said: Any = {"input": "Good morning to you", "voice": "ash", "response_format": "pcm"}
    await client.audio.speech.create(model="gpt-4o-mini-tts", **said, stream_format="sse")
    await client.audio.speech.create(model="tts-1", **said)
    await client.audio.speech.create(model="gpt-4o-mini-tts", **said)
    by_tokens, by_characters, without_figures = tracked.records
    assert (by_tokens.units, by_tokens.provenance) == ({"input_text": 4, "output_audio": 16}, "reported")
    assert (by_characters.units, by_characters.provenance) == ({"characters": 19}, "reported")
    assert (without_figures.units, without_figures.provenance) == ({"input_text": 4, "output_audio": 16}, "estimated")


async def test_embeddings_are_recorded(provider: Provider, client: openai.AsyncOpenAI, tracked: Paper) -> None:
    await client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"])
    (record,) = tracked.records
    assert (record.units, record.operation) == ({"input_text": 3}, "embedding")


async def test_what_is_not_billed_is_not_recorded(
    provider: Provider, client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    await client.models.list()
    await httpx2.AsyncClient().get(provider.base_url + "/chat/completions")  # a list of what was asked before
    await httpx2.AsyncClient().post(provider.base_url + "/moderations", json={"input": "x"})
    await httpx2.AsyncClient().post(provider.base_url + "/responses", json={"answer": "a form of somebody's"})
    assert tracked.records == []


async def test_without_a_session_nothing_is_recorded_and_the_answer_is_the_same(
    provider: Provider, client: openai.AsyncOpenAI, paper: Paper
) -> None:
    answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == provider.answer
    assert paper.records == []
    assert not paper.pending
