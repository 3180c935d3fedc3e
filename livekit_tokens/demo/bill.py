"""The stand-in provider's bill, and the arithmetic of the conversation that it charges for.

Nothing here may import the tracker's code: two counts that share code agree on the same mistake.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

CACHE_BLOCK = 64
"""OpenAI serves prompts from its cache in whole blocks, of each modality: 64 of 119 text tokens, 64 of 96 audio tokens
in the API reference; 1,344 of 1,349 text with 64 of 110 audio (openai-dotnet #1045)."""


@dataclass(frozen=True, slots=True)
class Frames:
    """What is billed around content, in text tokens. By default as in recordings of real OpenAI traffic (2026-11).

    `item`: around an item. `output`: beyond an answer's text. `not_kept`: what the next answer does not read of that.
    `tools`: a tool's tokens against those of its JSON. `image`: tokens of an image.
    """

    item: int = 5
    output: int = 8
    not_kept: int = 6
    tools: float = 1.0
    image: int = 85


_TOKEN = re.compile(r"\w{1,6}|[^\w\s]")


def rough_count(text: str) -> int:
    """About as many tokens as o200k finds in plain English: one per short word or sign."""
    return len(_TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by modality."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.text - other.text, self.audio - other.audio, self.image - other.image)

    @property
    def total(self) -> int:
        return self.text + self.audio + self.image

    def blocks(self, share: float) -> Tokens:
        """The whole blocks in a share of these tokens, of each modality."""
        return Tokens(*(int(tokens * share) // CACHE_BLOCK * CACHE_BLOCK for tokens in astuple(self)))


@dataclass(slots=True)
class Billed:
    """One request on the bill. `units` are disjoint; `usage` is what `delivered` figures said or would have said."""

    kind: Literal["realtime_response", "transcription"]
    model: str
    id: str
    session: str
    status: str
    units: dict[str, int]
    usage: Json | None
    reason: str | None = None
    delivered: bool = False
    """Whether the figures were written to a live socket; the client may still have thrown them away."""


@dataclass
class Bill:
    """Every request in the order in which it was billed."""

    entries: list[Billed] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, entry: Billed) -> None:
        self.entries.append(entry)
        self.tell()

    def tell(self) -> None:
        """Wake those who wait for the bill to change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def units(self, kind: str | None = None, model: str | None = None) -> dict[str, int]:
        """Sum of the matching entries, unit by unit."""
        sums: dict[str, int] = {}
        for entry in self.entries:
            if kind in (None, entry.kind) and model in (None, entry.model):
                for name, quantity in entry.units.items():
                    sums[name] = sums.get(name, 0) + quantity
        return dict(sorted(sums.items()))

    async def until(self, is_so: Callable[[Bill], bool], within: float = 60.0) -> None:
        """Wait until the bill satisfies `is_so`. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while not is_so(self):
                await self._changed.wait()

    def to_dict(self) -> Json:
        return {"entries": [asdict(entry) for entry in self.entries], "units": self.units()}


class Conversation:
    """What the model reads before it answers: every item with its tokens, in order."""

    def __init__(self, frames: Frames = Frames()) -> None:
        self._frames = frames
        self._items: dict[str, Tokens] = {}
        self._left_out: set[str] = set()
        self._read: list[list[tuple[str, Tokens]]] = []

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def last(self) -> str | None:
        return next(reversed(self._items), None)

    def before(self, item_id: str) -> str | None:
        """The item that precedes `item_id`."""
        names = [None, *self._items]
        return names[names.index(item_id) - 1]

    def put(self, item_id: str, tokens: Tokens, after: str | None = None) -> None:
        """Add an item, or change it in place. `after` is an item, "root" for the beginning, or None for the end."""
        if item_id in self._items or after is None:
            self._items[item_id] = tokens
            return
        rest = list(self._items.items())
        at = 0 if after == "root" else [name for name, _ in rest].index(after) + 1
        rest.insert(at, (item_id, tokens))
        self._items = dict(rest)

    def remove(self, item_id: str) -> None:
        del self._items[item_id]

    def keep_audio(self, item_id: str, audio_ms: int) -> None:
        """Truncate an assistant's item to what was heard; OpenAI then forgets its transcript."""
        was, frames = self._items[item_id], self._frames
        self._items[item_id] = Tokens(min(was.text, frames.output - frames.not_kept), min(was.audio, audio_ms // 50))

    def trim(self, limit: int, keep: float) -> None:
        """Leave out the oldest items once all are above `limit` tokens, until `keep` of it remains; nobody is told."""
        there = [item for item in self._items.items() if item[0] not in self._left_out]
        held = sum(tokens.total for _, tokens in there)
        if held <= limit:
            return
        for item_id, tokens in there:
            if held <= limit * keep:
                break
            self._left_out.add(item_id)
            held -= tokens.total

    def read(self, preamble: list[tuple[str, Tokens]], cached_share: float) -> tuple[Tokens, Tokens]:
        """Let the model read it all: how many tokens, and how many of them from the cache.

        Only a beginning that was read before can be cached, in whole blocks, and of that only `cached_share` still is.
        """
        prompt = preamble + [item for item in self._items.items() if item[0] not in self._left_out]
        same = max((_common_beginning(earlier, prompt) for earlier in self._read), key=len, default=[])
        self._read.append(prompt)
        return _sum([t for _, t in prompt]), _sum([t for _, t in same]).blocks(cached_share)


def _common_beginning(a: list[tuple[str, Tokens]], b: list[tuple[str, Tokens]]) -> list[tuple[str, Tokens]]:
    same = []
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        same.append(left)
    return same


def _sum(parts: list[Tokens]) -> Tokens:
    return sum(parts, Tokens())


def heard(audio_ms: int, frames: Frames) -> Tokens:
    """A caller's committed audio: one token per 100 ms."""
    return Tokens(text=frames.item, audio=math.ceil(audio_ms / 100))


def said(text_tokens: int, audio_ms: int, frames: Frames) -> Tokens:
    """A model's answer, as billed: one audio token per 50 ms. Nothing generated is nothing billed."""
    if not text_tokens and not audio_ms:
        return Tokens()
    return Tokens(text=frames.output + text_tokens, audio=audio_ms // 50)


def kept(output: Tokens, frames: Frames) -> Tokens:
    """The same answer as the next response reads it."""
    return Tokens(max(0, output.text - frames.not_kept), output.audio)


def response_units(read: Tokens, cached: Tokens, output: Tokens) -> dict[str, int]:
    fresh = read - cached
    return _nonzero(
        input_text=fresh.text,
        input_audio=fresh.audio,
        input_image=fresh.image,
        cached_input_text=cached.text,
        cached_input_audio=cached.audio,
        cached_input_image=cached.image,
        output_text=output.text,
        output_audio=output.audio,
    )


def response_usage(read: Tokens, cached: Tokens, output: Tokens) -> Json:
    """The same figures as OpenAI writes them into `response.done`: parts inside their wholes."""
    return {
        "total_tokens": read.total + output.total,
        "input_tokens": read.total,
        "output_tokens": output.total,
        "input_token_details": {
            **_by_modality(read),
            "cached_tokens": cached.total,
            "cached_tokens_details": _by_modality(cached),
        },
        "output_token_details": {"text_tokens": output.text, "audio_tokens": output.audio},
    }


def _by_modality(tokens: Tokens) -> Json:
    return {"text_tokens": tokens.text, "audio_tokens": tokens.audio, "image_tokens": tokens.image}


def transcription_of(model: str, audio_ms: int, transcript: str) -> tuple[dict[str, int], Json]:
    """Units and usage of an input transcription: whisper-1 by whole seconds, its successors by tokens."""
    if model == "whisper-1":
        seconds = math.ceil(audio_ms / 1000)
        return _nonzero(audio_ms=seconds * 1000), {"type": "duration", "seconds": seconds}
    audio, output = math.ceil(audio_ms / 100), rough_count(transcript)
    usage = {
        "type": "tokens",
        "total_tokens": audio + output,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": output,
    }
    return _nonzero(input_audio=audio, output_text=output), usage


def _nonzero(**quantities: int) -> dict[str, int]:
    return {name: quantity for name, quantity in quantities.items() if quantity}
