"""What OpenAI charges around and for content, in tokens.

Sources: OpenAI's guide "Managing costs" of the Realtime API (audio: 100 ms a token heard, 50 ms a token said; special
tokens "surface as small variations"), and recordings of real traffic for the size of those variations (2026-11).
"""

from __future__ import annotations

ITEM_FRAMING = 5
"""Text tokens around an item of a conversation. Recordings: 36 interruptions in flight, 2026-11."""
OUTPUT_FRAMING = 8
"""Text tokens that a response bills beyond its transcript. Same recordings."""
OUTPUT_FRAMING_NOT_KEPT = 6
"""Of those, what the next response does not read again. Same recordings."""
AUDIO_MS_PER_TOKEN = 50
"""What the model says."""
USER_AUDIO_MS_PER_TOKEN = 100
"""What the model hears."""
PCM16_BYTES_PER_MS = 48
"""24 kHz mono pcm16, the Realtime API's format in LiveKit."""
CHARACTERS_PER_TOKEN = 4.4
"""English prose has 4.0 (technical notes) to 5.0 (a licence) characters an o200k token; only used where the
vocabulary is not loaded."""
CACHE_BLOCK = 64
"""Cached tokens of each modality come in whole blocks. Every published `response.done` of a gpt-realtime model shows
it: 64 of 119 text; 64 of 96 audio; 1,344 of 1,349 text with 64 of 110 audio (API reference; openai-dotnet #1045)."""


def text_tokens(characters: int) -> int:
    """Tokens of a text of which only the length is kept. Off by 15% on English, by much more elsewhere."""
    return round(characters / CHARACTERS_PER_TOKEN)


def heard_tokens(milliseconds: int) -> int:
    """Audio tokens of what a caller said. Off by less than one token."""
    return milliseconds // USER_AUDIO_MS_PER_TOKEN


def said_tokens(milliseconds: int) -> int:
    """Audio tokens of what the model said. Recordings: -1.9% in sum."""
    return -(-milliseconds // AUDIO_MS_PER_TOKEN)


def whole_blocks(tokens: float) -> int:
    """As many tokens as whole blocks of the cache hold."""
    return int(max(0.0, tokens) // CACHE_BLOCK) * CACHE_BLOCK
