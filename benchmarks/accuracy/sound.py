"""A caller's voice and ear for an AgentSession without a room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents.voice import io

from livekit_tokens.demo.plan import RATE, tone

_FRAME_MS = 100
_SILENCE = bytes(RATE // 1000 * _FRAME_MS * 2)


class Voice(io.AudioInput):
    """Speaks as fast as it is listened to: the provider's voice detection counts samples, not seconds."""

    def __init__(self) -> None:
        super().__init__(label="caller")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def speak(self, milliseconds: int) -> None:
        self._say(tone(_FRAME_MS), milliseconds)

    def pause(self, milliseconds: int = 300) -> None:
        self._say(_SILENCE, milliseconds)

    def _say(self, pcm: bytes, milliseconds: int) -> None:
        for _ in range(milliseconds // _FRAME_MS):
            self._frames.put_nowait(rtc.AudioFrame(pcm, RATE, 1, RATE // 1000 * _FRAME_MS))

    def __aiter__(self) -> AsyncIterator[rtc.AudioFrame]:
        return self

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class Ear(io.AudioOutput):
    """Hears `pace` times as fast as real time, and the rest at once where an answer ends."""

    def __init__(self, pace: float) -> None:
        super().__init__(label="caller", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE)
        self._pace = pace
        self._seconds = 0.0
        self._began: float | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._began = self._began or time.monotonic()
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        self._heard(self._seconds, interrupted=False)

    def clear_buffer(self) -> None:
        heard = 0.0 if self._began is None else (time.monotonic() - self._began) * self._pace
        self._heard(min(heard, self._seconds), interrupted=True)

    def _heard(self, seconds: float, *, interrupted: bool) -> None:
        if self._seconds:
            self._seconds, self._began = 0.0, None
            self.on_playback_finished(playback_position=seconds, interrupted=interrupted)
