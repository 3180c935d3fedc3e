"""One request on the wire, where its call runs: what is seen of it is noted, in microseconds, and read elsewhere.

What it means is worked out in the counting thread, by its `Account`: also who pays, by the context that it was sent
in. Each attempt of a client's or LiveKit's retries is a request of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from livekit_tokens.capture import witnesses
from livekit_tokens.capture.spending import Spender, Writer
from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.account import Account
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import Ending
from livekit_tokens.capture.wire.passing_on import Outcome, is_passed_on
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

_sent_last: ContextVar[Exchange | None] = ContextVar("livekit_tokens_sent_last", default=None)
"""What this context has sent last: while it is on its way, what else is sent here is sent by its client's transport."""

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
        "_channel",
        "_context",
        "_host",
        "_mark",
        "_pays",
        "_seen",
        "_sent",
        "asked",
        "began",
        "ending",
        "endpoint",
        "first",
        "given_up",
        "head",
        "head_at",
        "inner",
        "outer",
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
        self.asked: Asked | None = None
        self._account: Account | None = None
        self._seen: Seen | None = None
        self._mark: Mark | None = None
        self.inner: tuple[Exchange, ...] = ()
        """Those that were sent while it was on its way."""
        self.outer = _sent_last.get()
        """The one that was on its way then."""
        _sent_last.set(self)

    def go_out(self) -> None:
        """It is sent, in this context: from now on it is counted."""
        while self.outer is not None and not self.outer.is_on_its_way:
            self.outer = self.outer.outer
        self._be_seen()
        counting.follow(self)

    def _be_seen(self) -> None:
        """By the component's call that it is made in; else by the part that pays for it, when somebody looks."""
        if self.outer is not None:
            self.outer.inner += (self,)
        self._context = copy_context()
        self._mark = mark = witnesses.here()
        if mark is None:
            witnesses.see_outside(self._leave_with_part)
        else:
            self._seen = Seen(self.endpoint.operation, self._names)
            mark.see(self._seen)

    def _leave_with_part(self) -> None:
        assert self._context is not None
        self._context.run(witnesses.leave_with_part, self.operation, self.provider)

    # -- for who asks in the meantime ------------------------------------------------------------------------------

    @property
    def is_on_its_way(self) -> bool:
        return self.head_at == 0.0 and self.ending is None

    @property
    def ended(self) -> bool:
        return self.ending is not None and not self.rests

    @property
    def rests(self) -> bool:
        """Its response runs on in the background, and somebody may ask for it yet."""
        account = self._account
        return account is not None and account.runs_on and not self.given_up

    @property
    def outcome(self) -> Outcome | None:
        """None while it is on its way."""
        if self.head is not None:
            return Outcome(self.head[0], None)
        return None if self.ending is None else Outcome(None, self.ending[2])

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
        asked = self.asked if sent is None else self._read(sent)[0]
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
            self.be_opened()
            if self._account is not None:
                passed_on = self._is_passed_on()
                if passed_on:
                    self._account.drop()
                    self._account = None
                elif over or passed_on is not None:
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
        self._sent = self._context = self._pays = self._account = None
        self.inner = ()
        if self.head is not None:
            self.head = (self.head[0], {})

    def _is_passed_on(self) -> bool | None:
        for request in self.inner:
            request.be_opened()
        alike = [one.outcome for one in self.inner if one.part is not None and one.asks_like(self)]
        return is_passed_on(self.outcome, alike)

    def asks_like(self, other: Exchange) -> bool:
        mine, others = self.asked, other.asked
        return mine is not None and others is not None and mine == replace(others, model=mine.model)

    def be_opened(self) -> None:
        if self._pays is not None:
            self._account = self._opened(self._pays)

    def _opened(self, pays: Pays) -> Account | None:
        """Its account, if somebody pays for it and it is a request at all."""
        witnesses.look_outside()
        context = self._context
        assert context is not None
        try:
            self._host = self.host
            spender = context.run(pays)
            self.asked, body = self._read(self._sent)
        finally:  # only once; the body is let go when it is counted, the host's context at once
            self._sent = self._context = self._pays = None
        if self._seen is not None:
            named = self._names()
            self._seen.names = lambda: named
        if spender is None or self.asked is None:
            return None
        self.part = spender.writer.part.key
        return Account(self, spender, self.asked, body)
