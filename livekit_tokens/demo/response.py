"""One response of the stand-in provider: how far it has come, and how its events show it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit_tokens.demo import bill as b
from livekit_tokens.demo.bill import Billed, Json, Tokens
from livekit_tokens.demo.plan import Plan


class Response:
    """One response from `response.create` to its last event."""

    def __init__(self, response_id: str, item_id: str, plan: Plan, config: Json, tool: Json | None) -> None:
        self.id, self.item_id, self.plan, self.config, self.tool = response_id, item_id, plan, config, tool
        self.spoken = config.get("output_modalities", ["audio"]) == ["audio"] and tool is None
        self.read, self.cached = Tokens(), Tokens()
        self.status = "in_progress"
        self.reason: str | None = None
        self.made = 0
        self.entry: Billed | None = None
        self.announced = self.has_item = False
        self.over = asyncio.Event()
        self._begun: float | None = None
        self._cut = asyncio.Event()

    def begin(self, read: Tokens, cached: Tokens) -> None:
        self._begun = asyncio.get_running_loop().time()
        self.read, self.cached = read, cached

    def elapsed(self) -> float:
        """Seconds since the model began to read."""
        return 0.0 if self._begun is None else asyncio.get_running_loop().time() - self._begun

    def cut(self) -> None:
        self._cut.set()

    async def reaches(self, elapsed: float) -> bool:
        """Wait until the response is so many seconds old. False when it is cut off before."""
        try:
            async with asyncio.timeout(elapsed - self.elapsed()):
                await self._cut.wait()
        except TimeoutError:
            return not self._cut.is_set()
        return False

    @property
    def text(self) -> str:
        """The text of what was made."""
        return "".join(piece.text for piece in self.plan.pieces[: self.made])

    def output(self, count: Callable[[str], int], frames: b.Frames) -> Tokens:
        """What was made, as billed."""
        name = f"{self.tool['name']} " if self.tool and self.made else ""
        audio_ms = sum(piece.audio_ms for piece in self.plan.pieces[: self.made])
        return b.said(count(name + self.text), audio_ms, frames)


def place(response: Response) -> Json:
    place = {"response_id": response.id, "item_id": response.item_id, "output_index": 0}
    return place if response.tool else {**place, "content_index": 0}


def output_item(response: Response, status: str) -> Json:
    item = {"id": response.item_id, "object": "realtime.item", "status": status}
    text = response.text
    if response.tool:
        call_id = f"call_{response.id[5:]}"
        return {**item, "type": "function_call", "call_id": call_id, "name": response.tool["name"], "arguments": text}
    part = {"type": "output_audio", "transcript": text} if response.spoken else {"type": "output_text", "text": text}
    return {**item, "type": "message", "role": "assistant", "content": [part] if response.made else []}


def response_json(response: Response) -> Json:
    done = response.entry
    details: Json | None = None
    if done and response.status == "failed":
        details = {"type": "failed", "error": {"type": "server_error", "code": response.reason}}
    elif done and response.reason:
        details = {"type": response.status, "reason": response.reason}
    return {
        "object": "realtime.response",
        "id": response.id,
        "status": response.status if done else "in_progress",
        "status_details": details,
        "metadata": response.config.get("metadata"),
        "output_modalities": response.config.get("output_modalities"),
        "output": [output_item(response, response.status)] if done and response.has_item else [],
        "usage": done.usage if done else None,
    }
