"""What a server leaves out of a long conversation without a word, as its figures show.

Source: OpenAI API reference, RealtimeTruncation. A figure is believed to show that only where it is off by more than
estimates are.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livekit_tokens.core.estimates.conversation import NO_TOKENS, Item, Trimming
from livekit_tokens.core.estimates.prompt import Prompt, Reading, real_input
from livekit_tokens.domain.units import Units

LEAST_TRIMMED, TRIMMED_SHARE = 40, 0.08
"""Tokens that fall short, at least and of what was expected, before messages are taken to have been left out."""


def left_out(reading: Reading, units: Units) -> int:
    """How many of the oldest items the server has left out unseen."""
    surplus = _surplus(reading, units)
    if not surplus > 0:
        return 0
    for count, item in enumerate(reading.prompt.items):
        if surplus < item.tokens.total / 2:
            return count
        surplus -= item.tokens.total
    return len(reading.prompt.items)


def left_out_too_many(reading: Reading, units: Units) -> bool:
    """Whether more was read than was expected, by more than estimates are off."""
    return _surplus(reading, units) < 0


def is_surprise(reading: Reading, units: Units) -> bool:
    """Whether figures show that the conversation is not held as was thought."""
    return _surplus(reading, units) != 0


def _surplus(reading: Reading, units: Units) -> int:
    """By how many tokens real figures fall short of what was expected; 0 where that may be an estimate's error."""
    real = real_input(units)
    whole = reading.expected.tokens[0] + reading.expected.tokens[1]
    surplus = whole - real.text - real.audio
    return surplus if abs(surplus) > max(LEAST_TRIMMED, TRIMMED_SHARE * whole) else 0


def trimming_of(reading: Reading, count: int, read: Sequence[Prompt]) -> Trimming:
    """What leaving out the `count` oldest items (at least one) has shown of a limit that nobody tells.

    It lies between the most that was `read` whole and what they were left out of; as much is kept as remained, and a
    part of the last item that had to go.
    """
    items = reading.prompt.items
    held, remained = _held(items), _held(items[count:])
    keeps = remained + items[count - 1].tokens.total / 2
    whole = max((size for prompt in read if (size := _held(prompt.items)) < held), default=remained)
    limit = max(round(keeps), (whole + held) // 2)
    return Trimming(limit, min(1.0, keeps / limit)) if limit else Trimming(0, 0.0)


def _held(items: Sequence[Item]) -> int:
    return sum(item.tokens.total for item in items)


def without_oldest(reading: Reading, count: int) -> Reading:
    """The same, had it been known that the oldest items are left out: nothing of it can have been cached."""
    prompt, gone = reading.prompt, reading.prompt.items[:count]
    tokens = prompt.tokens - sum((item.tokens for item in gone), NO_TOKENS)
    images = prompt.images - sum(item.images for item in gone)
    kept_prompt = Prompt(prompt.preamble, prompt.items[count:], tokens, images)
    return Reading(kept_prompt, msgspec.structs.replace(reading.expected, stable=(0, 0, 0)))
