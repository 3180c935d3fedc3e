"""What is held by LiveKit's sessions and streams: drafts of replies, and transcriptions over a socket."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, stt
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.plugins import openai as plugin

from benchmarks.wire_accuracy.hearing import SILENCE_MS
from benchmarks.wire_accuracy.holding import Account
from benchmarks.wire_accuracy.kinds import NO_SIGN, kind

RATE = 24_000
FRAME_MS = 20


class Words(stt.STT):
    """An ear that hears what it is told to, and costs nothing."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.events: asyncio.Queue[SpeechEvent] = asyncio.Queue()

    def hear(self, kind: SpeechEventType, text: str = "") -> None:
        said = [stt.SpeechData(language="en", text=text)] if text else []
        self.events.put_nowait(SpeechEvent(kind, alternatives=said))

    async def _recognize_impl(self, buffer: Any, **_: Any) -> SpeechEvent:
        raise NotImplementedError

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **_: Any) -> stt.RecognizeStream:
        return _WordsStream(stt=self, conn_options=conn_options)


class _WordsStream(stt.RecognizeStream):
    async def _run(self) -> None:
        words: Any = self._stt
        while True:
            self._event_ch.send_nowait(await words.events.get())


class Talk:
    """One AgentSession whose caller is heard before they have ended: replies are begun ahead of time."""

    def __init__(self, account: Account) -> None:
        self.words = Words()
        handling: Any = {"turn_detection": "stt", "endpointing": {"min_delay": 0.05, "max_delay": 0.05}}
        # One of its own: a session closes after the third error of its model, whoever has asked it (livekit 1.8.9).
        self.model = plugin.LLM(model="gpt-4.1", base_url=account.provider.base_url, api_key="none")
        self.session: AgentSession[Any] = AgentSession(stt=self.words, llm=self.model, turn_handling=handling)

    async def begin(self, account: Account) -> Talk:
        await self.session.start(Agent(instructions=account.sentence(40)))
        account.closing += [self.session.aclose, self.model.aclose]
        return self


@kind("preemptive generation")
async def _drafted(account: Account) -> None:
    """A reply is begun, dropped because the caller goes on, begun again, and spoken."""
    if account.talk is None:
        account.talk = await Talk(account).begin(account)
    words, provider = account.talk.words, account.provider
    first = account.sentence()
    whole = f"{first} {account.sentence()}"
    words.hear(SpeechEventType.START_OF_SPEECH)
    words.hear(SpeechEventType.PREFLIGHT_TRANSCRIPT, first)
    await provider.arrived.wait()
    await asyncio.sleep(account.chance.uniform(0.0, account.to_first + 0.7))
    provider.arrived.clear()
    words.hear(SpeechEventType.PREFLIGHT_TRANSCRIPT, whole)
    await provider.arrived.wait()
    words.hear(SpeechEventType.FINAL_TRANSCRIPT, whole)
    words.hear(SpeechEventType.END_OF_SPEECH)
    while not provider.bill[-1].told or account.talk.session.current_speech is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


@kind("realtime transcription")
async def _heard(account: Account) -> None:
    await _hear(account)


@kind("realtime transcription without usage")
async def _heard_without_usage(account: Account) -> None:
    account.provider.told = False
    await _hear(account)


@kind("realtime transcription cut")
async def _hearing_cut(account: Account) -> str | None:
    """Cut from when it is billed on; the first that a client can know of that is the end of the speech."""
    ways, known = account.provider.ways, asyncio.Event()
    await account.cut_at(_hear(account, known), 0.0, ways.latency + max(0.02, ways.thinking * 0.9))
    return None if known.is_set() else NO_SIGN


async def _hear(account: Account, known: asyncio.Event | None = None) -> None:
    model = account.chance.choice(["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"])
    ear = plugin.STT(model=model, base_url=account.provider.base_url, api_key="none", use_realtime=True)
    try:
        async with aclosing(ear.stream()) as stream:
            for level, milliseconds in (b"\x10", account.chance.uniform(600, 8000)), (b"\0", 2 * SILENCE_MS):
                for _ in range(round(milliseconds / FRAME_MS)):
                    samples = RATE * FRAME_MS // 1000
                    stream.push_frame(rtc.AudioFrame(level * (samples * 2), RATE, 1, samples))
            async for event in stream:
                if event.type is SpeechEventType.END_OF_SPEECH and known is not None:
                    known.set()
                if event.type is SpeechEventType.FINAL_TRANSCRIPT:
                    break
    finally:
        await ear.aclose()
