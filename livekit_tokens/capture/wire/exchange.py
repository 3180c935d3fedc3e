"""One request on the wire, where its call runs: what is seen of it is noted, in microseconds, and read elsewhere.

What it means is worked out in the counting thread, by its `Account`. Each attempt of a client's or LiveKit's retries is
a request of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.account import Account
from livekit_tokens.capture.wire.outcome import Ending
from livekit_tokens.capture.wire.requests import UNKNOWN_MODEL, Asked, Endpoint

Ask = Callable[[], tuple[Asked | None, bytes | None]]
"""Reads what is asked for, and the body that is to be counted; None for what turns out to be no such request."""


class Place(NamedTuple):
    """Where a request belongs and goes: the service, the provider, and the provider's host."""

    service: str
    provider: str
    host: str


class Exchange:
    """One request that is sent now, for one spender."""

    def __init__(self, spender: Spender, place: Place, endpoint: Endpoint, ask: Ask) -> None:
        self.spender = spender
        self.service, self.provider, self.host = place
        self.endpoint = endpoint
        self.part = spender.writer.part.key
        self.at = spender.writer.now()
        self.began = time.monotonic()
        self.head: tuple[int, Mapping[str, str]] | None = None
        self.head_at = 0.0
        self.first: float | None = None
        self.pieces: deque[bytes] = deque()
        """What has come and is not read yet."""
        self.ending: tuple[float, Ending, str | None] | None = None
        """When and how it ended, and by what class of error; nothing comes after it."""
        self._ask: Ask | None = ask
        self._asked: Asked | None = None
        self._account: Account | None = None
        counting.follow(self)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer begins."""
        self.head_at = time.monotonic()
        self.head = (status, headers)

    def take_first(self, piece: bytes) -> None:
        """The first piece of the body has come."""
        self.first = time.monotonic()
        self.pieces.append(piece)

    @property
    def take(self) -> Callable[[bytes], None]:
        """Takes every other piece."""
        return self.pieces.append

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        if self.ending is None:
            self.ending = (time.monotonic(), ending, type(error).__name__ if error is not None else None)
            counting.look()

    @property
    def ended(self) -> bool:
        return self.ending is not None

    def read(self) -> tuple[Asked | None, bytes | None]:
        """What is asked for, and, the first time, the body: it is counted and let go."""
        body = None
        if (ask := self._ask) is not None:
            self._asked, body = ask()
            self._ask = None
        return self._asked, body

    def model(self) -> str:
        """The model that is asked, for who must tell it apart before it has been read."""
        asked = self._asked if self._ask is None else self._ask()[0]
        return asked.model if asked is not None else UNKNOWN_MODEL

    def advance(self) -> bool:
        """In the counting thread: bring its account up to date; True when it is settled."""
        if self._account is None:
            self._account = Account(self)
        return self._account.advance()
