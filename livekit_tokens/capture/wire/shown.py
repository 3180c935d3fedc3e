"""What providers have shown of themselves: how far they are, how fast their models answer, and think before they do."""

from __future__ import annotations

from typing import TypeVar

from livekit_tokens.capture.wire.answers import Pace

_MOST = 256

Of = tuple[str, str]
"""Host and model."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class Shown:
    """The latest of each; used by one thread."""

    def __init__(self) -> None:
        self._round_trips: dict[str, float] = {}
        self._paces: dict[Of, Pace] = {}
        self._thinking: dict[Of, float] = {}

    def round_trip(self, host: str) -> float:
        """Seconds there and back; 0 where nothing has shown it."""
        return self._round_trips.get(host, 0.0)

    def reached(self, host: str, seconds: float) -> None:
        """There and back within so long: the shortest counts."""
        _keep(self._round_trips, host, min(seconds, self._round_trips.get(host, seconds)))

    def pace(self, of: Of) -> Pace | None:
        return self._paces.get(of)

    def answered(self, of: Of, pace: Pace) -> None:
        """A whole answer came so fast."""
        _keep(self._paces, of, pace)

    def thinking(self, of: Of) -> float | None:
        """Tokens of reasoning for a second before the first output."""
        return self._thinking.get(of)

    def thought(self, of: Of, tokens_a_second: float) -> None:
        """An answer was billed so much for the time before it."""
        _keep(self._thinking, of, tokens_a_second)


def _keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    kept[key] = value
    if len(kept) > _MOST:
        del kept[next(iter(kept))]
