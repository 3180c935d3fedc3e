"""What a response reads and how much of it comes from the cache, calibrated by the conversation's own real figures.

Error: against recorded OpenAI traffic, later responses' input had a median error of 8% by constants alone
(sum -0.5%); `make bench-accuracy` prints what calibration leaves. Bounds follow the errors that this conversation's own
earlier estimates had; before its first figures they are 15%.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from livekit_tokens.core.estimates.bounds import Estimate, kept
from livekit_tokens.core.estimates.conversation import NO_TOKENS, Conversation, Item, Tokens
from livekit_tokens.core.estimates.framing import CACHE_BLOCK, ITEM_FRAMING, whole_blocks
from livekit_tokens.domain.units import Units

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
UNSURE_SHARE = 0.3
"""How much less than in the one or two responses before may come from the cache."""
LEAST_TRIMMED, TRIMMED_SHARE = 40, 0.08
"""Tokens that fall short, at least and of what was expected, before messages are taken to have been left out."""
REMEMBERED = 8

MODALITIES = ("text", "audio", "image")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a response reads: instructions, tools and items, as counted, before what figures taught."""

    preamble: int
    items: tuple[Item, ...]

    @property
    def tokens(self) -> Tokens:
        return sum((item.tokens for item in self.items), Tokens(text=self.preamble))

    @property
    def images(self) -> int:
        return sum(item.images for item in self.items)


@dataclass(frozen=True, slots=True)
class Share:
    """Of `stable` tokens that an earlier response had read just so, how many were cached; they come in blocks."""

    cached: int
    blocks: int
    stable: int

    @property
    def likely(self) -> float:
        return (self.cached + self.blocks * CACHE_BLOCK / 2) / self.stable

    @property
    def least(self) -> float:
        return self.cached / self.stable

    @property
    def most(self) -> float:
        return (self.cached + self.blocks * (CACHE_BLOCK - 1)) / self.stable


