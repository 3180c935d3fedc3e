"""Whose money the running code spends: one answer for components, for the wire and for what is recorded by hand.

    if (spender := spending.current()) is not None:
        spender.writer.write(spender.new_record(service="tool", ...))

Asked where the request is made, in its thread or task; a request that is settled elsewhere keeps the answer. The rule:

1. inside `usage_session`: that session, also within a call (outside of any, for what is told by hand only);
2. inside a LiveKit job: the call that is tracked in that job; where it tracks several, the one of the context, else
   the one that began first;
3. where there is no job (console's tests, `session.run()`, threads of one's own): the one of the context.

Where nobody is tracked, `current` answers None. A part that is over is not written to: its writer then writes for a
part of its own in the same session (a summary that a shutdown callback asks for is billed, too). The context is a
context variable: tasks and `asyncio.to_thread` inherit it, and in a forked child nobody pays. A bare thread does not
(`loop.run_in_executor`): it works for the call in a process that LiveKit has started for one job; elsewhere for nobody.
Needs neither livekit nor openai; LiveKit is asked for its job only where the process has imported it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet, WeakValueDictionary

from livekit_tokens.capture.labels import labelled
from livekit_tokens.capture.nested import Nested
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord


class Writer(Protocol):
    """What is written through for a part (`writing.py`)."""

    @property
    def part(self) -> Part: ...
    def now(self) -> Micros: ...
    def agent(self) -> str | None: ...
    def feature(self) -> str: ...
    def new_record(self, **fields: Any) -> UsageRecord: ...
    def write(self, record: UsageRecord, settles: str | None = None, also_known_as: str | None = None) -> int: ...
    def tell(self, record: UsageRecord) -> UsageRecord: ...
    def pend(self, pend: Pend) -> None: ...
    def name(self, pend: Pend, ids: Collection[str]) -> None: ...
    def more(self, more: More) -> None: ...
    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None: ...
    def unpend(self, pending: str) -> None: ...
    def late(self, late: Late) -> None: ...
    def later(self, work: Callable[[], None]) -> None: ...


class Written(Writer, Protocol):
    """A part that lives (`LivePart`), and what is written through once it has ended."""

    @property
    def ended(self) -> bool: ...
    @property
    def afterwards(self) -> Writer: ...


class Payer:
    """A tracked call or a `usage_session`. `writer` answers the part that is written for now: it may begin anew, and
    says so by `file`.
    """

    def __init__(self, writer: Callable[[], Written], *, by_hand: bool = False) -> None:
        self._writer = writer
        self._pid = os.getpid()
        self.by_hand = by_hand
        with _registering:
            self.number = next(_numbers)
            _payers.add(self)
        self.file()

    def file(self) -> None:
        """Be found by the session that is written for now."""
        session = self.writer.part.session_id
        with _registering:
            self._file = _of_session.setdefault(session, WeakSet())
            self._file.add(self)

    @property
    def writer(self) -> Written:
        return self._writer()

    @property
    def job(self) -> str | None:
        return self.writer.part.job

    @property
    def over(self) -> bool:
        return self.writer.ended

    @property
    def is_of_this_process(self) -> bool:
        """A forked child inherits the context, but neither the recorder nor the call."""
        return self._pid == os.getpid()


@dataclass(frozen=True, slots=True)
class Spending:
    """What a context says: who pays, which agent asked, and whether that is within a call."""

    payer: Payer
    agent: str | None = None
    in_call: bool = True

    @property
    def over(self) -> bool:
        """For good: a call that is over may begin anew."""
        return self.payer.by_hand and self.payer.over


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


_context: Nested[Spending] = Nested("livekit_tokens_spending")
_payers: WeakSet[Payer] = WeakSet()
_of_session: WeakValueDictionary[str, WeakSet[Payer]] = WeakValueDictionary()
"""Each session's payers, who hold their entry: a process may serve many sessions at once, and more in its life."""
_registering = threading.Lock()  # jobs in threads of one process begin at any time
_numbers = iter(range(sys.maxsize))


