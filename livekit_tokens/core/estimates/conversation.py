"""What a realtime conversation holds: the items that the next response will read, each with its tokens.

Frozen: every change makes a new conversation. The items are those of the server, which keeps them; a new connection
begins with none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
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
    """`instructions` and `tools` in tokens, the items by id in the server's order, and what these hold together."""

    instructions: int = 0
    tools: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    held: Tokens = NO_TOKENS
    images: int = 0
    trimming: Trimming | None = None


def message(item_id: str, text: int = 0, audio_ms: int = 0, images: int = 0) -> Item:
    """An item that holds so many tokens of text, so much of the caller's audio, so many images."""
    return Item(item_id, Tokens(ITEM_FRAMING + text, heard_tokens(audio_ms)), images)


def with_item(conversation: Conversation, item: Item, after: str | None = None) -> Conversation:
    """The conversation with one item more: behind another one, first (`root`), or last. An id that is there stays."""
    there = conversation.items
    if item.id in there:
        return conversation
    items = {**there, item.id: item}
    if after == "root" or after in there:
        for moved in reversed(list(takewhile(lambda other: other != after, reversed(there)))):
            items[moved] = items.pop(moved)
    return _holding(conversation, items, conversation.held + item.tokens, conversation.images + item.images)


def without_items(conversation: Conversation, item_ids: Iterable[str]) -> Conversation:
    """The conversation without these, as far as they are there."""
    items, held, images = dict(conversation.items), conversation.held, conversation.images
    for item_id in item_ids:
        if (item := items.pop(item_id, None)) is not None:
            held, images = held - item.tokens, images - item.images
    if len(items) == len(conversation.items):
        return conversation
    return _holding(conversation, items, held, images)


def with_answer(conversation: Conversation, item_ids: Iterable[str], output: Units) -> Conversation:
    """The conversation after a response of which these are the output and its items; those that were deleted
    meanwhile stay away. What it thought (`output_reasoning`) is not read again.
    """
    there = [item for item_id in item_ids if (item := conversation.items.get(item_id)) is not None]
    if not there or not output:
        return conversation
    text = max(0, output.get("output_text", 0) - OUTPUT_FRAMING_NOT_KEPT)
    whole = Tokens(text, output.get("output_audio", 0))
    first = there[0]
    return _changed(
        conversation,
        [Item(item.id, whole if item is first else NO_TOKENS, item.images, item.heard_ms) for item in there],
    )


def truncated(conversation: Conversation, item_id: str, heard_ms: int) -> Conversation:
    """The conversation after an answer was truncated to what was heard of it: the server then forgets its text.

    Source: OpenAI API reference, `conversation.item.truncated`.
    """
    item = conversation.items.get(item_id)
    return conversation if item is None else _changed(conversation, [item._replace(heard_ms=heard_ms)])


def _changed(conversation: Conversation, changed: Iterable[Item]) -> Conversation:
    items, held = dict(conversation.items), conversation.held
    for item in changed:
        now = item if item.heard_ms is None else _cut(item, item.heard_ms)
        held = held - items[item.id].tokens + now.tokens
        items[item.id] = now
    return _holding(conversation, items, held, conversation.images)


def _holding(conversation: Conversation, items: dict[str, Item], held: Tokens, images: int) -> Conversation:
    return Conversation(conversation.instructions, conversation.tools, items, held, images, conversation.trimming)


def _cut(item: Item, heard_ms: int) -> Item:
    audio = min(item.tokens.audio, said_tokens(heard_ms))
    return item._replace(tokens=Tokens(min(item.tokens.text, ITEM_FRAMING), audio))


def trimmed(conversation: Conversation, noticed: Trimming | None = None) -> Conversation:
    """The conversation as the next response reads it: without its oldest messages, if it has outgrown its limit.

    `noticed`: what its own figures have shown of a limit that the session does not tell.
    """
    trimming = conversation.trimming or noticed
    held = conversation.held.total
    if trimming is None or held <= trimming.limit:
        return conversation
    oldest = []
    for item in conversation.items.values():
        if held <= trimming.limit * trimming.keep:
            break
        held -= item.tokens.total
        oldest.append(item.id)
    return without_items(conversation, oldest)
