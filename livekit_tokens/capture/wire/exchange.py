"""One request on the wire, where its call runs: what is seen of it is noted, in microseconds, and read elsewhere.

What it means is worked out in the counting thread, by its `Account`: also who pays, by the context that it was sent
in. Each attempt of a client's or LiveKit's retries is a request of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from livekit_tokens.capture import witnesses
from livekit_tokens.capture.spending import Spender, Writer
from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.account import Account
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import Ending
from livekit_tokens.capture.wire.requests import UNKNOWN_MODEL, Asked, Endpoint
from livekit_tokens.capture.witnesses import Mark, Names, Seen
from livekit_tokens.core import faults
from livekit_tokens.domain.providers import provider_of
from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord

awaited: WeakValueDictionary[tuple[str, str], Exchange] = WeakValueDictionary()
"""By host and response, those whose responses run on in the background. The counting thread's own."""

given_up: OrderedDict[tuple[str, str], tuple[Writer, int]] = OrderedDict()
"""By host and response, those that were waited for no longer: who wrote their record, and its number."""
_MOST_GIVEN_UP = 256

Pays = Callable[[], Spender | None]
"""Who pays, asked in the context that the request was sent in."""


class Channel(NamedTuple):
    """How requests are sent that can be read alike, from what was noted of one as it was sent."""

    host: Callable[[Any], str]
    read: Callable[[Endpoint, Any], tuple[Asked | None, bytes | None]]
    """What is asked for, None for what turns out to be no such request; and the body that is to be counted."""


class Exchange:
    """One request that is sent now, by a channel that can read what was noted of it, for whom `pays` says."""

    __slots__ = (
        "__weakref__",
        "_account",
        "_asked",
        "_channel",
        "_context",
        "_host",
        "_mark",
        "_pays",
        "_seen",
        "_sent",
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

    def __init__(self, endpoint: Endpoint, channel: Channel, sent: Any, pays: Pays) -> None:
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
        self._channel = channel
        self._sent = sent
        self._pays: Pays | None = pays
        self._context: Context | None = None
        self._host: str | None = None
        self._asked: Asked | None = None
        self._account: Account | None = None
        self._seen: Seen | None = None
        self._mark: Mark | None = None

    def go_out(self) -> None:
        """It is sent, in this context: from now on it is counted.

        It is seen by the component's call that it is made in; else by the part that pays for it, when somebody looks.
        """
        self._context = copy_context()
        self._mark = mark = witnesses.here()
        if mark is None:
            witnesses.see_outside(self._leave_with_part)
        else:
            self._seen = Seen(self.endpoint.operation, self._names)
            mark.see(self._seen)
        counting.follow(self)

    def _leave_with_part(self) -> None:
        assert self._context is not None
        self._context.run(witnesses.leave_with_part, self.operation, self.provider)

    # -- for who asks in the meantime ------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.ending is not None and not self.rests

    @property
    def rests(self) -> bool:
        """Its response runs on in the background, and somebody may ask for it yet."""
        account = self._account
        return account is not None and account.runs_on and not self.given_up

    @property
    def operation(self) -> str:
        return self.endpoint.operation

    @property
    def service(self) -> str:
        return self._mark.service if self._mark is not None else "tool"

    @property
    def host(self) -> str:
        return self._channel.host(self._sent) if self._host is None else self._host

    @property
    def provider(self) -> str:
        # A host on this machine may stand for LiveKit Inference: that is for the component to say.
        of_livekit = self._mark is not None and self._mark.provider == "livekit"
        return provider_of(self.host, "livekit" if of_livekit else "openai")

    def _names(self) -> Names:
        """Provider and model, for who must tell it apart before it has been read."""
        sent = self._sent
        asked = self._asked if sent is None else self._read(sent)[0]
        return self.provider, asked.model if asked is not None else UNKNOWN_MODEL

    def _read(self, sent: Any) -> tuple[Asked | None, bytes | None]:
        try:
            return self._channel.read(self.endpoint, sent)
        except Exception as error:  # noqa: BLE001 - its answer may still tell all of it
            faults.note("a request could not be read", error)
            return Asked(self.endpoint, unread=True), None

    # -- in the counting thread -----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Bring its account up to date; True when nothing more can come."""
        over = self.ended  # before the pieces are taken: none comes after it
        try:
            if self._pays is not None:
                self._account = self._opened(self._pays)
            if self._account is not None:
                self._account.advance(over=over)
        except BaseException as error:  # noqa: BLE001 - one request's fault, a panic of a library's too, stops no other
            faults.note("an answer could not be read; recorded as unknown", error)
            self._account = None
        if self._account is None:
            self.pieces.clear()
        elif over and self.rests:
            awaited[self.host, self._account.response_id] = self
            return False
        if over:
            self._remember_given_up()
            self._let_go()
        return over

    def _remember_given_up(self) -> None:
        account = self._account
        if account is not None and account.given_up_as:
            name = (self.host, account.response_id)
            awaited.pop(name, None)
            given_up[name] = (account.writer, account.given_up_as)
            if len(given_up) > _MOST_GIVEN_UP:
                given_up.popitem(last=False)

    def is_told(self, record: UsageRecord) -> None:
        """It has come to this: whoever tells of it as well is known by its figures."""
        if self._seen is not None and record.provenance == "reported":
            self._seen.tokens = (input_tokens(record.units), output_tokens(record.units))

    def come(self, reading: Reading) -> None:
        """Its response has run on in the background, and has come to its end."""
        account, self._account = self._account, None
        self.ending, self.first = (time.monotonic(), "whole", None), None
        counting.resume(self)
        if account is not None:
            account.come(reading)

    def give_up(self) -> None:
        """Wait no longer for what runs on in the background."""
        self.given_up = True

    def _let_go(self) -> None:
        """Whoever holds the response that this is the exchange of keeps nothing else alive, nor what was said in it."""
        self._sent = self._context = self._pays = self._account = self.head = None

    def _opened(self, pays: Pays) -> Account | None:
        """Its account, if somebody pays for it and it is a request at all."""
        witnesses.look_outside()
        context = self._context
        assert context is not None
        try:
            self._host = self.host
            spender = context.run(pays)
            self._asked, body = self._read(self._sent)
        finally:  # only once; the body is let go when it is counted, the host's context at once
            self._sent = self._context = self._pays = None
        if self._seen is not None:
            named = self._names()
            self._seen.names = lambda: named
        if spender is None or self._asked is None:
            return None
        self.part = spender.writer.part.key
        return Account(self, spender, self._asked, body)


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