def current() -> Spender | None:
    """Whose money the running code spends, for who sees it spent; None where nobody's.

    None also in a `usage_session` outside of any call: its code records by hand, or by a `metered` client, and what it
    records must not be counted once more because a call of the same process has the wire watched.
    """
    found = whose()
    return spender_of(found) if found is not None and found.in_call else None


def may_be_spent() -> bool:
    """Whether the running code may spend somebody's money: mostly by a look that costs a call nothing.

    Where it answers False, `current` answers None; where True, `current` says whose, if anybody's.
    """
    found = _context.innermost()
    return found.in_call if found is not None else current() is not None


def spender_of(spending: Spending) -> Spender:
    """Who pays, by the part that is written for now; by the agent that speaks now where no other asked."""
    live, agent = spending.payer.writer, spending.agent
    if agent is None and not spending.payer.by_hand:
        agent = live.agent()
    return Spender(live.afterwards if live.ended else live, agent, labelled())


def whose() -> Spending | None:
    """Who pays, by the rule above."""
    found = told()
    if found is not None and found.payer.by_hand:
        return found
    job = _job()
    if job is None or (found is not None and found.payer.job in (None, job)):
        return found
    return _first_of([payer for payer in payers() if not payer.by_hand and payer.job == job])


def call_of_bare_thread() -> Payer | None:
    """The call that a thread works for which was given no context, as `loop.run_in_executor` gives none.

    Only in a process that LiveKit has started for one job, as it does for each by default: what is asked there is the
    call's, of several the one's that began first. Anywhere else (jobs in threads, a console, a web app beside one) a
    thread may be anybody's. None in the main thread and where a loop runs: these have a context wherever a call does.
    Ask where the money is spent, no later.
    """
    if told() is not None or threading.current_thread() is threading.main_thread() or is_in_loop():
        return None
    calls = [p for p in payers() if not p.by_hand and p.is_of_this_process and p.job is not None]
    if multiprocessing.parent_process() is None or len({p.job for p in calls}) != 1:
        return None
    return min((p for p in calls if not p.over), key=lambda payer: payer.number, default=None)


def whose_is(session_id: str) -> Spending | None:
    """Who pays for a session that is named: its part that is open in this process; the context's, if it is of it."""
    found = whose()
    if found is not None and found.payer.writer.part.session_id == session_id:
        return found
    with _registering:
        filed = list(_of_session.get(session_id, ()))
    return _first_of([p for p in filed if not p.over and p.writer.part.session_id == session_id])


def payers() -> list[Payer]:
    """The calls and the sessions by hand that this process knows, open or over."""
    with _registering:
        return list(_payers)


def _first_of(found: list[Payer]) -> Spending | None:
    first = min(found, key=lambda payer: (payer.over, payer.number), default=None)
    return None if first is None else Spending(first)


def told() -> Spending | None:
    """Only what the context says."""
    found = _context.innermost()
    return found if found is None or found.payer.is_of_this_process else None


def spend(spending: Spending | None) -> None:
    """From here on, in this context, that is whose money is spent; None: nobody's that the context says."""
    _context.only(spending)


def enter(spending: Spending) -> None:
    """As `spend`, until it is left."""
    _context.enter(spending)


def leave(payers: Collection[Payer]) -> Payer | None:
    """In this context, the innermost of these pays no more; answers it, None where none of them has been paying."""
    left = _context.leave(lambda spending: spending.payer in payers)
    return None if left is None else left.payer


def is_in_loop() -> bool:
    """Whether the running code has an event loop, which must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _job() -> str | None:
    # Who is in a job has imported LiveKit's agents; nobody else needs to.
    ask = getattr(sys.modules.get("livekit.agents"), "get_job_context", None)
    ctx = ask(required=False) if ask is not None else None
    return None if ctx is None else ctx.job.id


def _after_fork() -> None:
    global _registering, _payers, _of_session
    _registering, _payers, _of_session = threading.Lock(), WeakSet(), WeakValueDictionary()


os.register_at_fork(after_in_child=_after_fork)
