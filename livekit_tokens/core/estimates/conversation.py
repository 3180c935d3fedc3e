"""What a realtime conversation holds: the items that the next response will read, each with its tokens.

Frozen: every change makes a new conversation. The items are those of the server, which keeps them; a new connection
begins with none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from livekit_tokens.core.estimates.framing import ITEM_FRAMING, OUTPUT_FRAMING_NOT_KEPT, heard_tokens, said_tokens
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import frozen_for_readers


class Tokens(NamedTuple):
    """Tokens by modality. Their sum is by modality too, not a longer tuple."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tokens) -> Tokens:  # type: ignore[override]
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.text - other.text, self.audio - other.audio, self.image - other.image)

    @property
    def total(self) -> int:
        return self.text + self.audio + self.image


NO_TOKENS = Tokens()


class Item(NamedTuple):
    """One item and what it costs to read, framing included.

    `images` are counted only: no published rule says what one costs a realtime model. `heard_ms` is set once an
    answer was truncated to what the caller heard of it.
    """

    id: str
    tokens: Tokens
    images: int = 0
    heard_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Trimming:
    """The session's own `truncation`: above `limit` tokens after the instructions, the oldest messages are left out
    until `keep` of the limit remains. Source: OpenAI API reference, RetentionRatioTruncation."""

    limit: int
    keep: float


@frozen_for_readers
class Conversation:
    """`instructions` and `tools` in tokens, then the items in the server's order, and what these hold together."""

    instructions: int = 0
    tools: int = 0
    items: tuple[Item, ...] = ()
    held: Tokens = NO_TOKENS
    images: int = 0
    trimming: Trimming | None = None

    def __contains__(self, item_id: object) -> bool:
        return any(item.id == item_id for item in self.items)


def message(item_id: str, text: int = 0, audio_ms: int = 0, images: int = 0) -> Item:
    """An item that holds so many tokens of text, so much of the caller's audio, so many images."""
    return Item(item_id, Tokens(ITEM_FRAMING + text, heard_tokens(audio_ms)), images)


def with_item(conversation: Conversation, item: Item, after: str | None = None) -> Conversation:
    """The conversation with one item more: behind another one, first (`root`), or last. An id that is there stays."""
    items = conversation.items
    if item.id in conversation:
        return conversation
    at = len(items)
    if after == "root":
        at = 0
    elif after is not None:
        at = next((n + 1 for n, there in enumerate(items) if there.id == after), at)
    return Conversation(
        conversation.instructions,
        conversation.tools,
        (*items[:at], item, *items[at:]),
        conversation.held + item.tokens,
        conversation.images + item.images,
        conversation.trimming,
    )


def without_item(conversation: Conversation, item_id: str) -> Conversation:
    return _holding(conversation, (item for item in conversation.items if item.id != item_id))


def with_answer(conversation: Conversation, item_ids: Iterable[str], output: Units) -> Conversation:
    """The conversation after a response of which these are the output and its items; those that were deleted
    meanwhile stay away. What it thought (`output_reasoning`) is not read again.
    """
    there = [item_id for item_id in item_ids if item_id in conversation]
    if not there or not output:
        return conversation
    text = max(0, output.get("output_text", 0) - OUTPUT_FRAMING_NOT_KEPT)
    whole = Tokens(text, output.get("output_audio", 0))
    return _holding(
        conversation,
        (
            _cut(item._replace(tokens=whole if item.id == there[0] else NO_TOKENS)) if item.id in there else item
            for item in conversation.items
        ),
    )


def truncated(conversation: Conversation, item_id: str, heard_ms: int) -> Conversation:
    """The conversation after an answer was truncated to what was heard of it: the server then forgets its text.

    Source: OpenAI API reference, `conversation.item.truncated`.
    """
    return _holding(
        conversation,
        (_cut(item._replace(heard_ms=heard_ms)) if item.id == item_id else item for item in conversation.items),
    )


def _holding(conversation: Conversation, items: Iterable[Item]) -> Conversation:
    held = tuple(items)
    return replace(
        conversation,
        items=held,
        held=sum((item.tokens for item in held), NO_TOKENS),
        images=sum(item.images for item in held),
    )


def _cut(item: Item) -> Item:
    if item.heard_ms is None:
        return item
    audio = min(item.tokens.audio, said_tokens(item.heard_ms))
    return item._replace(tokens=Tokens(min(item.tokens.text, ITEM_FRAMING), audio))


def trimmed(conversation: Conversation, noticed: Trimming | None = None) -> Conversation:
    """The conversation as the next response reads it: without its oldest messages, if it has outgrown its limit.

    `noticed`: what its own figures have shown of a limit that the session does not tell.
    """
    trimming = conversation.trimming or noticed
    held = conversation.held.total
    if trimming is None or held <= trimming.limit:
        return conversation
    items = list(conversation.items)
    while items and held > trimming.limit * trimming.keep:
        held -= items.pop(0).tokens.total
    return _holding(conversation, items)
