"""Components that a host has written around the openai client: LiveKit knows neither their model nor their provider."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from livekit import rtc
from livekit.agents import llm, stt, tts
from livekit.agents.llm import ChatChunk, ChoiceDelta, CompletionUsage
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

from livekit_tokens.capture.wire import counting
from tests.waiting import PATIENCE_SECONDS

HELLO: Any = [{"role": "user", "content": "Hello there, how are you?"}]
STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}


class OwnMind(llm.LLM):
    """`provider` is LiveKit's default, unless its host has named one."""

    def __init__(self, client: openai.AsyncOpenAI, provider: str = "unknown", asks: str = "gpt-4.1") -> None:
        super().__init__()
        self.client, self.asks, self._provider = client, asks, provider

    @property
    def provider(self) -> str:
        return self._provider

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _OwnAnswer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _OwnAnswer(llm.LLMStream):
    async def _run(self) -> None:
        own: Any = self._llm
        try:
            async for chunk in await own.client.chat.completions.create(model=own.asks, messages=HELLO, **STREAM):
                self._event_ch.send_nowait(_heard(chunk))
        except openai.APIStatusError as error:
            raise llm_error(error) from error


class RoutedMind(OwnMind):
    """Asks OpenAI which way to go, and then a model of another's, whose usage it tells."""

    TOLD: CompletionUsage = CompletionUsage(prompt_tokens=100_000, completion_tokens=5_000, total_tokens=105_000)

    @property
    def model(self) -> str:
        return "claude-sonnet-4-5"

    def chat(self, **options: Any) -> llm.LLMStream:
        options.setdefault("conn_options", DEFAULT_API_CONNECT_OPTIONS)
        return _RoutedAnswer(self, options["chat_ctx"], options.get("tools") or [], options["conn_options"])


class _RoutedAnswer(_OwnAnswer):
    def __init__(self, mind: RoutedMind, chat_ctx: Any, tools: Any, conn_options: Any) -> None:
        super().__init__(mind, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)

    async def _run(self) -> None:
        own: Any = self._llm
        await own.client.chat.completions.create(model=own.asks, messages=HELLO)
        await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)  # the other model takes its time
        self._event_ch.send_nowait(ChatChunk(id="msg_1", delta=ChoiceDelta(role="assistant", content="Hello.")))
        self._event_ch.send_nowait(ChatChunk(id="msg_1", usage=own.TOLD))


def _heard(chunk: Any) -> ChatChunk:
    if chunk.usage is None:
        said = "".join(choice.delta.content or "" for choice in chunk.choices)
        return ChatChunk(id=chunk.id, delta=ChoiceDelta(role="assistant", content=said))
    read, made = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    return ChatChunk(
        id=chunk.id, usage=CompletionUsage(prompt_tokens=read, completion_tokens=made, total_tokens=read + made)
    )


def llm_error(error: openai.APIStatusError) -> Exception:
    """As LiveKit's own components tell it."""
    from livekit.agents import APIStatusError

    return APIStatusError("refused", status_code=error.status_code, retryable=False)


class OwnEar(stt.STT):
    """Transcribes what it is given at once."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._client = client

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        sound = ("a.wav", rtc.combine_audio_frames(buffer).to_wav_bytes())
        heard = await self._client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound)
        said = stt.SpeechData(language="en", text=heard.text)
        return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[said])


class OwnVoice(tts.TTS):
    """Speaks sentence by sentence."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=24_000, num_channels=1)
        self.client = client

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _OwnSpeech(tts=self, input_text=text, conn_options=conn_options)


class _OwnSpeech(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        own: Any = self._tts
        output_emitter.initialize(request_id="own", sample_rate=24_000, num_channels=1, mime_type="audio/pcm")
        asked: Any = {"model": "tts-1", "voice": "alloy", "input": self._input_text, "response_format": "pcm"}
        async with own.client.audio.speech.with_streaming_response.create(**asked) as answer:
            async for piece in answer.iter_bytes():
                output_emitter.push(piece)
        output_emitter.flush()
