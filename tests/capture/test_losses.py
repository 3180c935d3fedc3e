"""What LiveKit loses of the bill, case by case, and we count: the names are those of the table of losses.

Each case is held by real components and real clients against a provider with its own bill; and once more with its
capture taken out, to see that it is this capture that counts it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai as sdk
import pytest
from livekit import rtc
from livekit.agents import Agent, function_tool, llm
from livekit.plugins import openai

from livekit_tokens.capture.wire import watch
from livekit_tokens.core import vocabulary
from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.calls import NO_WAIT, Call, Greeter, Listener, recovered
from tests.capture.pipeline import Script
from tests.capture.wire.provider import Provider
from tests.waiting import until

Case = Callable[[Provider], Awaitable[list[UsageRecord]]]


@pytest.fixture(scope="module", autouse=True)
def _vocabulary() -> None:
    """As in a job process."""
    vocabulary.load("o200k")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().running() as provider:
        yield provider


def model(provider: Provider, name: str = "gpt-4.1") -> llm.LLM:
    return openai.LLM(model=name, base_url=provider.base_url, api_key="not-a-key")


def tokens(records: list[UsageRecord]) -> list[tuple[str, int, int]]:
    return [(record.model, input_tokens(record.units), output_tokens(record.units)) for record in records]


async def calling(provider: Provider, answers: llm.LLM, agent: Agent | None = None) -> Call:
    call = Call(llm=answers)
    call.session.output.audio = None
    call.session.conn_options.llm_conn_options = NO_WAIT
    return await call.start(agent or Greeter())


async def cut_off(provider: Provider, words: int, **knobs: object) -> list[UsageRecord]:
    """One whole reply, and one that is interrupted when so many words of it have been read."""
    listener = Listener()
    call = await calling(provider, model(provider), listener)
    await call.say()
    listener.read = ""
    for name, value in knobs.items():
        setattr(provider, name, value)
    handle = call.session.generate_reply(user_input="Go on.")
    await until(lambda: provider.asked == 2 and len(listener.read.split()) == words)
    await handle.interrupt(force=True)
    await call.end()
    return call.records


async def l1_cancelled_in_the_middle(provider: Provider) -> list[UsageRecord]:
    return await cut_off(provider, 4, quiet_after=4)


async def test_l1_a_stream_cancelled_before_its_figures_is_estimated(provider: Provider) -> None:
    """The prompt by the last bill, the output by what had come."""
    _, cut = await l1_cancelled_in_the_middle(provider)
    assert cut.provenance == "estimated"
    assert input_tokens(cut.units) == pytest.approx(provider.bill[1].input, rel=0.15)
    assert 0 < output_tokens(cut.units) <= provider.bill[1].output


async def l2_cancelled_before_any_chunk(provider: Provider) -> list[UsageRecord]:
    return await cut_off(provider, 0, hesitation=60.0)


async def test_l2_a_stream_cancelled_before_any_chunk_is_estimated(provider: Provider) -> None:
    _, cut = await l2_cancelled_before_any_chunk(provider)
    assert (cut.provenance, cut.low) == ("estimated", {})
    assert input_tokens(cut.units) == pytest.approx(provider.bill[1].input, rel=0.15)


async def l3_broken_in_the_middle_and_retried(provider: Provider) -> list[UsageRecord]:
    call = await calling(provider, model(provider))
    await call.say()
    provider.breaks, provider.whole = 1, 1  # once there are words LiveKit does not try again
    await call.say()
    await call.end()
    return call.records


async def test_l3_an_attempt_that_breaks_is_estimated_beside_its_retry(provider: Provider) -> None:
    _, broken, retried = await l3_broken_in_the_middle_and_retried(provider)
    assert (broken.success, broken.provenance, retried.provenance) == (False, "estimated", "reported")
    assert input_tokens(broken.units) == pytest.approx(provider.bill[1].input, rel=0.15)
    assert tokens([retried]) == [("gpt-4.1", provider.bill[2].input, provider.bill[2].output)]


async def l7_transcriptions_over_http(provider: Provider) -> list[UsageRecord]:
    call = Call(stt=openai.STT(model="gpt-4o-transcribe", base_url=provider.base_url, api_key="not-a-key"))
    ear: Any = call.session.stt
    for name in ("gpt-4o-transcribe", "whisper-1"):
        ear.update_options(model=name)
        await ear.recognize([rtc.AudioFrame(bytes(32_000), 16_000, 1, 16_000)] * 2)
    await call.end()
    return call.records


async def test_l7_the_usage_of_a_transcription_over_http_is_read(provider: Provider) -> None:
    by_tokens, by_seconds = await l7_transcriptions_over_http(provider)
    assert (by_tokens.units, by_tokens.provenance) == ({"input_audio": 20, "output_text": 8}, "reported")
    assert (by_seconds.units, by_seconds.provenance) == ({"audio_ms": 2000}, "reported")
    assert by_seconds.informational == {"input_audio": 20, "output_text": 10}
    assert {by_tokens.service, by_seconds.service} == {"transcriber"}


class Librarian(Agent):
    """Looks things up by clients of its own, also in a task of its own."""

    def __init__(self, client: sdk.AsyncOpenAI, **own: Any) -> None:
        super().__init__(instructions="Help.", **own)
        self._client = client

    @function_tool
    async def look_up(self) -> str:
        """Look something up."""
        embed = self._client.embeddings.create(model="text-embedding-3-small", input="one two three")
        await asyncio.create_task(embed)
        answer = await self._client.chat.completions.create(
            model="gpt-4.1-nano", messages=[{"role": "user", "content": "Summarize."}]
        )
        return answer.choices[0].message.content or ""


async def l9_calls_of_tools(provider: Provider) -> list[UsageRecord]:
    async with sdk.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
        call = await calling(provider, Script("call look_up", "Here it is."), Librarian(client))
        await call.say()
        await call.end()
    return [record for record in call.records if record.model != "script-1"]


async def test_l9_what_a_tool_asks_by_its_own_client_is_counted(provider: Provider) -> None:
    records = await l9_calls_of_tools(provider)
    assert tokens(records) == [(entry.model, entry.input, entry.output) for entry in provider.bill]
    assert {(record.service, record.agent) for record in records} == {("tool", "librarian")}
    assert [record.operation for record in records] == ["embedding", "chat_completion"]


async def l10_retries_and_fallbacks(provider: Provider) -> list[UsageRecord]:
    async with sdk.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key", max_retries=1) as client:
        first = openai.LLM(model="gpt-4.1", client=client)
        adapter = llm.FallbackAdapter([first, model(provider, "gpt-4.1-mini")])
        call, again = await calling(provider, adapter), recovered(adapter)
        provider.refusals = 2
        await call.say()
        await again  # the adapter tries, beside the call, whether the first one has recovered
        await call.end()
    return call.records


async def test_l10_each_attempt_of_retries_and_fallbacks_is_counted_once(provider: Provider) -> None:
    """Two refusals of the first, by the client's own retry; then the second one's answer, and the first's recovery."""
    records = await l10_retries_and_fallbacks(provider)
    refused = [record for record in records if not record.success]
    assert [(record.model, record.metadata["status_code"]) for record in refused] == [("gpt-4.1", 500)] * 2
    answered = [record for record in records if record.success]
    assert sorted(tokens(answered)) == sorted((entry.model, entry.input, entry.output) for entry in provider.bill)
    assert {record.model for record in answered} == {"gpt-4.1", "gpt-4.1-mini"}


CUT, BROKEN = (True, "estimated", "input_text"), (False, "estimated", "input_text")


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (l1_cancelled_in_the_middle, [CUT]),
        (l2_cancelled_before_any_chunk, [CUT]),
        (l3_broken_in_the_middle_and_retried, [BROKEN]),
        (l7_transcriptions_over_http, [(True, "reported", "input_audio")]),
        (l9_calls_of_tools, [(True, "reported", "cached_input_text"), (True, "reported", "input_text")]),
        (l10_retries_and_fallbacks, [(False, "reported", "")] * 2),
    ],
)
async def test_without_the_wire_each_of_them_is_lost(
    case: Case, lost: list[tuple[bool, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would show nothing. What LiveKit tells of them instead says less, and is no more."""
    async with Provider().running() as provider:
        with_it = seen(await case(provider))
    watch.uninstall()
    monkeypatch.setattr(watch, "install", lambda: None)
    async with Provider().running() as provider:
        without = seen(await case(provider))
    assert with_it - without == Counter(lost)
    assert without.total() <= with_it.total()


def seen(records: list[UsageRecord]) -> Counter[tuple[bool, str, str]]:
    """By success, provenance, and the first of their units."""
    return Counter((record.success, record.provenance, min(record.units, default="")) for record in records)
