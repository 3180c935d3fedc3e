"""What is asked of a provider over HTTP, and of its socket for responses: whole, or cut at a moment that is drawn."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from livekit.plugins import openai as plugin

from livekit_tokens.capture.wire import counting
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.remains import read_remains

if TYPE_CHECKING:
    from benchmarks.wire_accuracy.holding import Account, Kind

KINDS: dict[str, Kind] = {}
"""What can be done."""
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
"""What comes to its end, with the provider's figures; each is asked once before anything is cut."""
FIGURES_FOLLOW = ("responses socket cancelled",)
"""What is cut, and still brings its figures."""
NO_SIGN = "no sign"
"""What was billed, and cut before anything that says so had reached the client."""
TIMES = {"preemptive generation": 2, "chat killed": 2, "realtime transcription cut": 2}
"""How often a kind is done in one round: many of these come to their end, or show no sign, before they are cut."""


def kind(name: str) -> Callable[[Kind], Kind]:
    def put(request: Kind) -> Kind:
        KINDS[name] = request
        return request

    return put


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
    task = await account.under_way(account.listen(account.chat))
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


@kind("responses socket closed")
async def _responses_closed(account: Account) -> None:
    """Cut, and its socket is closed at once: nobody listens on."""
    model = plugin.responses.LLM(model="gpt-4.1", base_url=f"{account.provider.base_url}/responses", api_key="none")
    await account.cut_at(account.listen(model), account.to_first, account.to_first + 0.7)
    await model.aclose()


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
