"""What a realtime conversation holds, followed item by item. It counts texts, so it is no work for a call's loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from livekit_tokens.capture.raw import Event, base64_bytes, items, mapping, text, tokens_of, whole
from livekit_tokens.core.estimates import conversation as held
from livekit_tokens.core.estimates.conversation import Conversation, Item, Trimming
from livekit_tokens.core.estimates.framing import PCM16_BYTES_PER_MS
from livekit_tokens.core.prompts import typescript
from livekit_tokens.core.vocabulary import tokens_in

_MOST_TOLD = 256

Own = tuple[int | None, int | None]
"""Tokens of a response's own instructions and tools; None: the session's."""


class Held:
    """One realtime session's conversation. `connections` grows when the server begins with an empty one."""

    def __init__(self) -> None:
        self.now = Conversation()
        self.connections = 0
        self._told: dict[str, Item] = {}
        self._texts: dict[str, tuple[int, int]] = {}
        self._unnamed = 0

    def begin(self, session: Event) -> None:
        """A new connection: the server knows nothing of the old one's items."""
        self.connections += 1
        self.now = Conversation()
        self.set_up(session)

    def set_up(self, session: Event) -> None:
        """What the server says of its session, whole."""
        instructions, tools = self.preamble_of(session, "session")
        self.now = replace(
            self.now,
            instructions=self.now.instructions if instructions is None else instructions,
            tools=self.now.tools if tools is None else tools,
            trimming=_trimming(session.get("truncation")) if "truncation" in session else self.now.trimming,
        )

    def preamble_of(self, given: Event, of: str) -> Own:
        """Tokens of the instructions and of the tools that a session or a response is given."""
        instructions, tools = given.get("instructions"), given.get("tools")
        return (
            self._counted(f"{of}'s instructions", instructions, instructions)
            if isinstance(instructions, str)
            else None,
            self._counted(f"{of}'s tools", repr(tools), tools) if isinstance(tools, list) else None,
        )

    def _counted(self, name: str, same: str, value: Any) -> int:
        """Every `session.updated` repeats them all: counted once, and remembered by their hash."""
        key = hash(same)
        known = self._texts.get(name)
        if known is None or known[0] != key:
            tokens = tokens_in(value if isinstance(value, str) else typescript(value) if value else "")
            known = self._texts[name] = (key, tokens)
        return known[1]

    def create(self, item: Event, after: str | None) -> None:
        """The client brings an item; what it holds is not told again."""
        if (item_id := text(item.get("id"))) is None:
            return
        made = self._told[item_id] = _item(item_id, item)
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self.now = held.with_item(self.now, made, after)

    def add(self, item: Event, after: str | None, spoken_ms: int) -> None:
        """The server has an item."""
        item_id = text(item.get("id")) or self._new_id()
        known = self._told.get(item_id) or _item(item_id, item, spoken_ms)
        self.now = held.with_item(self.now, known, after)

    def hear(self, item_id: str | None, milliseconds: int) -> None:
        """The caller has said something."""
        self.now = held.with_item(self.now, held.message(item_id or self._new_id(), audio_ms=milliseconds))

    def delete(self, item_id: str) -> None:
        self.now = held.without_item(self.now, item_id)

    def truncate(self, item_id: str, heard_ms: int) -> None:
        self.now = held.truncated(self.now, item_id, heard_ms)

    def _new_id(self) -> str:
        self._unnamed += 1
        return f"unnamed {self._unnamed}"


def _item(item_id: str, item: Mapping[str, Any], spoken_ms: int = 0) -> Item:
    parts = [mapping(part) for part in items(item.get("content"))]
    audio_ms = sum(base64_bytes(part.get("audio")) for part in parts) // PCM16_BYTES_PER_MS
    images = sum(part.get("type") == "input_image" for part in parts)
    return held.message(item_id, tokens_of(item), audio_ms or spoken_ms, images)


def _trimming(given: object) -> Trimming | None:
    limits = mapping(mapping(given).get("token_limits"))
    limit, keep = whole(limits.get("post_instructions")), mapping(given).get("retention_ratio")
    return Trimming(limit, keep) if limit and isinstance(keep, (int, float)) and 0 <= keep <= 1 else None
