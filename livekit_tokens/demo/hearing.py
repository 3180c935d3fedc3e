"""The stand-in provider's ear: the input audio buffer and a voice detection by loudness."""

from __future__ import annotations

import array
from dataclasses import dataclass, field
from typing import Literal

LOUD = 1_000
"""Peak of 32,768. Silence through Opus stays below 100."""
PADDING_MS = 300
BYTES_PER_MS = 48


@dataclass
class Ear:
    """Hears 24 kHz pcm16 as it is appended. Times are milliseconds of audio since the connection began."""

    silence_ms: int
    now_ms: int = 0
    buffered_ms: int = 0
    began_ms: int | None = field(default=None)
    _loud_ms: int = 0

    def append(self, pcm: bytes) -> Literal["started", "stopped"] | None:
        """Take one piece in; tell when the caller began or stopped speaking with it."""
        length = len(pcm) // BYTES_PER_MS
        loud = _peak(pcm) >= LOUD
        self.now_ms += length
        self.buffered_ms += length
        if loud:
            self._loud_ms = self.now_ms
        if self.began_ms is None:
            if loud:
                return self._begin(length)
            # With voice detection, what came long before speech is never committed.
            self.buffered_ms = min(self.buffered_ms, PADDING_MS)
            return None
        return "stopped" if self.now_ms - self._loud_ms >= self.silence_ms else None

    def fill(self, pcm: bytes) -> None:
        """Take one piece in without listening: the client says when its turn is over."""
        self.now_ms += len(pcm) // BYTES_PER_MS
        self.buffered_ms += len(pcm) // BYTES_PER_MS

    def _begin(self, length: int) -> Literal["started"]:
        self.buffered_ms = min(self.buffered_ms, length + PADDING_MS)
        self.began_ms = self.now_ms - self.buffered_ms
        return "started"

    def take(self) -> int:
        """Empty the buffer; how many milliseconds were in it."""
        taken, self.buffered_ms, self.began_ms = self.buffered_ms, 0, None
        return taken


def _peak(pcm: bytes) -> int:
    samples = array.array("h", pcm[: len(pcm) // 2 * 2])
    return max(map(abs, (max(samples), min(samples)))) if samples else 0
