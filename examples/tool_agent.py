"""A tool that spends money elsewhere, a part of the product that is labelled, and the whole bill when the call is over.

What a tool asks of OpenAI is counted by itself. What it asks of a provider that nobody else can see, it records:

python examples/tool_agent.py dev
livekit-tokens report --by feature
"""

import json
import logging

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, function_tool
from livekit.plugins import openai

from livekit_tokens import feature, record_usage, track

server = AgentServer()
logger = logging.getLogger("library")


async def rerank(question: str) -> tuple[str, int]:
    """In place of your own provider: what it answers, and the tokens that it bills."""
    return "The third shelf on the left.", len(question) // 4 + 200


class Librarian(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You are a librarian. Look things up before you answer.")

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Greet the caller and ask which book is wanted.")

    @function_tool
    async def look_up(self, question: str) -> str:
        """Look up where a book is."""
        with feature("search"):
            answer, tokens = await rerank(question)
            # The call is found by itself, and the caller waits for a few microseconds.
            record_usage(model="rerank-2.5", provider="voyageai", operation="rerank", input_tokens=tokens)
        return answer


async def on_session_end(ctx: JobContext) -> None:
    """The whole bill, as JSON; LiveKit's own session report has the sums among its tags."""
    summary = ctx.proc.userdata["tracking"].summary()
    logger.info("spent: %s", json.dumps(summary.to_dict()["totals"]))
    logger.info("in LiveKit's report: %s", ctx.make_session_report().tags)


@server.rtc_session(on_session_end=on_session_end)
async def entrypoint(ctx: JobContext) -> None:
    session = AgentSession(llm=openai.realtime.RealtimeModel())
    ctx.proc.userdata["tracking"] = track(session, ctx)
    await session.start(agent=Librarian(), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
