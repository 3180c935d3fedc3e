"""What npm's aimock bills, a provider that we did not write, is what we record: for chat and for transcription."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai as plugin

from livekit_tokens.domain.usage import UsageRecord
from tests import lacking
from tests.capture.wire import aimock
from tests.capture.wire.conftest import Paper, wav

TOKENS = {
    "type": "tokens",
    "input_tokens": 23,
    "output_tokens": 5,
    "total_tokens": 28,
    "input_token_details": {"audio_tokens": 21, "text_tokens": 2},
}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "hello"}, "response": {"content": "Hello! How can I help you today?"}},
    {
        "match": {"endpoint": "transcription", "model": "gpt-4o-transcribe"},
        "response": {"transcription": {"text": "Good morning.", "usage": TOKENS}},
    },
    {
        "match": {"endpoint": "transcription", "model": "whisper-1"},
        "response": {"transcription": {"text": "Good morning.", "usage": {"type": "duration", "seconds": 2}}},
    },
]
HELLO: Any = [{"role": "system", "content": "You answer the telephone."}, {"role": "user", "content": "hello there"}]
SLOWLY = ("--latency", "30", "--chunk-size", "4")


@pytest.fixture(scope="session")
def _installed() -> None:
    """Tried once. Without node and npm the tests are skipped, or fail if LIVEKIT_TOKENS_NO_SKIPS=1."""
    try:
        aimock.installed()
    except aimock.NoAimock as missing:
        lacking.give_up(missing)


@pytest.fixture
async def address(tmp_path: Path, _installed: None) -> AsyncIterator[str]:
    """Where aimock answers."""
    async with aimock.running(FIXTURES, tmp_path, *SLOWLY) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=address, api_key="not-a-key", max_retries=0) as client:
        yield client


def counted(record: UsageRecord) -> tuple[str, str, int, int]:
    units = record.units
    return record.provenance, record.model, units["input_text"], units["output_text"]


async def test_a_whole_answer_is_recorded_as_aimock_bills_it(client: openai.AsyncOpenAI, tracked: Paper) -> None:
    answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > answer.usage.completion_tokens > 0
    (record,) = tracked.records
    assert counted(record) == ("reported", "gpt-4o", answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert record.request_id == answer.id


async def test_a_stream_is_recorded_as_aimock_bills_it(client: openai.AsyncOpenAI, tracked: Paper) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.usage is not None
    (record,) = tracked.records
    assert counted(record) == ("reported", "gpt-4o", last.usage.prompt_tokens, last.usage.completion_tokens)


async def test_what_livekits_model_asks_is_recorded_as_livekit_is_told(address: str, tracked: Paper) -> None:
    """LiveKit reads the same figures of a stream that comes to its end; ours are the wire's."""
    model, history = plugin.LLM(model="gpt-4o", base_url=address, api_key="not-a-key"), llm.ChatContext()
    history.add_message(role="user", content="hello there")
    async with model.chat(chat_ctx=history) as stream:
        told = [chunk.usage async for chunk in stream if chunk.usage is not None]
    await model.aclose()
    (record,) = tracked.records
    assert counted(record) == ("reported", "gpt-4o", told[-1].prompt_tokens, told[-1].completion_tokens)


async def test_a_stream_of_aimocks_that_is_cut_off_is_estimated(client: openai.AsyncOpenAI, tracked: Paper) -> None:
    stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    async for _ in stream:
        break
    await stream.close()
    (record,) = tracked.records
    assert (record.provenance, record.metadata["cancelled"]) == ("estimated", True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_transcription_is_recorded_as_aimock_bills_it(
    client: openai.AsyncOpenAI, tracked: Paper, stream: bool
) -> None:
    answer: Any = await client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("speech.wav", wav(2.0)), stream=stream
    )
    usage = [event async for event in answer][-1].usage if stream else answer.usage
    assert usage.input_tokens == TOKENS["input_tokens"]
    (record,) = tracked.records
    assert record.provenance == "reported"
    assert record.units == {"input_audio": 21, "input_text": 2, "output_text": 5}


async def test_what_livekits_ear_asks_is_recorded_as_aimock_bills_it(address: str, tracked: Paper) -> None:
    """LiveKit itself tells nothing of it."""
    ear = plugin.STT(model="gpt-4o-transcribe", base_url=address, api_key="not-a-key")
    heard = await ear.recognize([rtc.AudioFrame(bytes(32_000), 16_000, 1, 16_000)] * 2)
    await ear.aclose()
    assert heard.alternatives[0].text == "Good morning."
    (record,) = tracked.records
    assert record.provenance == "reported"
    assert record.units == {"input_audio": 21, "input_text": 2, "output_text": 5}


async def test_a_transcription_by_seconds_is_recorded_as_aimock_bills_it(
    client: openai.AsyncOpenAI, tracked: Paper
) -> None:
    await client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", wav(2.2)))
    (record,) = tracked.records
    assert (record.provenance, record.units) == ("reported", {"audio_ms": 2000})
