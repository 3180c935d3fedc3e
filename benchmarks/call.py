"""A simulated realtime call: what a job process hears of OpenAI and LiveKit, without a room, a network or a sound.

Imports nothing of ours, so that a process can be cold: an agent's script has imported this much before its call.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from livekit.agents import Agent, AgentSession, CloseReason, llm
from livekit.rtc import EventEmitter

USAGE = {
    "total_tokens": 1139,
    "input_tokens": 939,
    "output_tokens": 200,
    "input_token_details": {
        "text_tokens": 643,
        "audio_tokens": 296,
        "cached_tokens": 704,
        "cached_tokens_details": {"text_tokens": 512, "audio_tokens": 192},
    },
    "output_token_details": {"text_tokens": 48, "audio_tokens": 152},
}
"""A turn in the middle of a conversation, as `response.done` brings it."""

AUDIO = base64.b64encode(bytes(9_600)).decode()
"""200 ms of 24 kHz pcm16, about what one delta carries."""

WORDS = ("Certainly,", "let", "me", "look", "that", "up", "for", "you:", "Thursday", "morning", "is", "still", "open.")


def turn(number: int, deltas: int = 8) -> Iterator[dict[str, Any]]:
    """One turn's server events that concern us, in OpenAI's order."""
    response = {"object": "realtime.response", "id": f"resp_{number:016x}", "status": "in_progress", "output": []}
    place = {"response_id": response["id"], "item_id": f"item_{number}", "output_index": 0, "content_index": 0}
    heard = {"type": "duration", "seconds": 2.4}
    yield {"type": "response.created", "response": response}
    for n in range(deltas):
        yield {"type": "response.output_audio_transcript.delta", "delta": WORDS[n % len(WORDS)] + " ", **place}
        yield {"type": "response.output_audio.delta", "delta": AUDIO, **place}
    yield {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": f"heard_{number}",
        "content_index": 0,
        "transcript": "Is Thursday still free?",
        "usage": heard,
    }
    yield {"type": "response.done", "response": {**response, "status": "completed", "usage": USAGE}}


class Realtime(EventEmitter[str]):
    """In place of a RealtimeSession: emits what it is given."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.realtime_model = model

    async def aclose(self) -> None: ...


class Model(llm.RealtimeModel):
    def __init__(self) -> None:
        super().__init__(
            capabilities=llm.RealtimeCapabilities(
                message_truncation=True,
                turn_detection=True,
                user_transcription=True,
                auto_tool_reply_generation=False,
                audio_output=True,
                manual_function_calls=True,
            )
        )

    @property
    def model(self) -> str:
        return "gpt-realtime"

    @property
    def provider(self) -> str:
        return "api.openai.com"

    def session(self, **_: Any) -> Any:
        return Realtime(self)

    async def aclose(self) -> None: ...


class Assistant(Agent):
    """LiveKit's own, but that its realtime session can be set."""

    realtime_llm_session: Realtime | None = None

    def __init__(self) -> None:
        super().__init__(instructions="", id="assistant")


class Call(AgentSession[None]):
    """An AgentSession that never starts: it says what LiveKit says, when it does, of one agent on a realtime model."""

    def __init__(self) -> None:
        super().__init__(llm=Model())
        self._speaking: Assistant | None = None

    @property
    def current_agent(self) -> Assistant:
        if self._speaking is None:
            raise RuntimeError("not running")
        return self._speaking

    def start(self) -> Realtime:
        """The first agent starts: LiveKit announces it just before its model makes a session."""
        self._speaking = Assistant()
        self.emit("conversation_item_added", SimpleNamespace(item=llm.AgentHandoff(new_agent_id="assistant")))
        realtime: Realtime = self.llm.session()
        self.current_agent.realtime_llm_session = realtime
        return realtime

    def close(self) -> None:
        self.emit("close", SimpleNamespace(reason=CloseReason.PARTICIPANT_DISCONNECTED))
