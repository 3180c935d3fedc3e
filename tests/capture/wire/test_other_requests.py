"""What a client asks beside chats, responses, audio and embeddings: recorded by its figures, or as unknown."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from livekit_tokens.domain.usage import UsageRecord
from tests.capture.wire.conftest import Paper

COMPLETION: dict[str, Any] = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "babbage-002"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
IMAGE_USAGE = {"input_tokens": 9, "output_tokens": 4160, "total_tokens": 4169}


class Memory(httpx2.AsyncBaseTransport):
    """Answers what is asked at one path; leaves the request unread, as one that sends it."""

    def __init__(self, *answer: dict[str, Any], path: str, streamed: bool) -> None:
        self._answer, self._path, self._streamed = answer, path, streamed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == self._path
        if not self._streamed:
            return httpx2.Response(200, json=self._answer[0])
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in self._answer)
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})


def client_of(*answer: dict[str, Any], path: str, streamed: bool = False) -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(transport=Memory(*answer, path=path, streamed=streamed))
    return openai.AsyncOpenAI(api_key="not-a-key", http_client=http)


def only(paper: Paper) -> UsageRecord:
    (record,) = paper.records
    assert not paper.pending
    return record


async def test_a_completion_that_is_no_chat_is_recorded_by_its_figures(tracked: Paper) -> None:
    answer = COMPLETION | {"choices": [{"text": "one two", "index": 0}], "usage": USAGE}
    async with client_of(answer, path="/v1/completions") as client:
        await client.completions.create(model="babbage-002", prompt="Count to two:")
    record = only(tracked)
    assert (record.units, record.provenance) == ({"input_text": 5, "output_text": 7}, "reported")
    assert (record.operation, record.model, record.request_id) == ("text_generation", "babbage-002", "cmpl-1")


async def test_of_one_that_tells_no_figures_its_texts_are_counted(tracked: Paper) -> None:
    events = [COMPLETION | {"choices": [{"text": text, "index": 0}]} for text in ("one", " two")]
    async with client_of(*events, path="/v1/completions", streamed=True) as client:
        async for _ in await client.completions.create(model="babbage-002", prompt="Count to two:", stream=True):
            pass
    record = only(tracked)
    assert (record.units, record.provenance) == ({"input_text": 4, "output_text": 2}, "estimated")


async def test_a_conversation_that_is_compacted_is_recorded_by_its_figures(tracked: Paper) -> None:
    usage: dict[str, Any] = {"input_tokens": 900, "output_tokens": 80, "total_tokens": 980}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    answer = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": []}
    async with client_of(answer | {"usage": usage}, path="/v1/responses/compact") as client:
        await client.responses.compact(model="gpt-5.1", input="A long conversation.")
    record = only(tracked)
    assert (record.units, record.operation) == ({"input_text": 900, "output_text": 80}, "compaction")


@pytest.mark.parametrize("edited", [False, True])
async def test_pictures_are_recorded_as_unknown_with_their_figures_beside(tracked: Paper, edited: bool) -> None:
    """They are billed by tokens for which there is no unit: nothing is made up, and nothing goes by unseen."""
    answer = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": IMAGE_USAGE}
    path = "/v1/images/edits" if edited else "/v1/images/generations"
    async with client_of(answer, path=path) as client:
        if edited:
            await client.images.edit(model="gpt-image-1", prompt="a cat", image=("cat.png", b"\x89PNG", "image/png"))
        else:
            await client.images.generate(model="gpt-image-1", prompt="a cat")
    record = only(tracked)
    assert (record.units, record.provenance, record.operation) == ({}, "unknown", "image_generation")
    assert record.model == "gpt-image-1"
    assert record.metadata == {"input_tokens": 9, "output_tokens": 4160}


async def test_pictures_of_no_named_model_and_without_figures_are_unknown(tracked: Paper) -> None:
    async with client_of({"created": 1, "data": [{"url": "x"}]}, path="/v1/images/generations") as client:
        await client.images.generate(prompt="a cat")
    record = only(tracked)
    assert (record.units, record.provenance, record.model) == ({}, "unknown", "unknown")


async def test_a_form_that_a_hook_of_the_hosts_has_read_is_told_by_its_answer(tracked: Paper) -> None:
    """It is no longer there by its fields."""

    async def read(request: httpx2.Request) -> None:
        await request.aread()

    answer = {
        "text": "one two",
        "usage": {"type": "tokens", "input_tokens": 20, "output_tokens": 2, "total_tokens": 22},
    }
    transport = Memory(answer, path="/v1/audio/transcriptions", streamed=False)
    http = httpx2.AsyncClient(transport=transport, event_hooks={"request": [read]})
    async with openai.AsyncOpenAI(api_key="not-a-key", http_client=http) as client:
        await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("speech.wav", b"RIFF"))
    assert only(tracked).units == {"input_audio": 20, "output_text": 2}
