"""Tracked calls without a room, on real AgentSessions, and agents for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, ModelSettings, function_tool, llm
from livekit.agents.types import APIConnectOptions

from livekit_tokens.capture import tracking
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.tracking import Given, Tracking
from livekit_tokens.core.unrecorded import Unrecorded
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.capture.pipeline import Microphone, Script, Speaker

NO_WAIT = APIConnectOptions(max_retry=2, retry_interval=0.01)


class Call:
    """A tracked AgentSession without a room, and the records that were written for it."""

    def __init__(self, ctx: Any = None, **components: Any) -> None:
        # Otherwise what the microphone says is answered too, ahead of time and up to three times a turn.
        self.session: AgentSession[Any] = AgentSession(**{"turn_handling": {"turn_detection": "manual"}} | components)
        self.records: list[UsageRecord] = []
        self.mic = Microphone()
        self.session.input.audio = self.mic
        self.session.output.audio = Speaker()
        self.tracking = self._track(ctx)

    def _track(self, ctx: Any = None) -> Tracking:
        async def flush(_: float) -> bool:
            return True

        process = Process(Unrecorded(), flush, now, new_key)
        return tracking.begin(self.session, ctx, lambda: process, Given(on_usage=self.records.append))

    async def start(self, agent: Agent) -> Call:
        await self.session.start(agent)
        return self

    async def say(self, text: str = "Hello?") -> None:
        """One turn of the caller, by text, and the whole reply to it."""
        await self.session.generate_reply(user_input=text)

    async def end(self) -> None:
        await self.session.aclose()
        await self.tracking.aclose()

    def by(self, service: str) -> list[UsageRecord]:
        return [record for record in self.records if record.service == service]


class Greeter(Agent):
    def __init__(self, **own: Any) -> None:
        super().__init__(instructions="Be kind.", **own)

    @function_tool
    async def hand_over(self) -> Agent:
        """Hand over to the closer."""
        return Closer(llm=self.next_llm) if self.next_llm else Closer()

    next_llm: Script | None = None


class Listener(Greeter):
    """Keeps what was `read` so far of what its model says, and what of that its voice was `given`."""

    def __init__(self, **own: Any) -> None:
        super().__init__(**own)
        self.read = self.given = ""

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterator[llm.ChatChunk]:
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            assert isinstance(chunk, llm.ChatChunk)
            self.read += (chunk.delta and chunk.delta.content) or ""
            yield chunk

    async def tts_node(self, text: AsyncIterable[str], model_settings: ModelSettings) -> AsyncIterator[rtc.AudioFrame]:
        async def watched() -> AsyncIterator[str]:
            async for piece in text:
                yield piece
                self.given += piece

        async for frame in Agent.default.tts_node(self, watched(), model_settings):
            yield frame


class Closer(Agent):
    def __init__(self, **own: Any) -> None:
        super().__init__(instructions="Come to an end.", **own)

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Say that you are here.")


def recovered(adapter: llm.FallbackAdapter) -> asyncio.Future[None]:
    """Done when the adapter has tried a model again that had failed, and has read its answer."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    adapter.on("llm_availability_changed", lambda event: done.set_result(None) if event.available else None)
    return done
