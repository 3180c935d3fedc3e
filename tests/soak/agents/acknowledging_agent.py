"""A realtime agent that is going to be killed. It says of each request what ours had heard of it: that it is in flight,
and its figures.

PROVIDER_URL is the stand-in provider's base URL. ACKNOWLEDGED_FILE gets a line with a request's id when our handler of
the provider's event had returned: one unbuffered write each, which the kernel keeps although the process is killed.
"""

from __future__ import annotations

import logging
import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from livekit_tokens import track

logger = logging.getLogger("acknowledging_agent")

server = AgentServer(host="127.0.0.1", port=0, load_fnc=lambda: 0.0, num_idle_processes=2)


def acknowledge(event: dict) -> None:
    """Handlers are called in their order, and ours was there first."""
    match event:
        case {"type": "response.created", "response": {"id": request}}:
            heard = "in_flight"
        case {"type": "response.done", "response": {"id": request, "usage": dict()}}:
            heard = "reported"
        case {"type": "conversation.item.input_audio_transcription.completed", "item_id": request}:
            heard = "reported"
        case _:
            return
    file = os.open(os.environ["ACKNOWLEDGED_FILE"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.write(file, f"{heard} {request}\n".encode())
    os.close(file)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime",
        base_url=os.environ["PROVIDER_URL"],
        api_key="not-a-key",
        input_audio_transcription=AudioTranscription(model="gpt-4o-transcribe"),
        turn_detection=ServerVad(type="server_vad", create_response=True, interrupt_response=True),
    )
    session: AgentSession = AgentSession(llm=model, aec_warmup_duration=None)
    track(session, ctx)
    logger.info("job begins pid=%d room=%s", os.getpid(), ctx.job.room.name)
    agent = Agent(instructions="Be a friendly receptionist.")
    await session.start(agent=agent, room=ctx.room)
    agent.realtime_llm_session.on("openai_server_event_received", acknowledge)
    session.generate_reply(instructions="Greet the caller.")
