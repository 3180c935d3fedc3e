"""A second process in the room that only writes down what is said: a part of the same session, a service of its own.

Dispatch it by its name into a room in which another agent talks. Both parts are in one report:

    python examples/transcriber_agent.py dev
    livekit-tokens report --session ROOM_SUFFIX
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.agents.voice.room_io import RoomOptions
from livekit.plugins import openai

from livekit_tokens import track

server = AgentServer()


@server.rtc_session(agent_name="transcriber")
async def entrypoint(ctx: JobContext) -> None:
    session = AgentSession(stt=openai.STT(model="gpt-4o-transcribe"))
    track(session, ctx, feature="minutes")
    options = RoomOptions(audio_output=False, text_output=True)
    await session.start(agent=Agent(instructions="Listen."), room=ctx.room, room_options=options)


if __name__ == "__main__":
    cli.run_app(server)
