"""A test as LiveKit's documentation writes them: an AgentSession without a room, and `session.run()`."""

from __future__ import annotations

import asyncio
import os

from livekit.agents import Agent, AgentSession
from livekit.plugins import openai

from livekit_tokens import track


async def main() -> None:
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime", base_url=os.environ["PROVIDER_URL"], api_key="not-a-key", modalities=["text"]
    )
    async with model, AgentSession(llm=model) as session:
        tracking = track(session)
        await session.start(Agent(instructions="Be a friendly receptionist."))
        for question in ("Good morning", "And on Sundays?"):
            result = await session.run(user_input=question)
            result.expect.contains_message(role="assistant")
    print(f"session {tracking.session_id}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
