"""A plain realtime agent, tracked unless TRACK=0. Its worker is started by the `worker` fixture.

PROVIDER_URL is the stand-in provider's base URL. When the session closes, LiveKit's own `session.usage` goes to
LIVEKIT_USAGE_FILE as JSON, to be compared with the provider's bill.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, CloseEvent, JobContext, cli
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from livekit_tokens import track
from livekit_tokens.demo.agent import think_better_of_a_reply

logger = logging.getLogger("realtime_agent")

server = AgentServer(host="127.0.0.1", port=0, load_fnc=lambda: 0.0, num_idle_processes=1)


def make_model() -> openai.realtime.RealtimeModel:
    return openai.realtime.RealtimeModel(
        model=os.environ.get("REALTIME_MODEL", "gpt-realtime"),
        base_url=os.environ["PROVIDER_URL"],
        api_key="not-a-key",
        input_audio_transcription=AudioTranscription(model=os.environ.get("TRANSCRIPTION_MODEL", "gpt-4o-transcribe")),
        turn_detection=ServerVad(type="server_vad", create_response=True, interrupt_response=True),
    )


def write_usage(session: AgentSession) -> None:
    usage = [usage.model_dump() for usage in session.usage.model_usage]
    Path(os.environ["LIVEKIT_USAGE_FILE"]).write_text(json.dumps(usage, indent=1))


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    logger.info("job begins pid=%d room=%s", os.getpid(), ctx.job.room.name)
    # The warm-up for echo cancellation discards the caller's audio for the agent's first 3 s of speech (1.8.9).
    session: AgentSession = AgentSession(llm=make_model(), aec_warmup_duration=None)

    @session.on("close")
    def on_close(event: CloseEvent) -> None:
        write_usage(session)
        logger.info("session closed reason=%s", event.reason.value)

    async def on_shutdown() -> None:
        logger.info("job ends pid=%d", os.getpid())

    ctx.add_shutdown_callback(on_shutdown)
    if os.environ.get("TRACK", "1") == "1":
        track(session, ctx)
    await session.start(agent=Agent(instructions="Be a friendly receptionist."), room=ctx.room)
    logger.info("session started")
    if os.environ.get("AGENT_GREETS", "1") == "1":
        await session.generate_reply(instructions="Greet the caller.")
    if os.environ.get("AGENT_DROPS_A_REPLY") == "1":
        await think_better_of_a_reply(session)


if __name__ == "__main__":
    cli.run_app(server)
