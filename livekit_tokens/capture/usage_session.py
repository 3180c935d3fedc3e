"""A session that is no call: `with usage_session("thread-123", user="ada"):`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType

from livekit_tokens.capture import spending
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.core.aside import aside
from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import SessionSummary

COMPLETED = "completed"
"""The close reason of a part that was left without an exception."""


class Entered(ByHand):
    """One part of a `usage_session`, from entering to leaving."""

    def __init__(self, live: LivePart, process: Callable[[], Process]) -> None:
        self.live = live
        self.payer = Payer(lambda: live, by_hand=True)
        super().__init__(process, self.payer)

    @property
    def session_id(self) -> str:
        return self.live.part.session_id

    def summary(self) -> SessionSummary:
        """The part as it stands now, from memory."""
        return self.live.summary()


class UsageSession:
    """What is spent inside belongs to this session, as a part of its own: opened on entering, closed on leaving.

    Sync or async; on leaving the end is on disk. May be entered again, also while it is entered elsewhere. An
    exception that passes through is the part's close reason, by its class.
    """

    def __init__(
        self,
        process: Callable[[], Process],
        session_id: str,
        *,
        user: str | None = None,
        user_name: str | None = None,
        tenant: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._process = process
        if (named := described.id_of(session_id)) is None:
            raise BadSetting(f"the id of a usage_session is {session_id!r}; expected your own, such as 'thread-123'")
        self._session_id = named
        self._user, self._user_name, self._tenant = (
            described.id_of(user),
            described.id_of(user_name),
            described.id_of(tenant),
        )
        self._tags = described.tags(tags or {})
        self._entered: list[Entered] = []

    def __enter__(self) -> Entered:
        process = self._process()
        keep = process.naming.identities
        part = Part(
            key=process.new_key(),
            session_id=self._session_id,
            started_at=process.now(),
            user=keep.identity(self._user),
            user_name=keep.name(self._user_name),
            tenant=self._tenant,
            tags={**process.tags, **self._tags},
        )
        # A thread of a chat is entered with every message: a receipt each would drown what is said of calls.
        live = LivePart(part, process, agent=lambda: None, said_at=logging.DEBUG)
        entered = Entered(live, self._process)
        self._entered.append(entered)
        around = spending.whose()
        spending.enter(Spending(entered.payer, in_call=around is not None and around.in_call))
        return entered

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._leave().close(_reason(kind))

    async def __aenter__(self) -> Entered:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await aside(partial(self._leave().close, _reason(kind)))

    def _leave(self) -> LivePart:
        """This context's entry: another task may be inside by the same object; where it has none, the latest."""
        entered = {entered.payer: entered for entered in self._entered}
        payer = spending.leave(entered)
        left = self._entered[-1] if payer is None else entered[payer]
        self._entered.remove(left)
        return left.live


def _reason(kind: type[BaseException] | None) -> str:
    return COMPLETED if kind is None else kind.__name__
