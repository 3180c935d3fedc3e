"""Conversations that grow, and what their figures teach."""

from __future__ import annotations

from collections.abc import Mapping

from livekit_tokens.core.estimates.conversation import Conversation, message, with_item
from livekit_tokens.core.estimates.prompt import Figures, Reading, estimate_of, prompt_of, reading_of, taught


def grown(conversation: Conversation, items: int, text: int = 20, audio_ms: int = 0) -> Conversation:
    for _ in range(items):
        item = message(f"{len(conversation.items)}", text=text, audio_ms=audio_ms)
        conversation = with_item(conversation, item)
    return conversation


def talked(real: Mapping[int, dict[str, int]], conversation: Conversation) -> tuple[Figures, Conversation]:
    """A conversation of responses with these figures, one more item before each."""
    figures = Figures()
    for turn in sorted(real):
        conversation = grown(conversation, 1)
        reading = reading_of(figures, prompt_of(conversation))
        figures = taught(figures, reading, real[turn])
    return figures, conversation


def units_of(reading: Reading) -> dict[str, int]:
    return estimate_of(reading.expected).units
