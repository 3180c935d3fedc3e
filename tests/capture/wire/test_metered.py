"""`metered`: every call of that client is recorded, wherever it is made; no other client's is."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import openai
import pytest

from livekit_tokens import metered
from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Payer, Spender, Spending
from livekit_tokens.capture.wire import watch
from livekit_tokens.domain.errors import BadSetting
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def meter(client: Any, paper: Paper) -> Any:
    """Metered, with this paper for what belongs to no session."""
    return watch.meter(client, lambda: Spender(paper, None, None))


async def test_a_metered_client_is_recorded_outside_of_any_session(provider: Provider, paper: Paper) -> None:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        assert meter(client, paper) is client
        await client.chat.completions.create(**ASKED)
    (record,) = paper.records
    assert (record.units, record.service) == ({"input_text": 4, "cached_input_text": 3, "output_text": 8}, "tool")


async def test_a_client_that_blocks_can_be_metered(provider: Provider, paper: Paper) -> None:
    client = meter(openai.OpenAI(base_url=provider.base_url, api_key="not-a-key"), paper)
    await asyncio.to_thread(client.chat.completions.create, **ASKED)
    assert len(paper.records) == 1


async def test_azures_clients_can_be_metered(provider: Provider, paper: Paper) -> None:
    place = provider.base_url.removesuffix("/v1")
    options: Any = {"azure_endpoint": place, "api_version": "2025-01-01", "api_key": "not-a-key"}
    await asyncio.to_thread(meter(openai.AzureOpenAI(**options), paper).chat.completions.create, **ASKED)
    async with openai.AsyncAzureOpenAI(**options) as client:
        await meter(client, paper).chat.completions.create(**ASKED)
    assert len(paper.records) == len(provider.bill) == 2


async def test_within_a_session_it_spends_that_sessions_money(provider: Provider, paper: Paper) -> None:
    """As any client does there; each call once."""
    session = Paper("1" * 32)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        meter(client, paper)
        spending.spend(Spending(Payer(lambda: session)))
        await client.chat.completions.create(**ASKED)
        spending.spend(None)
        await client.chat.completions.create(**ASKED)
    assert (len(session.records), len(paper.records)) == (1, 1)


async def test_metering_twice_counts_once(provider: Provider, paper: Paper) -> None:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        await meter(meter(client, paper), paper).chat.completions.create(**ASKED)
    assert len(paper.records) == 1


async def test_its_copies_and_the_resources_that_it_had_are_metered_too(provider: Provider, paper: Paper) -> None:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        completions = client.chat.completions
        meter(client, paper)
        await completions.create(**ASKED)
        await client.with_options(timeout=60).copy().chat.completions.create(**ASKED)
        async with client.chat.completions.with_streaming_response.create(**ASKED) as response:
            await response.read()
    assert len(paper.records) == 3


async def test_other_clients_are_not_recorded(provider: Provider, paper: Paper) -> None:
    """Not even one that shares its HTTP client."""
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as other:
        other_client = openai.AsyncOpenAI(base_url=provider.base_url, api_key="x", http_client=other._client)
        meter(openai.AsyncOpenAI(base_url=provider.base_url, api_key="x", http_client=other._client), paper)
        await other.chat.completions.create(**ASKED)
        await other_client.chat.completions.create(**ASKED)
    assert paper.records == []


def test_what_is_no_client_is_refused_in_one_line() -> None:
    with pytest.raises(BadSetting, match=r"metered\(\) was given a dict; expected a client of the openai package"):
        metered({})


async def test_two_sessions_and_an_app_in_one_process_each_get_their_own(provider: Provider) -> None:
    """One provider, one client, three who use it at once, one of them in threads: nothing goes astray."""
    one, two = Paper("1" * 32), Paper("2" * 32)
    one.part = replace(one.part, job="job_1")  # the only one that a thread's request could be taken for
    app: list[str | None] = []

    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:

        async def ask(model: str) -> None:
            stream = await client.chat.completions.create(
                **ASKED | {"model": model}, stream=True, stream_options={"include_usage": True}
            )
            async for _ in stream:
                await asyncio.sleep(0)

        async def session(paper: Paper, model: str) -> None:
            spending.spend(Spending(Payer(lambda: paper)))
            await asyncio.gather(*(ask(model) for _ in range(20)))

        def web() -> None:
            blocking = openai.OpenAI(base_url=provider.base_url, api_key="not-a-key")
            app.extend(blocking.chat.completions.create(**ASKED).choices[0].message.content for _ in range(20))

        thread = threading.Thread(target=web)
        thread.start()
        await asyncio.gather(
            asyncio.create_task(session(one, "gpt-4.1")), asyncio.create_task(session(two, "gpt-4.1-mini"))
        )
        await asyncio.to_thread(thread.join)
    assert app == [provider.answer] * 20
    for paper, model in ((one, "gpt-4.1"), (two, "gpt-4.1-mini")):
        assert [record.model for record in paper.records] == [model] * 20
        assert {record.provenance for record in paper.records} == {"reported"}
        assert not paper.pending
    assert len(provider.bill) == 60


@pytest.mark.parametrize("name", ["responses", "realtime"])
async def test_a_socket_that_is_not_seen_is_recorded_as_unknown(paper: Paper, name: str) -> None:
    """Of the `websockets` library: billed, and not understood."""
    async with openai.AsyncOpenAI(base_url="https://api.openai.com/v1", api_key="not-a-key") as client:
        asked = {"model": "gpt-realtime"} if name == "realtime" else {}
        getattr(client, name).connect(**asked)
        before = getattr(client, name)
        meter(client, paper)
        assert getattr(client, name) is before
        getattr(client, name).connect(**asked)
        getattr(client.with_options(timeout=5), name).connect(**asked)
    assert [(record.units, record.provenance, record.provider) for record in paper.records] == [
        ({}, "unknown", "openai")
    ] * 2
    assert {record.model for record in paper.records} == {asked.get("model", "unknown")}
    assert paper.records[0].metadata == {"connection": "websockets"}
    assert isinstance(client, openai.AsyncOpenAI)
