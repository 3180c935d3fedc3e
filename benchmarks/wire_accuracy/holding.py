"""One account's requests: real clients, each request whole or cut at a moment that is drawn; and what we recorded."""

from __future__ import annotations

import asyncio
import random
import wave
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import openai
from livekit.agents import function_tool, inference, llm
from livekit.agents.utils import http_context
from livekit.plugins import openai as plugin

from benchmarks.wire_accuracy.provider import Billed, Provider, Ways
from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import counting
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.remains import read_remains
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now

if TYPE_CHECKING:
    from benchmarks.wire_accuracy.talking import Talk


class Pair(NamedTuple):
    """A request of the bill, what was done with it, and our record of it; `billed` None if we made it up."""

    kind: str
    billed: Billed | None
    record: UsageRecord | None


GIVE_UP_SECONDS = 15
"""That one request takes at most; what LiveKit has dropped without a word never comes."""
KINDS: dict[str, Callable[[Account], Awaitable[None]]] = {}
"""What can be done: a request of the kind, from beginning to end."""
WHOLE = (
    "chat",
    "chat in a tool",
    "inference",
    "responses socket",
    "transcription",
    "realtime transcription",
    "speech",
    "embedding",
)
"""What comes to its end, with the provider's figures."""


def kind(name: str) -> Callable[[Callable[[Account], Awaitable[None]]], Callable[[Account], Awaitable[None]]]:
    def put(do: Callable[[Account], Awaitable[None]]) -> Callable[[Account], Awaitable[None]]:
        KINDS[name] = do
        return do

    return put


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
    talk: Talk | None = None

    async def do(self, kind: str) -> None:
        """One request of a kind, and its record beside its bill."""
        before = len(self.records)
        billed = len(self.provider.bill)
        self.provider.told, self.provider.breaks_at = True, None
        self.provider.arrived.clear()
        with suppress(openai.OpenAIError, Exception):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await KINDS[kind](self)
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
        task = asyncio.ensure_future(doing)
        await self.provider.arrived.wait()
        await asyncio.sleep(self.chance.uniform(earliest, latest))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

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


@kind("chat")
async def _chat(account: Account) -> None:
    await account.listen(account.chat)


@kind("chat cancelled")
async def _chat_cancelled(account: Account) -> None:
    await account.cut_at(account.listen(account.chat), account.to_first, account.to_first + 0.7)


@kind("chat cancelled early")
async def _chat_cancelled_early(account: Account) -> None:
    await account.cut_at(account.listen(account.chat), 0.0, account.to_first * 0.8)


@kind("chat broken")
async def _chat_broken(account: Account) -> None:
    account.provider.breaks_at = account.chance.randint(2, 30)
    await account.listen(account.chat)


@kind("chat killed")
async def _chat_killed(account: Account) -> None:
    """The process is gone; what its spool says is all there is."""
    task = asyncio.ensure_future(account.listen(account.chat))
    await account.provider.arrived.wait()
    await asyncio.sleep(account.chance.uniform(account.to_first, account.to_first + 0.7))
    remains = await read_remains(account.recorder.folder)
    left = [estimated(pend, remains.progress.get(pend.id)) for pend in remains.pending.values()]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await counting.settled(account.live.part.key, 5.0)
    await asyncio.sleep(0)
    if left and account.records:
        account.records[-1] = left[-1]


@kind("chat in a tool")
async def _sdk(account: Account) -> None:
    await _all(account, {"stream_options": {"include_usage": True}})


@kind("chat without usage")
async def _without_usage(account: Account) -> None:
    await _all(account, {})


async def _all(account: Account, options: dict[str, Any]) -> None:
    messages: Any = [{"role": "user", "content": account.sentence(4)}]
    stream: Any = await account.sdk.chat.completions.create(
        model="gpt-4.1-mini", messages=messages, stream=True, **options
    )
    async for _ in stream:
        pass


@kind("inference")
async def _inference(account: Account) -> None:
    await account.listen(account.inference)


@kind("inference cancelled")
async def _inference_cancelled(account: Account) -> None:
    await account.cut_at(account.listen(account.inference), account.to_first, account.to_first + 0.7)


@kind("responses socket")
async def _responses(account: Account) -> None:
    await account.listen(account.responses)


@kind("responses socket cancelled")
async def _responses_cancelled(account: Account) -> None:
    await account.cut_at(account.listen(account.responses), account.to_first, account.to_first + 0.7)


@kind("transcription")
async def _transcription(account: Account) -> None:
    await _transcribe(account)


@kind("transcription without usage")
async def _transcription_without_usage(account: Account) -> None:
    account.provider.told = False
    await _transcribe(account)


@kind("transcription cancelled")
async def _transcription_cancelled(account: Account) -> None:
    await account.cut_at(_transcribe(account), 0.0, account.provider.ways.thinking * 0.8)


async def _transcribe(account: Account) -> None:
    model = account.chance.choice(["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"])
    sound = _wav(account.chance.uniform(0.6, 8.0))
    await account.sdk.audio.transcriptions.create(model=model, file=("speech.wav", sound))


@kind("speech")
async def _speech(account: Account) -> None:
    await _speak(account)


@kind("speech cancelled")
async def _speech_cancelled(account: Account) -> None:
    await account.cut_at(_speak(account), account.to_first, account.to_first + 1.0)


async def _speak(account: Account) -> None:
    async with account.sdk.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="ash",
        input=account.sentence(2),
        response_format="pcm",
        stream_format="sse",
    ) as response:
        async for _ in response.iter_bytes():
            pass


@kind("embedding")
async def _embedding(account: Account) -> None:
    await _embed(account)


@kind("embedding cancelled")
async def _embedding_cancelled(account: Account) -> None:
    await account.cut_at(_embed(account), 0.0, account.provider.ways.thinking)


async def _embed(account: Account) -> None:
    texts = [account.sentence(account.chance.randint(1, 4)) for _ in range(account.chance.randint(1, 5))]
    await account.sdk.embeddings.create(model="text-embedding-3-small", input=texts)


def _wav(seconds: float, rate: int = 16_000) -> bytes:
    made = BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(round(seconds * rate) * 2))
    return made.getvalue()


async def hold(
    ways: Ways, seed: int, kinds: list[str], sentences: list[str], folder: Path, *, done: Callable[[], None]
) -> list[Pair]:
    """One account's requests of these kinds, one after the other, in an order that is drawn; `done` hears of each."""

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
        warm = [kind for kind in WHOLE if kind in kinds]
        chance.shuffle(kinds)
        for kind in [*warm, *kinds]:
            await account.do(kind)
            done()
        for close in account.closing:
            await close()
        for component in (account.chat, account.inference, account.responses):
            await component.aclose()
        await account.sdk.close()
    return account.pairs
