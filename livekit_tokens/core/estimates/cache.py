"""How much of a prompt comes from the provider's cache, as this conversation's own figures have shown.

Only a beginning that was read before can come from it, in whole blocks of each modality. Before there are figures all
of it is expected to, as the published examples show; the bounds then hold everything between none and all.
Source: OpenAI's guides on prompt caching and on managing the Realtime API's costs.
"""

from __future__ import annotations

from operator import mul
from typing import NamedTuple

from livekit_tokens.core.estimates.framing import CACHE_BLOCK
from livekit_tokens.domain.units import Units

UNSURE_SHARE = 0.3
"""How much less than in the one or two responses before may come from the cache."""

MODALITIES = ("text", "audio", "image")
_CACHED = tuple(f"cached_input_{modality}" for modality in MODALITIES)

Three = tuple[int, int, int]
"""Of text, audio and image tokens."""
Range = tuple[float, float, float]
"""A share of what is stable: likely, at least, at most."""

ALL_CACHED: Range = (1.0, 0.0, 1.0)
"""Without figures of its own."""


class Share(NamedTuple):
    """The cached part of `stable` tokens that an earlier response had read just so: as told it is `least`, and as it
    comes in blocks, it may have been up to `most`."""

    likely: float
    least: float
    most: float
    stable: int


def share_of(stable: Three, units: Units) -> Share | None:
    """What real figures tell of it; None where nothing fills a block."""
    cached = blocks = whole = 0
    for cached_unit, held in zip(_CACHED, stable, strict=True):
        if held >= CACHE_BLOCK:
            cached += units.get(cached_unit, 0)
            blocks += 1
            whole += held
    if not whole:
        return None
    up_to = cached + blocks * (CACHE_BLOCK - 1)
    return Share((cached + up_to) / 2 / whole, cached / whole, up_to / whole, whole)


def usual_share(shares: tuple[Share, ...]) -> Range:
    """What is usual of the last ones (at least one): the more tokens, the more it counts."""
    likely, told, up_to, stable = zip(*shares, strict=True)
    usual = sum(map(mul, likely, stable)) / sum(stable)
    least, most = min(told), max(1.0, *told)
    if len(shares) < 3:
        return min(usual, most), max(0.0, least - UNSURE_SHARE), most
    spread = (max(likely) - min(likely)) / len(shares) + 0.05
    return min(usual, most), max(0.0, least - spread), min(most, max(up_to) + spread)
