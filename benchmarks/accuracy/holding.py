"""Holding one call: a real AgentSession, tracked as in a job process, against a provider that keeps its own bill."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool, llm
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad
from openai.types.realtime.realtime_truncation_retention_ratio import (
    RealtimeTruncationRetentionRatio,
    TokenLimits,
)

from benchmarks.accuracy.draws import Kind, Script
from benchmarks.accuracy.sound import Ear, Voice
from benchmarks.accuracy.turns import PATIENCE, TURNS
from livekit_tokens.capture import tracking
from livekit_tokens.capture.part import Process
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.unrecorded import Recording, Unrecorded
from livekit_tokens.core.vocabulary import count_tokens
from livekit_tokens.demo.bill import Billed
from livekit_tokens.demo.provider import Provider
from livekit_tokens.runtime import new_key, now

MODEL = "gpt-realtime"
PLAYS_AT = 2.0


class Mortal:
    """A recorder whose process can be killed: from then on nothing reaches its spool, and its lock is free."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._serves: Recording = recorder

    def kill(self) -> None:
        self._serves = Unrecorded()
        self.recorder.disown()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._serves, name)


@dataclass(slots=True)
class Outcome:
    """What a call left: the provider's bill with the kind of each entry, LiveKit's tokens by response, our source."""

    number: int
    source: str
    bill: list[tuple[Kind, Billed]] = field(default_factory=list)
    livekit: dict[str, int] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    stalled: Kind | None = None


async def hold(script: Script, folder: Path, seed: int) -> Outcome:
    """Hold one call and hang up. What it recorded is in its spool, whose owner is gone."""
    recorder = Recorder(folder, Source(f"call-{script.number:04d}", "bench", 1, now()), now)
    async with Provider(
        seed * 10_000 + script.number, script.turns[0].knobs, 0, count_tokens, script.frames
    ) as provider:
        call = Call(script, provider, Mortal(recorder))
        try:
            async with asyncio.timeout(180):
                await call.hold()
        finally:
            call.mortal.kill()
        return call.outcome


class Call:
    def __init__(self, script: Script, provider: Provider, mortal: Mortal) -> None:
        self.script, self.provider, self.mortal = script, provider, mortal
        self.outcome = Outcome(script.number, mortal.recorder.source.id)
        self.voice = Voice()
        self.labels: dict[str, Kind] = {}
        self.heard = 0
        self.model = self._model()
        self.session = self._session()
        self.realtime: Any = None
        self.tracking = self._track()

    def _model(self) -> openai.realtime.RealtimeModel:
        limits = self.script.truncation
        given: dict[str, Any] = {}
        if limits is not None:
            given["truncation"] = RealtimeTruncationRetentionRatio(
                type="retention_ratio",
                retention_ratio=limits[1],
                token_limits=TokenLimits(post_instructions=limits[0]),
            )
        return openai.realtime.RealtimeModel(
            model=MODEL,
            base_url=self.provider.base_url,
            api_key="none",
            input_audio_transcription=AudioTranscription(model=self.script.transcriber),
            turn_detection=ServerVad(type="server_vad", create_response=True, interrupt_response=True),
            **given,
        )

    def _session(self) -> AgentSession[None]:
        session: AgentSession[None] = AgentSession(llm=self.model, aec_warmup_duration=None)
        session.input.audio = self.voice
        session.output.audio = Ear(PLAYS_AT)
        return session

    def _track(self) -> tracking.Tracking:
        async def flush(_: float) -> bool:
            return True

        process = Process(self.mortal, flush, now, new_key)
        return tracking.begin(self.session, None, lambda: process, tracking.Given())

    async def hold(self) -> None:
        agent = Agent(instructions=self.script.instructions, tools=[_tool(n) for n in range(self.script.tools)])
        await self.session.start(agent)
        self.realtime = agent.realtime_llm_session
        self.realtime.on("metrics_collected", self._livekit_counts)
        self.realtime.on("openai_server_event_received", self._see)
        await asyncio.sleep(0.1 + 4 * self.script.latency)
        for turn in self.script.turns:
            self.provider.knobs = turn.knobs
            try:
                await TURNS[turn.kind](self, turn)
            except TimeoutError:
                self.outcome.stalled = turn.kind  # LiveKit waits for what never comes; the call ends here
                break
            finally:
                self.label(turn.kind)
        await self.hang_up()
        await self.model.aclose()
        self.label(self.script.turns[-1].kind)
        self.outcome.bill = [(self.labels[entry.id], entry) for entry in self.provider.bill.entries]

    def _see(self, event: Any) -> None:
        if event["type"] == "input_audio_buffer.committed":
            self.heard += 1
            self.outcome.heard.add(event["item_id"])

    def _livekit_counts(self, event: Any) -> None:
        if event.type == "realtime_model_metrics" and event.request_id:
            self.outcome.livekit[event.request_id] = event.input_tokens + event.output_tokens

    def label(self, kind: Kind) -> None:
        for entry in self.provider.bill.entries:
            self.labels.setdefault(entry.id, kind)

    async def hang_up(self) -> None:
        await asyncio.wait_for(self.session.aclose(), PATIENCE)
        await asyncio.sleep(4 * self.script.latency)
        await self.tracking.aclose()


def _tool(number: int) -> llm.FunctionTool:
    async def look_up(day: str, branch: int) -> str:
        """Look up whether an appointment is free on a day in one of the branches of the practice.

        Args:
            day: The day of the week.
            branch: The number of the branch, as on the door.
        """
        return f"{day} {branch}"

    return function_tool(look_up, name=f"look_up_{number}")
