"""What a response reads and how much of it comes from the cache, calibrated by the conversation's own real figures.

Error: against recorded OpenAI traffic, later responses' input had a median error of 8% by constants alone
(sum -0.5%); `make bench-accuracy` prints what calibration leaves. Bounds follow the errors that this conversation's own
earlier estimates had; before its first figures they are 15%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from livekit_tokens.core.estimates.bounds import Estimate, kept
from livekit_tokens.core.estimates.cache import ALL_CACHED, MODALITIES, Range, Share, Three, share_of, usual_share
from livekit_tokens.core.estimates.conversation import NO_TOKENS, Conversation, Item, Tokens
from livekit_tokens.core.estimates.framing import CACHE_BLOCK, ITEM_FRAMING, whole_blocks
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import frozen_for_readers

UNCALIBRATED = 0.15
"""Of a prompt's tokens, before the conversation's first figures: its framing and tools are OpenAI's own secret.
Recordings of chats: tools alone 2 to 13% off."""
LEAST_MARGIN, ITEM_MARGIN = 3, 4
"""Tokens, of all and of each item since the last figures: a rounded audio, special tokens more or less."""
MOST_IMAGE_TOKENS = 1105
"""No rule is published for images that a realtime model reads. This bounds them: the dearest image by the rule of
gpt-4o, 85 and six tiles of 170 (OpenAI's guide "Images and vision")."""
PLAUSIBLE_FRAMING = 30
"""Text tokens an item: a step beyond it is no framing but something that was left out or added unseen."""
REMEMBERED = 8


@frozen_for_readers
class Prompt:
    """What a response reads: instructions, tools and items, as counted, before what figures taught."""

    preamble: int
    items: tuple[Item, ...]
    tokens: Tokens
    images: int


@frozen_for_readers
class Figures:
    """What a conversation's real figures have taught so far.

    `beyond`: by how much the last ones exceeded the count, with `count` items. `per_item`: by how much that grows
    with each item. `before_items`: what of it belongs to instructions and tools. `image`: tokens of one image.
    `cached`: the share of what is stable that comes from the cache: likely, at least, at most. `off`: by how much its
    estimates usually were off, in text and audio tokens; None before there were two.
    """

    seen: int = 0
    beyond: Tokens = NO_TOKENS
    count: int = 0
    per_item: float = 0.0
    before_items: float = 0.0
    image: float | None = None
    cached: Range = ALL_CACHED
    off: tuple[int, int] | None = None
    steps: tuple[float, ...] = ()
    misses: tuple[Tokens, ...] = ()
    shares: tuple[Share, ...] = ()


class Expected(msgspec.Struct, frozen=True, array_like=True):
    """What a response is expected to read: the numbers that its estimate is made from, once one is needed.

    `tokens` by modality, each with its `margin`; `stable` are those that an earlier response had read just so;
    `cached` as in Figures. `images` are those of which nobody knows what they cost.
    """

    tokens: Three
    margin: Three
    stable: Three
    cached: Range
    calibrated: bool
    images: int = 0


@frozen_for_readers
class Reading:
    """A prompt and what is expected of it."""

    prompt: Prompt
    expected: Expected


def prompt_of(conversation: Conversation, instructions: int | None = None, tools: int | None = None) -> Prompt:
    """What a response reads; `instructions` and `tools` are its own, where it was asked for with such."""
    instructions = conversation.instructions if instructions is None else instructions
    tools = conversation.tools if tools is None else tools
    preamble = (instructions + ITEM_FRAMING if instructions else 0) + (tools + ITEM_FRAMING if tools else 0)
    held = conversation.held
    items = tuple(conversation.items.values())
    return Prompt(preamble, items, Tokens(held.text + preamble, held.audio, held.image), conversation.images)


def reading_of(figures: Figures, prompt: Prompt, read: Sequence[Prompt] = (), before: Reading | None = None) -> Reading:
    """What is expected of a response that reads this; `read` are the prompts that earlier ones have read.

    `before`: what was expected, by the same figures and with the same ones read, before the conversation went on.
    """
    is_known = before is not None and _goes_on(prompt, before.prompt, read)
    grown = len(prompt.items) - figures.count
    text = max(0, round(prompt.tokens.text + figures.beyond.text + figures.per_item * grown))
    audio = max(0, prompt.tokens.audio + figures.beyond.audio)
    image = 0 if figures.image is None else round(prompt.images * figures.image)
    expected = Expected(
        (text, audio, image),
        _margins(figures, text, audio, image, abs(grown)),
        before.expected.stable if before is not None and is_known else _stable(figures, prompt, read),
        figures.cached,
        figures.seen > 0,
        0 if image else prompt.images,
    )
    return Reading(prompt, expected)


def estimate_of(expected: Expected) -> Estimate:
    """Units and bounds of what is expected."""
    likely, least, most = expected.cached
    units: dict[str, float] = {}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for modality, tokens, margin, stable in zip(
        MODALITIES, expected.tokens, expected.margin, expected.stable, strict=True
    ):
        cached, fewest, most_cached = (min(whole_blocks(stable * share), tokens) for share in (likely, least, most))
        # A call's first prompt may be cached whole by another call's (openai-dotnet #1045: 1,408 of 1,459 tokens).
        most_cached = min(whole_blocks(tokens + margin), most_cached + CACHE_BLOCK if expected.calibrated else tokens)
        units |= {f"input_{modality}": tokens - cached, f"cached_input_{modality}": cached}
        low |= {f"input_{modality}": tokens - margin - most_cached, f"cached_input_{modality}": fewest}
        high |= {f"input_{modality}": tokens + margin - fewest, f"cached_input_{modality}": most_cached}
    if expected.images:
        images = expected.images * MOST_IMAGE_TOKENS
        high |= {"input_image": images, "cached_input_image": images}
    return Estimate(kept(**units), kept(**low), kept(**high))


def taught(figures: Figures, reading: Reading, units: Units) -> Figures:
    """What is known once a response's real figures have come."""
    real, prompt = real_input(units), reading.prompt
    count, beyond = len(prompt.items), real - prompt.tokens
    steps, grown = figures.steps, count - figures.count
    if figures.seen and grown > 0 and abs(step := (beyond.text - figures.beyond.text) / grown) <= PLAUSIBLE_FRAMING:
        steps = (*steps, step)[-REMEMBERED:]
    per_item = sorted(steps)[len(steps) // 2] if steps else 0.0
    text, audio, _ = reading.expected.tokens
    miss = Tokens(abs(text - real.text), abs(audio - real.audio))
    share = share_of(reading.expected.stable, units)
    shares = figures.shares if share is None else (*figures.shares, share)[-REMEMBERED:]
    misses = (*figures.misses, miss)[-REMEMBERED:] if figures.seen else ()
    return Figures(
        seen=figures.seen + 1,
        beyond=beyond,
        count=count,
        per_item=per_item,
        before_items=figures.before_items if figures.seen else beyond.text - per_item * count,
        image=real.image / prompt.images if prompt.images and real.image else figures.image,
        cached=figures.cached if share is None else usual_share(shares),
        off=_usually_off(misses) if misses else None,
        steps=steps,
        misses=misses,
        shares=shares,
    )


def _usually_off(misses: tuple[Tokens, ...]) -> tuple[int, int]:
    # One surprise among many (messages that were left out unseen) does not widen every bound after it.
    skipped = -2 if len(misses) >= 4 else -1
    text, audio, _ = zip(*misses, strict=True)
    return sorted(text)[skipped], sorted(audio)[skipped]


def on_a_new_connection(figures: Figures) -> Figures:
    """The server knows nothing of the old conversation; what its figures taught about framing still holds."""
    return replace(figures, beyond=Tokens(round(figures.before_items)), count=0)


def real_input(units: Units) -> Tokens:
    """The input of real figures, cached or not, by modality."""
    get = units.get
    return Tokens(
        get("input_text", 0) + get("cached_input_text", 0),
        get("input_audio", 0) + get("cached_input_audio", 0),
        get("input_image", 0) + get("cached_input_image", 0),
    )


def _stable(figures: Figures, prompt: Prompt, read: Sequence[Prompt]) -> Three:
    """What begins this prompt just as it began an earlier one: only that can come from the cache.

    Source: OpenAI's guides on prompt caching and on managing the Realtime API's costs.
    """
    same = -1
    for earlier in reversed(read):
        if earlier.preamble == prompt.preamble and len(earlier.items) > same:
            same = max(same, _common(earlier.items, prompt.items))
    if same < 0:
        return 0, 0, 0
    tokens, images = prompt.tokens, prompt.images
    for item in prompt.items[same:]:  # few, and the others many
        tokens, images = tokens - item.tokens, images - item.images
    unchanged = same >= figures.count  # then all that the last figures held beyond the count is in it
    beyond = figures.beyond.text if unchanged else figures.before_items + figures.per_item * same
    audio = tokens.audio + (figures.beyond.audio if unchanged else 0)
    return max(0, round(tokens.text + beyond)), max(0, audio), round(images * (figures.image or 0))


def _goes_on(prompt: Prompt, before: Prompt, read: Sequence[Prompt]) -> bool:
    """Whether it is the one before, with nothing behind it that any has read there: then no more of it is stable."""
    items, count = prompt.items, len(before.items)
    if prompt.preamble != before.preamble or items[:count] != before.items:
        return False
    added = items[count : count + 1]
    return not added or all(earlier.items[count : count + 1] != added for earlier in read)


def _common(before: tuple[Item, ...], now: tuple[Item, ...]) -> int:
    if now[: len(before)] == before:  # the usual case, in one comparison
        return len(before)
    same = 0
    for left, right in zip(before, now, strict=False):
        if left is not right and left != right:
            break
        same += 1
    return same


def _margins(figures: Figures, text: int, audio: int, image: int, new: int) -> Three:
    if not figures.seen:
        return _uncalibrated(text), _uncalibrated(audio), _uncalibrated(image)
    off_text, off_audio = figures.off or (text * UNCALIBRATED / 3, audio * UNCALIBRATED / 3)
    return (
        round(LEAST_MARGIN + max(1.5 * off_text, new * ITEM_MARGIN)) if text else 0,
        round(LEAST_MARGIN + max(1.5 * off_audio, new)) if audio else 0,
        round(image * UNCALIBRATED),
    )


def _uncalibrated(tokens: int) -> int:
    return max(LEAST_MARGIN, round(tokens * UNCALIBRATED)) if tokens else 0
