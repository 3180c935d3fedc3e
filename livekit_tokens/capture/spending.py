"""Whose money the running code spends: one answer for components, for the wire and for what is recorded by hand.

    if (spender := spending.current()) is not None:
        spender.writer.write(spender.new_record(service="tool", ...))

Asked where the request is made, in its thread or task; a request that is settled elsewhere keeps the answer. The rule:

1. inside `usage_session`: that session, also within a call;
2. inside a LiveKit job: the call that is tracked in that job; where it tracks several, the one of the context, else
   the one that began first;
3. where there is no job (console's tests, `session.run()`, threads of one's own): the one of the context.

A part that is over is not written to: `current` then answers None, as it does where nobody is tracked. The context
is a context variable: tasks and `asyncio.to_thread` inherit it, a bare thread does not. Needs neither livekit nor
openai; LiveKit is asked for its job only where the process has imported it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from weakref import WeakSet

from livekit_tokens.core.lines import Pend
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord


class Writer(Protocol):
    """A part that is written for; `LivePart` is the one."""

    @property
    def part(self) -> Part: ...
    @property
    def ended(self) -> bool: ...
    def now(self) -> Micros: ...
    def agent(self) -> str | None: ...
    def new_record(self, **fields: Any) -> UsageRecord: ...
    def write(self, record: UsageRecord, settles: str | None = None) -> None: ...
    def pend(self, pend: Pend) -> None: ...
    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None: ...


class Payer:
    """A tracked call or a `usage_session`. `writer` answers the part that is written for now: it may begin anew."""

    def __init__(self, writer: Callable[[], Writer], *, by_hand: bool = False) -> None:
        self._writer = writer
        self.by_hand = by_hand
        with _registering:
            self.number = next(_numbers)
            _payers.add(self)

    @property
    def writer(self) -> Writer:
        return self._writer()

    @property
    def job(self) -> str | None:
        return self.writer.part.job

    @property
    def over(self) -> bool:
        return self.writer.ended


@dataclass(frozen=True, slots=True)
class Spending:
    """What a context says: who pays, and which agent asked."""

    payer: Payer
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Spender:
    """Who pays for a request that is made now."""

    writer: Writer
    agent: str | None
    feature: str | None

    def new_record(self, **fields: Any) -> UsageRecord:
        """A record of this spender's, settled now; what `fields` say of agent and feature goes first."""
        told = {"agent": self.agent} if self.feature is None else {"agent": self.agent, "feature": self.feature}
        return self.writer.new_record(**told | fields)


_context: ContextVar[Spending | None] = ContextVar("livekit_tokens_spending", default=None)
_feature: ContextVar[str | None] = ContextVar("livekit_tokens_feature", default=None)
_payers: WeakSet[Payer] = WeakSet()
_registering = threading.Lock()  # jobs in threads of one process begin at any time
_numbers = iter(range(sys.maxsize))


def current() -> Spender | None:
    """Whose money the running code spends; None where nobody's, or that of a part that is over."""
    told = whose()
    if told is None or (writer := told.payer.writer).ended:
        return None
    agent = told.agent
    if agent is None and not told.payer.by_hand:
        agent = writer.agent()
    return Spender(writer, agent, labelled())


def whose() -> Spending | None:
    """The same, also when it is over: what is recorded by hand after a call still belongs to its session."""
    told = _context.get()
    if told is not None and told.payer.by_hand:
        return told
    job = _job()
    if job is None or (told is not None and told.payer.job in (None, job)):
        return told
    with _registering:
        here = [payer for payer in _payers if not payer.by_hand and payer.job == job]
    first = min(here, key=lambda payer: (payer.over, payer.number), default=None)
    return None if first is None else Spending(first)


def told() -> Spending | None:
    """Only what the context says."""
    return _context.get()


def spend(spending: Spending | None) -> Token[Spending | None]:
    """From here on, in this context, that is whose money is spent."""
    return _context.set(spending)


def spend_no_more(token: Token[Spending | None]) -> None:
    """As it was before `spend`."""
    _context.reset(token)


def labelled() -> str | None:
    """What the running code is a part of, if `feature` says so."""
    return _feature.get()


class feature:  # noqa: N801 - used as `with feature("introspection"):`
    """Labels every request that is made inside, sync or async; the innermost counts."""

    def __init__(self, name: str) -> None:
        self._name = str(name)
        self._tokens: list[Token[str | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(_feature.set(self._name))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _feature.reset(self._tokens.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def _job() -> str | None:
    # Who is in a job has imported LiveKit's agents; nobody else needs to.
    ask = getattr(sys.modules.get("livekit.agents"), "get_job_context", None)
    ctx = ask(required=False) if ask is not None else None
    return None if ctx is None else ctx.job.id
