"""One object (a JSON body, a line of events) that comes in pieces; of one that is too long to be read, both its ends.

In OpenAI's protocol its type, id and model stand at its beginning, its usage at its end; what makes it long (images,
vectors, audio) is nothing that is counted. Source: OpenAI API reference, Responses, Image generation, Embeddings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

END = 1 << 16
"""Bytes of either end that are kept."""


class Ends(NamedTuple):
    """The beginning and the end of an object that is too long."""

    head: bytes
    tail: bytes

    def named(self, name: str) -> str | None:
        """The first text of this name."""
        found = re.search(rb'"%s"\s*:\s*"([^"\\]*)"' % name.encode(), self.head)
        return found[1].decode("utf-8", "replace") if found else None

    @property
    def usage(self) -> Mapping[str, Any] | None:
        return usage_near_the_end(self.tail)


class Pieces:
    """Takes piece after piece, in time that grows with their size alone; `longest` is in bytes, more than two ends."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = b""

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._longest:
            kept = b"".join(self._pieces)
            self._head = self._head or kept[:END]
            self._pieces, self._size = [kept[-END:]], END

    def take(self) -> bytes | Ends:
        """All that was added since the last time."""
        kept, head = b"".join(self._pieces), self._head
        self._pieces, self._size, self._head = [], 0, b""
        return Ends(head, kept[-END:]) if head else kept


def usage_near_the_end(body: bytes) -> Mapping[str, Any] | None:
    """The usage object in what is left of a JSON answer."""
    at = body.rfind(b'"usage"')
    if at < 0:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(body[at + 7 :].decode("utf-8", "replace").lstrip(" \r\n\t:"))
    except ValueError:
        return None
    return usage if isinstance(usage, dict) else None