@dataclass(frozen=True, slots=True)
class Figures:
    """What a conversation's real figures have taught so far.

    `beyond`: by how much the last ones exceeded the count, with `count` items. `per_item`: by how much that grows
    with each item. `before_items`: what of it belongs to instructions and tools. `image`: tokens of one image.
    """

    seen: int = 0
    beyond: Tokens = NO_TOKENS
    count: int = 0
    per_item: float = 0.0
    before_items: float = 0.0
    image: float | None = None
    steps: tuple[float, ...] = ()
    misses: tuple[Tokens, ...] = ()
    shares: tuple[Share, ...] = ()
    read: tuple[Prompt, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response reads, what of it was `stable` since an earlier one, and the estimate."""

    prompt: Prompt
    stable: Tokens
    expected: Tokens
    estimate: Estimate

    @property
    def uncounted_images(self) -> int:
        return 0 if self.expected.image else self.prompt.images


def prompt_of(conversation: Conversation, instructions: int | None = None, tools: int | None = None) -> Prompt:
    """What a response reads; `instructions` and `tools` are its own, where it was asked for with such."""
    parts = (
        conversation.instructions if instructions is None else instructions,
        conversation.tools if tools is None else tools,
    )
    return Prompt(sum(part + ITEM_FRAMING for part in parts if part), conversation.items)


def reading_of(figures: Figures, prompt: Prompt) -> Reading:
    """The estimate of a response that reads this."""
    stable = _stable(figures, prompt)
    expected = _expected(figures, prompt)
    return Reading(prompt, stable, expected, _estimate(figures, prompt, expected, stable))


def begun(figures: Figures, reading: Reading) -> Figures:
    """What is known once the provider has begun to read it: it may be cached from now on."""
    return replace(figures, read=(*figures.read[-3:], reading.prompt))


def left_out(reading: Reading, units: Units) -> int:
    """How many of the oldest items the server has left out unseen: a long conversation is trimmed without a word.

    Source: OpenAI API reference, RealtimeTruncation. Only where the real figures fall short by more than estimates do.
    """
    surplus = reading.expected.text + reading.expected.audio - real_input(units).text - real_input(units).audio
    if surplus <= max(LEAST_TRIMMED, TRIMMED_SHARE * (reading.expected.text + reading.expected.audio)):
        return 0
    for count, item in enumerate(reading.prompt.items):
        if surplus < item.tokens.total / 2:
            return count
        surplus -= item.tokens.total
    return len(reading.prompt.items)


def without_oldest(reading: Reading, count: int) -> Reading:
    """The same, had it been known that the oldest items are left out: nothing of it can have been cached."""
    prompt = Prompt(reading.prompt.preamble, reading.prompt.items[count:])
    return replace(reading, prompt=prompt, stable=NO_TOKENS) if count else reading


def taught(figures: Figures, reading: Reading, units: Units) -> Figures:
    """What is known once a response's real figures have come."""
    real = real_input(units)
    prompt, count = reading.prompt, len(reading.prompt.items)
    beyond = real - prompt.tokens
    steps, grown = figures.steps, count - figures.count
    if figures.seen and grown > 0 and abs(step := (beyond.text - figures.beyond.text) / grown) <= PLAUSIBLE_FRAMING:
        steps = (*steps, step)[-REMEMBERED:]
    per_item = median(steps) if steps else 0.0
    miss = Tokens(abs(reading.expected.text - real.text), abs(reading.expected.audio - real.audio))
    share = _share(reading.stable, units)
    return replace(
        figures,
        seen=figures.seen + 1,
        beyond=beyond,
        count=count,
        steps=steps,
        per_item=per_item,
        before_items=figures.before_items if figures.seen else beyond.text - per_item * count,
        image=real.image / prompt.images if prompt.images and real.image else figures.image,
        misses=(*figures.misses, miss)[-REMEMBERED:] if figures.seen else (),
        shares=(*figures.shares, share)[-REMEMBERED:] if share is not None else figures.shares,
    )


def on_a_new_connection(figures: Figures) -> Figures:
    """The server knows nothing of the old conversation; what its figures taught about framing still holds."""
    return replace(figures, beyond=Tokens(text=round(figures.before_items)), count=0, read=())


def real_input(units: Units) -> Tokens:
    """The input of real figures, cached or not, by modality."""
    return Tokens(*(units.get(f"input_{m}", 0) + units.get(f"cached_input_{m}", 0) for m in MODALITIES))


def _expected(figures: Figures, prompt: Prompt) -> Tokens:
    counted, beyond = prompt.tokens, figures.beyond
    grown = figures.per_item * (len(prompt.items) - figures.count)
    return Tokens(
        max(0, round(counted.text + beyond.text + grown)),
        max(0, counted.audio + beyond.audio),
        round(prompt.images * figures.image) if figures.image is not None else 0,
    )


def _stable(figures: Figures, prompt: Prompt) -> Tokens:
    """What begins this prompt just as it began an earlier one: only that can come from the cache.

    Source: OpenAI's guides on prompt caching and on managing the Realtime API's costs.
    """
    same = max(
        (_common(earlier.items, prompt.items) for earlier in figures.read if earlier.preamble == prompt.preamble),
        default=None,
    )
    if same is None:
        return NO_TOKENS
    tokens = Prompt(prompt.preamble, prompt.items[:same]).tokens
    images = sum(item.images for item in prompt.items[:same])
    unchanged = same >= figures.count  # then all that the last figures held beyond the count is in it
    beyond = figures.beyond.text if unchanged else figures.before_items + figures.per_item * same
    return Tokens(
        max(0, round(tokens.text + beyond)),
        max(0, tokens.audio + (figures.beyond.audio if unchanged else 0)),
        round(images * (figures.image or 0)),
    )


def _common(before: tuple[Item, ...], now: tuple[Item, ...]) -> int:
    same = 0
    for left, right in zip(before, now, strict=False):
        if left is not right and left != right:
            break
        same += 1
    return same


def _share(stable: Tokens, units: Units) -> Share | None:
    cached = blocks = whole = 0
    for modality in MODALITIES:
        held: int = getattr(stable, modality)
        if held >= CACHE_BLOCK:
            cached += units.get(f"cached_input_{modality}", 0)
            blocks += 1
            whole += held
    return Share(cached, blocks, whole) if whole else None


def _cached_share(figures: Figures) -> tuple[float, float, float]:
    """How much of what is stable comes from the cache: likely, at least, at most.

    Without figures of its own: all of it in whole blocks, as the published examples show.
    """
    shares = figures.shares
    if not shares:
        return 1.0, 0.0, 1.0
    stable = sum(share.stable for share in shares)
    likely = sum(share.likely * share.stable for share in shares) / stable
    most = max(1.0, *(share.least for share in shares))
    if len(shares) < 3:
        return min(likely, most), max(0.0, min(share.least for share in shares) - UNSURE_SHARE), most
    spread = (max(share.likely for share in shares) - min(share.likely for share in shares)) / len(shares) + 0.05
    least = min(share.least for share in shares) - spread
    return min(likely, most), max(0.0, least), min(most, max(share.most for share in shares) + spread)


def _estimate(figures: Figures, prompt: Prompt, expected: Tokens, stable: Tokens) -> Estimate:
    likely, least, most = _cached_share(figures)
    new = abs(len(prompt.items) - figures.count)
    units: dict[str, float] = {}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for modality in MODALITIES:
        tokens: int = getattr(expected, modality)
        held: int = getattr(stable, modality)
        margin = _margin(figures, modality, tokens, new)
        cached, fewest, most_cached = (min(whole_blocks(held * part), tokens) for part in (likely, least, most))
        # A call's first prompt may be cached whole by another call's (openai-dotnet #1045: 1,408 of 1,459 tokens).
        most_cached = min(whole_blocks(tokens + margin), most_cached + CACHE_BLOCK if figures.seen else tokens)
        units |= {f"input_{modality}": tokens - cached, f"cached_input_{modality}": cached}
        low |= {f"input_{modality}": tokens - margin - most_cached, f"cached_input_{modality}": fewest}
        high |= {f"input_{modality}": tokens + margin - fewest, f"cached_input_{modality}": most_cached}
    if prompt.images and not expected.image:
        images = prompt.images * MOST_IMAGE_TOKENS
        high |= {"input_image": images, "cached_input_image": images}
    return Estimate(kept(**units), kept(**low), kept(**high))


def _margin(figures: Figures, modality: str, tokens: int, new: int) -> float:
    if not tokens:
        return 0.0
    if not figures.seen:
        return max(LEAST_MARGIN, tokens * UNCALIBRATED)
    if modality == "image":
        return tokens * UNCALIBRATED
    misses = sorted(getattr(miss, modality) for miss in figures.misses)
    # One surprise among many (messages that were left out unseen) does not widen every bound after it.
    usual = misses[-2] if len(misses) >= 4 else misses[-1] if misses else tokens * UNCALIBRATED / 3
    return LEAST_MARGIN + max(1.5 * usual, new * (ITEM_MARGIN if modality == "text" else 1))
