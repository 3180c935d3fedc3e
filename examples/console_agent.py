"""Without a room: in LiveKit's console, or in a script. `track(session)` is enough there.

python examples/console_agent.py            # a short conversation in text, and its receipt
"""

import asyncio

from livekit.agents import Agent, AgentSession
from livekit.plugins import openai

from livekit_tokens import track


async def main() -> None:
    session = AgentSession(llm=openai.realtime.RealtimeModel(modalities=["text"]))
    tracking = track(session)
    await session.start(Agent(instructions="Answer in one short sentence."))
    for question in ("What is a token?", "And a cached one?"):
        await session.generate_reply(user_input=question)
    await session.aclose()
    print(await tracking.aclose())


if __name__ == "__main__":
    asyncio.run(main())
