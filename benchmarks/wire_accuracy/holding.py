"""One account: real clients at one provider, request after request; and what we recorded of each."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import openai
from livekit.agents import APIError, function_tool, inference, llm
from livekit.agents.utils import http_context
from livekit.plugins import openai as plugin

from benchmarks.wire_accuracy.provider import Billed, Provider, Ways
from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now

if TYPE_CHECKING:
    from benchmarks.wire_accuracy.talking import Talk


class Odd(NamedTuple):
    """A request that did not come to its end: of which kind, and by what."""

    kind: str
    error: Exception

    def __str__(self) -> str:
        """With the line that it waited at, where it was given up."""
        name = f"{self.kind} ({type(self.error).__name__})"
        waited = traceback.extract_tb(getattr(self.error.__cause__, "__traceback__", None))
        at = [frame.line for frame in waited if Path(frame.filename).parent == Path(__file__).parent]
        return f"{name} at {at[-1]}" if at else name


class Pair(NamedTuple):
    """A request of the bill, what was done with it, and our record of it; `billed` None if we made it up."""

    kind: str
    billed: Billed | None
    record: UsageRecord | None


GIVE_UP_SECONDS = 15
"""That one request takes at most: an account whose client waits for what never comes goes on; it is counted."""
Kind = Callable[["Account"], Awaitable[str | None]]
"""A request of a kind, from beginning to end; answers what it is to be called, where it was none of that kind."""


@dataclass
class Account:
    """One account at one provider, in one tracked session."""

    provider: Provider
    chance: random.Random
    live: LivePart
    recorder: Recorder
    records: list[UsageRecord]
    sdk: openai.AsyncOpenAI
    chat: llm.LLM
    inference: llm.LLM
    responses: llm.LLM
    history: llm.ChatContext
    pairs: list[Pair]
    closing: list[Callable[[], Awaitable[None]]]
    odd: list[Odd] = field(default_factory=list)
    talk: Talk | None = None

    async def do(self, kind: str, request: Kind) -> None:
        """One request of a kind, and its record beside its bill."""
        before = len(self.records)
        billed = len(self.provider.bill)
        self.provider.told, self.provider.breaks_at = True, None
        self.provider.arrived.clear()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                kind = await request(self) or kind
        except (TimeoutError, openai.OpenAIError, APIError) as error:
            self.odd.append(Odd(kind, error))
        await asyncio.sleep(4 * self.provider.ways.latency + 0.05)  # until the provider has learned of it
        await self._settled(before, billed)
        new = self.records[before:]
        for number, entry in enumerate(self.provider.bill[billed:]):
            self.pairs.append(Pair(kind, entry, new[number] if number < len(new) else None))
        self.pairs += [Pair(kind, None, record) for record in new[len(self.provider.bill) - billed :]]

    async def _settled(self, before: int, billed: int) -> None:
        """Until there is a record of each request; of one that is listened on to its end, seconds later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                while len(self.records) - before < len(self.provider.bill) - billed:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    def sentence(self, words: int = 1) -> str:
        return " ".join(self.chance.choices(self.provider.sentences, k=words))

    def turn(self) -> llm.ChatContext:
        self.history.add_message(role="user", content=self.sentence(self.chance.randint(1, 3)))
        return self.history.copy()

    async def cut_at(self, doing: Awaitable[Any], earliest: float, latest: float) -> None:
        """Cancel it at a moment after the provider has taken it up."""
        task = await self.under_way(doing)
        await asyncio.sleep(self.chance.uniform(earliest, latest))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def under_way(self, doing: Awaitable[Any]) -> asyncio.Future[Any]:
        """It is doing, and the provider has taken it up."""
        task, arrived = asyncio.ensure_future(doing), asyncio.ensure_future(self.provider.arrived.wait())
        await asyncio.wait({task, arrived}, return_when=asyncio.FIRST_COMPLETED)
        if not arrived.done():
            arrived.cancel()
            await task  # which has failed
        return task

    @property
    def to_first(self) -> float:
        """From its arrival at the provider until the first token is here."""
        return self.provider.ways.thinking + 2 * self.provider.ways.latency

    async def listen(self, model: llm.LLM) -> None:
        async with model.chat(chat_ctx=self.turn(), tools=TOOLS) as stream:
            said = [chunk.delta.content async for chunk in stream if chunk.delta and chunk.delta.content]
        self.history.add_message(role="assistant", content="".join(said))


@function_tool
async def look_up(day: str, branch: int) -> str:
    """Look up whether an appointment is free on a day in one of the branches of the practice."""
    return f"{day} {branch}"


TOOLS: list[llm.Tool] = [look_up]


async def hold(
    ways: Ways,
    seed: int,
    requests: list[tuple[str, Kind]],
    sentences: list[str],
    folder: Path,
    *,
    done: Callable[[], None],
) -> Account:
    """One account's requests, one after the other; `done` hears of each."""

    async def flush(_: float) -> bool:
        return True

    provider, chance = Provider(ways, seed, sentences), random.Random(seed)
    records: list[UsageRecord] = []
    async with provider.running(), http_context.open():
        recorder = Recorder(folder, Source(f"account-{seed}", "bench", 1, now()), now)
        process = Process(recorder, flush, now, new_key)
        part = Part(new_key(), f"room_{seed}", now())
        live = LivePart(part, process, agent=lambda: "greeter", on_usage=records.append)
        spending.spend(Spending(Payer(lambda: live), "greeter"))
        place: Any = {"base_url": provider.base_url, "api_key": "none"}
        account = Account(
            provider,
            chance,
            live,
            recorder,
            records,
            openai.AsyncOpenAI(**place, max_retries=0),
            plugin.LLM(model="gpt-4.1", **place),
            inference.LLM("openai/gpt-4.1-mini", **place, api_secret="x" * 32),
            plugin.responses.LLM(model="gpt-4.1", base_url=f"{provider.base_url}/responses", api_key="none"),
            llm.ChatContext(),
            [],
            [],
        )
        account.history.add_message(role="system", content=account.sentence(40))
        for kind, request in requests:
            await account.do(kind, request)
            done()
        for close in account.closing:
            await close()
        for component in (account.chat, account.inference, account.responses):
            await component.aclose()
        await account.sdk.close()
    return account
