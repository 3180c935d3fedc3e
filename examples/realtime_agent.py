"""A speech-to-speech agent on OpenAI's Realtime API, with the cost of every call.

export OPENAI_API_KEY=... LIVEKIT_URL=... LIVEKIT_API_KEY=... LIVEKIT_API_SECRET=...
python examples/realtime_agent.py dev
livekit-tokens live          # in another terminal, while you talk
livekit-tokens report
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import openai

from livekit_tokens import SessionSummary, track

server = AgentServer()


async def show_receipt(summary: SessionSummary) -> None:
    """Runs once, when the call is over and its records are durable."""
    print(summary)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session = AgentSession(llm=openai.realtime.RealtimeModel())
    track(session, ctx, tags={"example": "realtime"}, on_end=show_receipt)
    await session.start(agent=Agent(instructions="You are a friendly receptionist."), room=ctx.room)
    await session.generate_reply(instructions="Greet the caller and offer your help.")


if __name__ == "__main__":
    cli.run_app(server)
