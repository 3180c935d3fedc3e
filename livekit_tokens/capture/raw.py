"""Reading raw events as JSON gave them: nothing in them is believed to be there, or to be of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livekit_tokens.core.vocabulary import tokens_in
from livekit_tokens.domain.units import LARGEST

Event = Mapping[str, Any]

_NOT_READ = frozenset({"type", "id", "object", "status", "role", "call_id", "audio", "image_url", "transcript"})
"""Fields of an item whose texts are no text tokens. A transcript stands for audio, which is counted as such."""


def mapping(value: object) -> Event:
    # What is not there is told apart at once: asking it for its abstract class takes a microsecond.
    return value if type(value) is dict or (value is not None and isinstance(value, Mapping)) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def whole(value: object) -> int | None:
    """A count that is plausible."""
    return value if type(value) is int and 0 <= value <= LARGEST else None


def tokens_of(value: object) -> int:
    """Tokens of all texts in an item: its content, a call's name and arguments, a call's output."""
    if isinstance(value, str):
        return tokens_in(value)
    if isinstance(value, list):
        return sum(map(tokens_of, value))
    return sum(tokens_of(part) for name, part in mapping(value).items() if name not in _NOT_READ)


def base64_bytes(value: object) -> int:
    """How many bytes a base64 text stands for, without decoding it."""
    return len(value) * 3 // 4 if isinstance(value, str) else 0


class Recent(dict[object, None]):
    """The last few hundred ids that were seen, so that nothing is counted twice and memory stays bounded."""

    MOST = 512

    def add(self, key: object) -> None:
        self[key] = None
        if len(self) > self.MOST:
            del self[next(iter(self))]
