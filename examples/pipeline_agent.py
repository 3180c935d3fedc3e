"""Speech to text, a language model and a voice: three lines on the receipt, one for each service.

python examples/pipeline_agent.py dev
livekit-tokens report --by service
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import openai

from livekit_tokens import track

server = AgentServer()


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session = AgentSession(
        stt=openai.STT(model="gpt-4o-transcribe"),
        llm=openai.LLM(model="gpt-4o-mini"),
        tts=openai.TTS(model="gpt-4o-mini-tts"),
    )
    track(session, ctx)
    await session.start(agent=Agent(instructions="You are a friendly receptionist."), room=ctx.room)
    await session.generate_reply(instructions="Greet the caller and offer your help.")


if __name__ == "__main__":
    cli.run_app(server)
