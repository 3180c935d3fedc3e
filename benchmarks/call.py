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

USAGE: dict[str, Any] = {
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

SESSION: dict[str, Any] = {
    "model": "gpt-realtime",
    "instructions": "Be kind to whoever calls, and answer in one sentence.",
    "tools": [],
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 8_000}},
    "audio": {
        "input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "server_vad"}},
    },
}
"""What the server says of its session before the first turn. A long conversation is trimmed, as any is at its limit."""

_GROWS, _THEN = 36, 19
"""So many turns fit below that limit at first, and so many more each time that half of them were left out."""

WORDS = ("Certainly,", "let", "me", "look", "that", "up", "for", "you:", "Thursday", "morning", "is", "still", "open.")


def usage(number: int) -> dict[str, Any]:
    """The provider's figures of that turn: it has read what was said before, as long as nothing was left out most of it
    from its cache."""
    held = number if number < _GROWS else _GROWS - _THEN + (number - _GROWS) % _THEN
    text, audio = 20 + 47 * held, 24 + 176 * held
    known = held if held not in (0, _GROWS - _THEN) else 0
    cached = {"text_tokens": 47 * known // 64 * 64, "audio_tokens": 152 * known // 64 * 64}
    read = {"text_tokens": text, "audio_tokens": audio, "cached_tokens": sum(cached.values())}
    return {
        "total_tokens": text + audio + USAGE["output_tokens"],
        "input_tokens": text + audio,
        "output_tokens": USAGE["output_tokens"],
        "input_token_details": {**read, "cached_tokens_details": cached},
        "output_token_details": USAGE["output_token_details"],
    }


def turn(number: int, deltas: int = 8) -> Iterator[dict[str, Any]]:
    """One turn's server events that concern us, in OpenAI's order: the caller is heard out, and answered."""
    heard, said = f"heard_{number}", f"item_{number}"
    response = {"object": "realtime.response", "id": f"resp_{number:016x}", "status": "in_progress", "output": []}
    place = {"response_id": response["id"], "item_id": said, "output_index": 0, "content_index": 0}
    answer = {"id": said, "object": "realtime.item", "type": "message", "role": "assistant"}
    sound = {"id": heard, "object": "realtime.item", "type": "message", "role": "user"}
    began = number * 9_000
    yield {"type": "input_audio_buffer.speech_started", "audio_start_ms": began, "item_id": heard}
    yield {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": began + 2_400, "item_id": heard}
    yield {"type": "input_audio_buffer.committed", "item_id": heard, "previous_item_id": None}
    yield {"type": "conversation.item.added", "item": {**sound, "content": [{"type": "input_audio"}]}}
    yield {"type": "response.created", "response": response}
    yield {"type": "response.output_item.added", "item": {**answer, "status": "in_progress", "content": []}, **place}
    yield {"type": "conversation.item.added", "item": {**answer, "content": []}}
    for n in range(deltas):
        yield {"type": "response.output_audio_transcript.delta", "delta": WORDS[n % len(WORDS)] + " ", **place}
        yield {"type": "response.output_audio.delta", "delta": AUDIO, **place}
    yield {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": heard,
        "content_index": 0,
        "transcript": "Is Thursday still free?",
        "usage": {"type": "duration", "seconds": 2.4},
    }
    yield {"type": "response.output_item.done", "item": {**answer, "status": "completed", "content": []}, **place}
    yield {"type": "response.done", "response": {**response, "status": "completed", "usage": usage(number)}}


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
