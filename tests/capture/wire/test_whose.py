"""Several who spend in one process: each gets its own records; who is not tracked gets none."""

from __future__ import annotations

import asyncio
import multiprocessing
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import openai
import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.spending import Payer, Spender, Spending
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.capture.writing import ClosedPart
from livekit_tokens.runtime import new_key, now
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS

STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}


async def ask(client: openai.AsyncOpenAI, model: str, turns: int) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}] * turns
    async for _ in await client.chat.completions.create(model=model, messages=messages, **STREAM):
        await asyncio.sleep(0)


async def test_two_calls_and_an_unrelated_app_share_a_process_and_a_client(provider: Provider) -> None:
    """At once, by the same client: the calls' requests are theirs, the app's nobody's."""
    first, second = Paper("1" * 32), Paper("2" * 32)

    async def call(paper: Paper, model: str, turns: int) -> None:
        spending.spend(Spending(Payer(lambda: paper), "greeter"))  # as long as this task lasts
        for _ in range(3):
            await ask(client, model, turns)

    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:

        async def app() -> None:
            for _ in range(3):
                await ask(client, "gpt-4.1-nano", 5)

        await asyncio.gather(call(first, "gpt-4o", 1), app(), call(second, "gpt-4o-mini", 2))
    assert len(provider.bill) == 9
    assert [(record.model, record.metadata["messages_count"]) for record in first.records] == [("gpt-4o", 1)] * 3
    assert [(record.model, record.metadata["messages_count"]) for record in second.records] == [("gpt-4o-mini", 2)] * 3


ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("jobs", [[], ["job_1"], ["job_1", "job_2"]])
@pytest.mark.parametrize("own_process", [True, False])
async def test_a_request_in_a_thread_without_a_context_is_the_calls_in_its_jobs_own_process(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, jobs: list[str], own_process: bool
) -> None:
    """`loop.run_in_executor` hands no context on. Anywhere else it may be somebody else's."""
    monkeypatch.setattr(spending, "_payers", WeakSet())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "LiveKit's" if own_process else None)
    papers, payers = working(jobs)
    client = openai.OpenAI(base_url=provider.base_url, api_key="not-a-key")
    await asyncio.get_running_loop().run_in_executor(None, lambda: client.chat.completions.create(**ASKED))
    assert [len(paper.records) for paper in papers] == [int(own_process and len(jobs) == 1)] * len(jobs)
    assert len(payers) == len(jobs)


async def test_a_metered_client_in_such_a_thread_has_its_own_payer(
    provider: Provider, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "_payers", WeakSet())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "LiveKit's")
    (call,), payers = working(["job_1"])
    client = openai.OpenAI(base_url=provider.base_url, api_key="not-a-key")
    metered = watch.meter(client, lambda: Spender(paper, None, None))
    await asyncio.get_running_loop().run_in_executor(None, lambda: metered.chat.completions.create(**ASKED))
    assert (len(paper.records), call.written) == (1, [])
    assert len(payers) == 1


def working(jobs: list[str]) -> tuple[list[Paper], list[Payer]]:
    """A call in each of these jobs, and what holds it."""
    papers = [Paper() for _ in jobs]
    for paper, job in zip(papers, jobs, strict=True):
        paper.part = replace(paper.part, job=job)
    return papers, [Payer(lambda paper=paper: paper) for paper in papers]


async def test_a_metered_client_of_nobodys_is_not_a_calls_that_goes_on_beside_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is, is asked where no loop runs; but the request was made in one."""
    monkeypatch.setattr(spending, "_payers", WeakSet())
    call, told = Paper(), []
    call.part = replace(call.part, job="job_1")
    payer = Payer(lambda: call)
    by_hand = ByHand(lambda: process)
    process = Process.of_nobody(now, new_key)
    monkeypatch.setattr(ClosedPart, "write", lambda *given: told.append(given[1]) or 1)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        metered = watch.meter(client, by_hand.spender)
        await metered.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)
    assert (len(told), call.written) == (1, [])
    assert payer.job == "job_1"
