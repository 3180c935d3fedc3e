"""The demo's agent: a plain realtime agent with one line more, the tracker's.

In a worker: `python -m livekit.agents start agent.py --dev`. Without a room, when there is no LiveKit server:
`python -m livekit_tokens.demo.agent` holds a conversation of its own. Read from the environment: PROVIDER_URL;
DEMO_RECEIPT_FILE and LIVEKIT_USAGE_FILE, where our receipt and LiveKit's own usage go at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, CloseEvent, JobContext
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from livekit_tokens import SessionSummary, track

logger = logging.getLogger("demo_agent")

server = AgentServer(host="127.0.0.1", port=0, load_fnc=lambda: 0.0, num_idle_processes=1)
INSTRUCTIONS = """You are the receptionist of a small practice. Answer in one sentence, in a friendly voice.
Opening hours: Monday to Friday from eight to six, Saturday from nine to one, closed on Sundays and holidays.
The first consultation costs forty euros, every further one thirty. Appointments can be made, moved and cancelled
until the evening before. Ask for a name and a telephone number before you confirm an appointment."""


def make_session() -> AgentSession[None]:
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime",
        base_url=os.environ["PROVIDER_URL"],
        api_key="not-a-key",
        input_audio_transcription=AudioTranscription(model="gpt-4o-transcribe"),
        turn_detection=ServerVad(type="server_vad", create_response=True, interrupt_response=True),
    )
    # The warm-up for echo cancellation discards the caller's audio for the agent's first 3 s of speech (1.8.9).
    session: AgentSession[None] = AgentSession(llm=model, aec_warmup_duration=None)
    session.on("close", lambda event: _write_usage(session, event))
    return session


def _write_usage(session: AgentSession[None], event: CloseEvent) -> None:
    usage = [one.model_dump() for one in session.usage.model_usage]
    Path(os.environ["LIVEKIT_USAGE_FILE"]).write_text(json.dumps(usage), encoding="utf-8")
    logger.info("session closed reason=%s", event.reason.value)


def write_receipt(summary: SessionSummary) -> None:
    Path(os.environ["DEMO_RECEIPT_FILE"]).write_text(str(summary), encoding="utf-8")


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session = make_session()
    track(session, ctx, on_end=write_receipt)  # this is all there is to it
    await session.start(agent=Agent(instructions=INSTRUCTIONS), room=ctx.room)
    logger.info("session started")
    await session.generate_reply(instructions="Greet the caller.")
    await think_better_of_a_reply(session)


async def think_better_of_a_reply(session: AgentSession[None]) -> None:
    """Ask for a reply and drop it before the provider has begun it, as a caller who speaks on does.

    The provider bills its input; LiveKit discards its usage.
    """
    asked = _once(session, "openai_client_event_queued", "response.create")
    reply = session.generate_reply(instructions="Offer help.")
    async with asyncio.timeout(60):
        await asked.wait()
    reply.interrupt(force=True)


async def talk_without_a_room() -> None:
    """Three answers, the second interrupted, the third under way when the session closes, and one never begun."""
    session = make_session()
    tracking = track(session, on_end=write_receipt)
    await session.start(agent=Agent(instructions=INSTRUCTIONS))
    await session.generate_reply(user_input="Good morning")
    await think_better_of_a_reply(session)
    await _while_it_speaks(session, "What are your opening hours?")
    await session.interrupt()
    await _while_it_speaks(session, "And on Sundays?")
    await session.aclose()
    await tracking.aclose()


async def _while_it_speaks(session: AgentSession[None], question: str) -> None:
    speaks = _once(session, "openai_server_event_received", "response.output_audio.delta")
    session.generate_reply(user_input=question)
    async with asyncio.timeout(60):
        await speaks.wait()


def _once(session: AgentSession[None], raw: str, kind: str) -> asyncio.Event:
    """Set when a raw event of that kind has passed."""
    passed = asyncio.Event()
    realtime = session.current_agent.realtime_llm_session
    realtime.on(raw, lambda event: passed.set() if event["type"] == kind else None)
    return passed


if __name__ == "__main__":
    asyncio.run(talk_without_a_room())
