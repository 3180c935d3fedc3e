"""Components for the tests of pipelines: LiveKit's own base classes, with providers that answer at once and bill.

The base classes' real metric tasks run; only the provider behind them is made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import APIStatusError, llm, stt, tts
from livekit.agents.llm import ChatChunk, ChoiceDelta, CompletionUsage, FunctionToolCall
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.voice import io

RATE = 16_000
SILENCE = bytes(RATE // 50 * 2)
"""20 ms."""
SPEECH = b"\1\0" * (RATE // 50)
"""20 ms that are no silence: LiveKit adds that of its own when a session closes (0.5 s after its last transcript)."""


def is_speech(frame: rtc.AudioFrame) -> bool:
    return any(frame.data)


class Script(llm.LLM):
    """A language model that says what it is told to, bills 100 tokens a prompt and one a word.

    An answer that begins with `call ` calls the tool of that name; `fail` is an HTTP 500; `slow ...` waits before
    its last word, so that it can be interrupted.
    """

    def __init__(self, *answers: str, model: str = "script-1", provider: str = "api.script.example") -> None:
        super().__init__()
        self.answers = list(answers)
        self.bill: list[tuple[int, int]] = []
        self.asked = 0
        self._model, self._provider = model, provider

    @property
    def model(self) -> str:
        return self._model

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
        return _ScriptStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _ScriptStream(llm.LLMStream):
    async def _run(self) -> None:
        script: Any = self._llm
        script.asked += 1
        answer = script.answers.pop(0) if script.answers else "Yes."
        if answer == "fail":
            raise APIStatusError("what the caller said", status_code=500, retryable=True)
        name = f"chat_{script.asked}"
        words = answer.split()
        if words[0] == "call":
            call = FunctionToolCall(name=words[1], arguments="{}", call_id=f"call_{script.asked}")
            self._event_ch.send_nowait(ChatChunk(id=name, delta=ChoiceDelta(role="assistant", tool_calls=[call])))
        else:
            for word in words[:-1]:
                self._event_ch.send_nowait(ChatChunk(id=name, delta=ChoiceDelta(role="assistant", content=f"{word} ")))
            await asyncio.sleep(30 if words[0] == "slow" else 0)
            self._event_ch.send_nowait(ChatChunk(id=name, delta=ChoiceDelta(role="assistant", content=words[-1])))
        script.bill.append((100, len(words)))
        usage = CompletionUsage(
            completion_tokens=len(words), prompt_tokens=100, prompt_cached_tokens=64, total_tokens=100 + len(words)
        )
        self._event_ch.send_nowait(ChatChunk(id=name, usage=usage))


class Voice(tts.TTS):
    """A streaming voice, billed by the character as soon as it was given one. `seconds` is how long it speaks."""

    def __init__(self, model: str = "voice-1", provider: str = "Voices", seconds: float = 0.0) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=RATE, num_channels=1)
        self.bill: list[int] = []
        self.seconds = seconds
        self._model, self._provider = model, provider

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return self._provider

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        return _VoiceStream(tts=self, conn_options=conn_options)


class _VoiceStream(tts.SynthesizeStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        voice: Any = self._tts
        output_emitter.initialize(
            request_id="voice_request", sample_rate=RATE, num_channels=1, mime_type="audio/pcm", stream=True
        )
        output_emitter.start_segment(segment_id="segment")
        said = ""
        async for piece in self._input_ch:
            if isinstance(piece, str):
                said += piece
        if not said:
            return
        self._mark_started()
        voice.bill.append(len(said))
        output_emitter.push(SILENCE * 3)
        await asyncio.sleep(voice.seconds)
        output_emitter.end_segment()


class Ear(stt.STT):
    """A streaming transcriber: every second of speech is a sentence, and is billed."""

    def __init__(self, model: str = "ear-1", provider: str = "Ears") -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.bill: list[float] = []
        self._model, self._provider = model, provider

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return self._provider

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **_: Any) -> stt.RecognizeStream:
        return _EarStream(stt=self, conn_options=conn_options, sample_rate=RATE)


class _EarStream(stt.RecognizeStream):
    async def _run(self) -> None:
        ear: Any = self._stt
        self._report_connection_acquired(0.05, False)
        heard = 0.0
        async for frame in self._input_ch:
            heard += frame.duration if isinstance(frame, rtc.AudioFrame) and is_speech(frame) else 0.0
            if heard < 1.0:
                continue
            said = stt.SpeechData(language="en", text="Hello there")
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.START_OF_SPEECH))
            self._event_ch.send_nowait(
                stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, request_id="ear_1", alternatives=[said])
            )
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.END_OF_SPEECH))
            ear.bill.append(heard)
            self._event_ch.send_nowait(
                stt.SpeechEvent(
                    stt.SpeechEventType.RECOGNITION_USAGE,
                    request_id="ear_1",
                    recognition_usage=stt.RecognitionUsage(audio_duration=heard),
                )
            )
            heard = 0.0


class Microphone(io.AudioInput):
    """Audio that a test speaks, as fast as it likes."""

    def __init__(self) -> None:
        super().__init__(label="test")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def speak(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self._frames.put_nowait(rtc.AudioFrame(SPEECH, RATE, 1, RATE // 50))

    def __aiter__(self) -> AsyncIterator[rtc.AudioFrame]:
        return self

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class Speaker(io.AudioOutput):
    """Plays everything at once."""

    def __init__(self) -> None:
        super().__init__(label="test", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE)
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        self._played(interrupted=False)

    def clear_buffer(self) -> None:
        self._played(interrupted=True)

    def _played(self, *, interrupted: bool) -> None:
        if self._seconds:
            seconds, self._seconds = self._seconds, 0.0
            self.on_playback_finished(playback_position=seconds, interrupted=interrupted)
