"""An agent for every way in which a call begins, goes on and ends.

What a job does is told by its metadata, else by AGENT_OPTIONS, a JSON object of:
`provider` its base URL; `role` "agent" (speaks, does not transcribe when `transcribes` is false) or "transcriber"
(only listens); `closes` LiveKit's close_on_disconnect; `grace` our REJOIN_GRACE_SECONDS; `raises` "before" or "after"
the start of the session; `then` what it does after its greeting: "ctx.shutdown" or "session.shutdown"; `leaves` ends
the job with its session; `by_hand` records for itself, from a thread and when the job ends. The worker's kind is told
by AGENT_EXECUTOR and AGENT_TYPE, its name by LIVEKIT_AGENT_NAME.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, CloseEvent, JobContext, JobExecutorType, cli, room_io
from livekit.agents.worker import ServerType
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from livekit_tokens import SessionSummary, record_usage, track

logger = logging.getLogger("lifecycle_agent")

server = AgentServer(
    host="127.0.0.1",
    port=0,
    load_fnc=lambda: 0.0,
    num_idle_processes=1,
    job_executor_type=JobExecutorType(os.environ.get("AGENT_EXECUTOR", "process")),
)


def make_session(options: dict[str, Any]) -> AgentSession:
    speaks = options.get("role", "agent") == "agent"
    transcribes = options.get("transcribes", True)
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime",
        base_url=options["provider"],
        api_key="not-a-key",
        input_audio_transcription=AudioTranscription(model="gpt-4o-transcribe") if transcribes else None,
        turn_detection=ServerVad(type="server_vad", create_response=speaks, interrupt_response=speaks),
    )
    # The warm-up for echo cancellation discards the caller's audio for the agent's first 3 s of speech (1.8.9).
    return AgentSession(llm=model, aec_warmup_duration=None)


async def on_session_end(ctx: JobContext) -> None:
    """What LiveKit's own report says, when it is made."""
    logger.info("session report room=%s tags=%s", ctx.job.room.name, " ".join(ctx.make_session_report().tags))


@server.rtc_session(type=ServerType[os.environ.get("AGENT_TYPE", "ROOM")], on_session_end=on_session_end)
async def entrypoint(ctx: JobContext) -> None:
    room = ctx.job.room.name
    options = json.loads(ctx.job.metadata or os.environ.get("AGENT_OPTIONS", "{}"))
    logger.info("job begins room=%s pid=%d", room, os.getpid())
    if "grace" in options:  # a job is a process of its own, so this is the job's setting
        os.environ["LIVEKIT_TOKENS_REJOIN_GRACE_SECONDS"] = str(options["grace"])
    session = make_session(options)

    def on_end(summary: SessionSummary) -> None:
        logger.info("part ended room=%s reason=%s", room, summary.close_reason)

    @session.on("close")
    def on_close(event: CloseEvent) -> None:
        logger.info("session closed room=%s reason=%s", room, event.reason.value)
        if options.get("leaves"):
            ctx.shutdown()

    async def on_shutdown(reason: str) -> None:
        by_hand(options, model="gpt-4.1-mini", input_tokens=300, operation="summary")
        logger.info("job ends room=%s reason=%s", room, reason)

    ctx.add_shutdown_callback(on_shutdown)
    track(session, ctx, on_end=on_end)
    if options.get("raises") == "before":
        raise RuntimeError("before the start, as the test wants it")
    if ctx.job.participant.identity:  # with a given participant, start() wants to be connected already (1.8.9)
        await ctx.connect()
    await session.start(
        agent=Agent(instructions="Be a friendly receptionist."),
        room=ctx.room,
        room_options=room_io.RoomOptions(
            close_on_disconnect=options.get("closes", True),
            participant_identity=ctx.job.participant.identity or room_io.RoomOptions().participant_identity,
        ),
    )
    logger.info("session started room=%s", room)
    await asyncio.to_thread(by_hand, options, model="text-embedding-3-small", input_tokens=9, operation="embedding")
    if options.get("role", "agent") == "agent":
        await session.generate_reply(instructions="Greet the caller.")
    logger.info("says all room=%s at=%.6f", room, time.time())
    end_as_told(options, ctx, session)


def by_hand(options: dict[str, Any], **request: Any) -> None:
    if options.get("by_hand"):
        record_usage(**request)


def end_as_told(options: dict[str, Any], ctx: JobContext, session: AgentSession) -> None:
    if options.get("raises") == "after":
        raise RuntimeError("after the start, as the test wants it")
    if options.get("then") == "ctx.shutdown":
        ctx.shutdown(reason="the agent has said all")
    if options.get("then") == "session.shutdown":
        session.shutdown(drain=False)


if __name__ == "__main__":
    cli.run_app(server)
