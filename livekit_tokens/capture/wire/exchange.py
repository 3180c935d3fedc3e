"""One request on the wire, where its call runs: what is seen of it is noted, in microseconds, and read elsewhere.

What it means is worked out in the counting thread, by its `Account`: also who pays, by the context that it was sent
in. Each attempt of a client's or LiveKit's retries is a request of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from weakref import WeakValueDictionary

from livekit_tokens.capture import witnesses
from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.account import Account
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import Ending
from livekit_tokens.capture.wire.requests import UNKNOWN_MODEL, Asked, Endpoint
from livekit_tokens.capture.witnesses import Names, Seen
from livekit_tokens.core import faults
from livekit_tokens.domain.providers import provider_of

awaited: WeakValueDictionary[tuple[str, str], Exchange] = WeakValueDictionary()
"""By host and response, those whose responses run on in the background. The counting thread's own."""

Read = Callable[[], tuple[Asked | None, bytes | None]]
"""Reads what is asked for, and the body that is to be counted; None for what turns out to be no such request."""


class Exchange:
    """One request that is sent now, to `host`, for whom `pays` says in this context."""

    __slots__ = (
        "__weakref__",
        "_account",
        "_asked",
        "_host",
        "_mark",
        "_pays",
        "_read",
        "_seen",
        "began",
        "ending",
        "endpoint",
        "first",
        "given_up",
        "head",
        "head_at",
        "part",
        "pieces",
        "round_trip",
    )  # made on a call's path: a third faster so

    def __init__(
        self, endpoint: Endpoint, host: Callable[[], str], read: Read, pays: Callable[[], Spender | None]
    ) -> None:
        self.began = time.monotonic()
        self.endpoint = endpoint
        self.head: tuple[int, Mapping[str, str]] | None = None
        self.head_at = 0.0
        self.round_trip: float | None = None
        """Seconds to the provider and back, where its channel has shown that already."""
        self.first: float | None = None
        self.pieces: deque[bytes] = deque()
        """What has come and is not read yet."""
        self.ending: tuple[float, Ending, str | None] | None = None
        """When and how it ended, and by what class of error; nothing comes after it."""
        self.part: str | None = None
        """Whose part it is, once that is known."""
        self.given_up = False
        """Its part ends: what has run on in the background until then is waited for no longer."""
        self._mark = witnesses.here()
        self._host = host
        self._read: Read | None = read
        self._asked: Asked | None = None
        self._pays: Callable[[], Spender | None] | None = partial(copy_context().run, pays)
        self._account: Account | None = None
        self._seen: Seen | None = None
        if self._mark is not None:
            self._seen = Seen(endpoint.operation, self._names)
            self._mark.see(self._seen)
        else:
            witnesses.see_outside(self.operation, self.provider)

    # -- for who asks in the meantime ------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        account = self._account
        runs_on = account is not None and account.runs_on and not self.given_up
        return self.ending is not None and not runs_on

    @property
    def operation(self) -> str:
        return self.endpoint.operation

    @property
    def service(self) -> str:
        return self._mark.service if self._mark is not None else "tool"

    @property
    def host(self) -> str:
        return self._host()

    @property
    def provider(self) -> str:
        # A host on this machine may stand for LiveKit Inference: that is for the component to say.
        of_livekit = self._mark is not None and self._mark.provider == "livekit"
        return provider_of(self.host, "livekit" if of_livekit else "openai")

    def _names(self) -> Names:
        """Provider and model, for who must tell it apart before it has been read."""
        read = self._read
        asked = self._asked if read is None else _told_by(read, self.endpoint)[0]
        return self.provider, asked.model if asked is not None else UNKNOWN_MODEL

    # -- in the counting thread -----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Bring its account up to date; True when nothing more can come."""
        over = self.ended  # before the pieces are taken: none comes after it
        try:
            if self._read is not None:
                self._account = self._opened(self._read)
            if self._account is not None:
                self._account.advance(over=over)
        except BaseException as error:  # noqa: BLE001 - one request's fault, a panic of a library's too, stops no other
            faults.note("an answer could not be read; recorded as unknown", error)
            self._account = None
        if self._account is None:
            self.pieces.clear()
        elif over and self._account.runs_on and not self.given_up:
            awaited[self.host, self._account.response_id] = self
            return False
        if over:
            self._let_go()
        return over

    def come(self, reading: Reading) -> None:
        """Its response has run on in the background, and has come to its end."""
        account, self._account = self._account, None
        self.ending, self.first = (time.monotonic(), "whole", None), None
        if account is not None:
            account.come(reading)

    def give_up(self) -> None:
        """Wait no longer for what runs on in the background."""
        self.given_up = True

    def _let_go(self) -> None:
        """Whoever holds the response that this is the exchange of keeps nothing else alive, nor what was said in it."""
        self._read = self._pays = self._account = self.head = None

    def _opened(self, read: Read) -> Account | None:
        """Its account, if somebody pays for it and it is a request at all."""
        pays, self._pays = self._pays, None  # the host's context is let go
        try:
            spender = pays() if pays is not None else None
            self._asked, body = _told_by(read, self.endpoint)
        finally:
            self._read = None  # only once; the body is let go when it is counted
        named = self._names()
        if self._seen is not None:
            self._seen.names = lambda: named
        if spender is None or self._asked is None:
            return None
        self.part = spender.writer.part.key
        return Account(self, spender, self._asked, body)


def _told_by(read: Read, endpoint: Endpoint) -> tuple[Asked | None, bytes | None]:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - its answer may still tell all of it
        faults.note("a request could not be read", error)
        return Asked(endpoint, unread=True), None


class Hold:
    """An exchange in the hands of who sees it go on; held by the host's own response, stream or socket, or by the code
    that waits for one, and by nobody else.

    It must be ended, and is: whoever lets go of it, knowingly or not, has ended it. Each call takes microseconds.
    """

    __slots__ = ("_exchange", "let_go")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.let_go: Ending = "closed"
        """How it ended if nobody has said it."""
        counting.follow(exchange)

    def answered(self, status: int, headers: Mapping[str, str], round_trip: float | None = None) -> None:
        """The answer begins. `round_trip`: seconds to the provider and back, where its channel has shown that."""
        self._exchange.round_trip = round_trip
        self._exchange.head_at = time.monotonic()
        self._exchange.head = (status, headers)

    def take_first(self, piece: bytes) -> None:
        """The first piece of the body has come."""
        self._exchange.first = time.monotonic()
        self._exchange.pieces.append(piece)

    @property
    def take(self) -> Callable[[bytes], None]:
        """Takes every other piece."""
        return self._exchange.pieces.append

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        exchange = self._exchange
        if exchange.ending is None:
            exchange.ending = (time.monotonic(), ending, type(error).__name__ if error is not None else None)
            counting.look()

    def __del__(self) -> None:
        self.end(self.let_go)


Follow = Callable[[Endpoint, Callable[[], str], Read], Hold | None]
"""Given endpoint, host, and what reads the request: the hold on its exchange, if somebody pays."""
