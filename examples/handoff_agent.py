"""Two agents, each with a realtime model of its own: every record names the agent that spoke.

python examples/handoff_agent.py dev
livekit-tokens report --by agent --by model
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, function_tool
from livekit.plugins import openai

from livekit_tokens import track

server = AgentServer()


class Billing(Agent):
    """Answers questions about invoices, on the smaller model."""

    def __init__(self) -> None:
        super().__init__(
            instructions="You answer questions about invoices, briefly.",
            llm=openai.realtime.RealtimeModel(model="gpt-realtime-mini"),
        )

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Say that you have taken over, and ask for the invoice number.")


class Reception(Agent):
    """Greets the caller and hands over."""

    def __init__(self) -> None:
        super().__init__(instructions="You greet callers. Hand over to billing when they ask about an invoice.")

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Greet the caller.")

    @function_tool
    async def hand_over_to_billing(self) -> Agent:
        """Hand the caller over to the billing department."""
        return Billing()


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session = AgentSession(llm=openai.realtime.RealtimeModel())
    track(session, ctx)
    await session.start(agent=Reception(), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
