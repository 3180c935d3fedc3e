"""A request in the hands of who sees it go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from livekit_tokens.capture.wire.exchange import Channel, Exchange
from livekit_tokens.capture.wire.outcome import Ending
from livekit_tokens.capture.wire.requests import Endpoint
from livekit_tokens.core import faults


class Hold:
    """An exchange in the hands of who sees it go on; held by the host's own response, stream or socket, or by the code
    that waits for one, and by nobody else.

    It must be ended, and is: whoever lets go of it, knowingly or not, has ended it. Each call takes microseconds: the
    first one more of them than the others, so who can makes it while the answer is awaited (`sending`).
    """

    __slots__ = ("_exchange", "let_go")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.let_go: Ending = "closed"
        """How it ended if nobody has said it."""

    def sent(self) -> None:
        """The request goes out, in its sender's context: to be told before anything else is. What is never sent is
        nobody's."""
        try:
            self._exchange.go_out()
        except Exception as error:  # noqa: BLE001 - the request goes out in any case
            faults.note("a request could not be followed", error)

    def answered(self, status: int, headers: Mapping[str, str], round_trip: float | None = None) -> None:
        """The answer begins. `round_trip`: seconds to the provider and back, where its channel has shown that."""
        exchange = self._exchange
        exchange.round_trip = round_trip
        exchange.head_at = time.monotonic()
        exchange.head = (status, headers)

    def take_first(self, piece: bytes) -> None:
        """The first piece of the body has come."""
        exchange = self._exchange
        exchange.first = time.monotonic()
        exchange.pieces.append(piece)

    @property
    def take(self) -> Callable[[bytes], None]:
        """Takes every other piece."""
        return self._exchange.pieces.append

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        exchange = self._exchange
        if exchange.ending is None:
            exchange.ending = (time.monotonic(), ending, type(error).__name__ if error is not None else None)

    def __del__(self) -> None:
        self.end(self.let_go)


Follow = Callable[[Endpoint, Channel, Any], Hold | None]
"""Given endpoint, channel, and what it reads a request from: the hold on its exchange, if somebody pays."""
