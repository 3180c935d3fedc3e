"""What the store must answer: one reader is one consistent snapshot of the ledger."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol

from livekit_tokens.core.reports.asking import Question
from livekit_tokens.core.reports.entries import Entry
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.measures import Key, Measured, Unpriced
from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.times import Micros


class Calls(NamedTuple):
    """How many sessions, and how long their calls went on: of the parts that match, as `domain.sessions.call_time`
    counts. `others`: how many of these parts are no call's (imported, or by hand).
    """

    sessions: int = 0
    time: Micros = 0
    others: int = 0


class Running(NamedTuple):
    """An open part, and when its process last brought something into the ledger."""

    session: str
    part: str
    started_at: Micros
    heard_at: Micros


class UsageReader(Protocol):
    """One snapshot of the ledger. Every method may raise LedgerUnavailable."""

    async def extent(self, period: Period) -> Period | None:
        """The part of a period that can hold usage at all; None if there is none."""
        ...

    async def grouped(self, question: Question) -> Sequence[Group]: ...

    async def dearest(self, question: Question, limit: int) -> Mapping[str, Sequence[Group]]:
        """Of each name of `by`, alone, the groups that cost most, then those with most tokens, then by name."""
        ...

    async def session_costs(self, question: Question) -> Distribution:
        """What sessions cost, in nano-dollars of their priced requests."""
        ...

    async def calls(self, question: Question, now: Micros) -> Calls:
        """The sessions with a matching record; how long they went on in the period, open ones until `now`."""
        ...

    async def newest_sessions(self, question: Question, limit: int) -> Sequence[str]:
        """Sessions with a matching record or, where only sessions are filtered, a start in the period."""
        ...

    async def running(self, question: Question, since: Micros) -> Sequence[Running]:
        """The open parts that match, of processes that were heard of since then."""
        ...

    async def silent(self, question: Question, since: Micros) -> int:
        """How many sessions have an open part that matches, of a process that was not."""
        ...

    async def parts(self, sessions: Sequence[str], now: Micros) -> Sequence[Part]:
        """As `domain.sessions.as_heard_of` reads them."""
        ...

    async def stays(self, session: str) -> Sequence[Stay]: ...

    async def records(self, session: str) -> Sequence[RecordLine]: ...

    async def knows(self, kind: Literal["user", "tenant"], name: str) -> bool:
        """Whether any part of a session was theirs."""
        ...

    async def kept_since(self) -> Micros:
        """From when on all records are kept; 0 where none was pruned."""
        ...

    # From here on out of the records, as far as they are kept.

    def entries(self, question: Question) -> AsyncGenerator[Entry]:
        """Every matching record, oldest first, a few at a time in memory."""
        ...

    async def dearest_entries(self, question: Question, limit: int) -> Sequence[Entry]: ...

    async def measured(self, question: Question) -> Mapping[Key, Measured]:
        """How long the matching records took, their scores, and the errors of those that failed."""
        ...

    async def unpriced(self, question: Question) -> Sequence[Unpriced]:
        """The matching records that need a price and have none, by provider, model and reason."""
        ...


class UsageStore(Protocol):
    def reader(self) -> AbstractAsyncContextManager[UsageReader]: ...
