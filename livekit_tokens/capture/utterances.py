"""What a voice was given to say, for where LiveKit tells nothing: a streaming voice that is interrupted.

Its provider bills the characters that it was sent; LiveKit reports a segment with its last frame of audio, which an
interruption prevents. Measured on livekit-agents 1.8.9: 33 characters billed, no metric.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any
from weakref import ref


class Utterance:
    """One run of an agent's `tts_node`: the characters it was given, and whether anything was told of them."""

    def __init__(self, voice: Any, agent: str) -> None:
        self._voice = ref(voice)
        self.agent = agent
        self.characters = 0
        self.told = False

    @property
    def voice(self) -> Any:
        return self._voice()

    @property
    def is_missing(self) -> bool:
        return self.characters > 0 and not self.told

    async def overhear(self, text: AsyncIterable[str]) -> AsyncIterator[str]:
        """The text as it passes on its way to the voice; only its length is kept."""
        async for piece in text:
            self.characters += len(piece)
            yield piece
