"""`track`: one line in an entrypoint. Opens a part when the call begins, closes it when the caller leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from livekit.agents import AgentSession, JobContext, llm

from livekit_tokens.capture import session_report
from livekit_tokens.capture.agent_session import agent_of, is_running, model_of, realtime_session_of
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.callers import LEFT, Callers
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.part import UNTRACKED, LivePart, OnEnd, OnUsage, Process
from livekit_tokens.capture.realtime_sessions import RealtimeSessions
from livekit_tokens.capture.spending import Payer
from livekit_tokens.capture.who import Who, part_of
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core import faults
from livekit_tokens.core.health import Health
from livekit_tokens.core.unrecorded import Unrecorded
from livekit_tokens.core.watchdog import Watchdog
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.times import Micros

logger = logging.getLogger("livekit_tokens")

_trackings: WeakKeyDictionary[AgentSession[Any], ref[Tracking]] = WeakKeyDictionary()
"""Weak on both sides: a Tracking is held by the session's own listeners, and by its job's context, which holds the
session as well (seen on livekit-agents 1.8.9)."""


@dataclass(frozen=True, slots=True)
class Given:
    """What `track` is given beside the session and the job."""

    user: str | None = None
    tenant: str | None = None
    feature: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_end: OnEnd | None = None
    on_usage: OnUsage | None = None


class Tracking(ByHand):
    """What `track` returns. Harmless whatever happens: no method raises for a fault of the ledger or the disk.

    Its `record_usage` is the module's, for this call.
    """

    def __init__(
        self,
        session: AgentSession[Any] | None,
        ctx: JobContext | None,
        process_of: Callable[[], Process],
        who: Who,
        new_part: Callable[[], LivePart],
    ) -> None:
        # Weakly: the session holds our listeners, and must be collectable when the host drops it.
        self._session_ref = ref(session) if session is not None else None
        self._ctx = ctx
        self._process = process = process_of()
        self._new_part = new_part
        self._live = new_part()
        self._paying = Payer(lambda: self._live)
        self._components = ComponentWitness(self._paying)
        self._realtime = RealtimeSessions(lambda: self._session, lambda: self._live, self._components)
        super().__init__(process_of, self._paying)
        self._callers = Callers(
            who,
            process,
            lambda: self._session,
            lambda: self._live,
            over=partial(self._end, LEFT),
            back=self._is_back,
        )
        self._ending: asyncio.Task[SessionSummary] | None = None
        self._endings: set[asyncio.Task[SessionSummary]] = set()
        self._listening: dict[Any, Callable[[Any], None]] = {}
        self._watchdog = Watchdog(self._alarm)

    @property
    def _session(self) -> AgentSession[Any] | None:
        return self._session_ref() if self._session_ref is not None else None

    @property
    def session_id(self) -> str:
        return self._live.part.session_id

    def summary(self) -> SessionSummary:
        """The part as it stands now, from memory."""
        return self._live.summary()

    def health(self) -> Health:
        """How the metering of this process fares: records, what waits and what was lost, faults. From memory."""
        return self._process_of().health()

    async def aclose(self) -> SessionSummary:
        """End the part if it has not ended; returns its final summary once it is durable. Idempotent."""
        at = self._process.now()
        self._stop_listening()
        self._stop_watching(at)
        self._end("user_initiated", at)
        assert self._ending is not None
        return await asyncio.shield(self._ending)

    # -- listening ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Hook into the session, the room and the job. Called once, by `track`."""
        self._components.begin(self._session)
        if self._session is not None:
            self._listen_for("conversation_item_added", self._on_item, "a handoff could not be followed")
            self._listen_for("speech_created", self._components.on_speech, "a reply could not be followed")
            self._listen_for("agent_state_changed", lambda _: self._look(), "the room could not be read")
            self._listen_for("close", self._on_close, "the end of a session could not be recorded")
            self._catch_up(self._session)
        self._watch_room()
        if self._ctx is not None:
            self._ctx.add_shutdown_callback(self._shutdown_callback())

    def _listen_for(self, event: Any, handler: Callable[[Any], None], kind: str) -> None:
        assert self._session is not None
        self._listening[event] = listener(handler, kind)
        self._session.on(event, self._listening[event])

    def _stop_listening(self) -> None:
        """For the session there is no Tracking any more: it may be tracked anew."""
        if (session := self._session) is not None:
            for event, handler in self._listening.items():
                session.off(event, handler)
            self._listening.clear()
            if tracking_of(session) is self:
                del _trackings[session]

    def give_up(self) -> None:
        """It could not begin: nothing is left of it."""
        self._stop_listening()
        self._stop_watching(self._process.now())
        self._live.fix("untracked")

    def _watch_room(self) -> None:
        # The console's room and its guest are mocks, down to their names (1.8.9).
        if self._ctx is not None and not self._ctx.is_fake_job():
            self._callers.watch(self._ctx.room)

    def _catch_up(self, session: AgentSession[Any]) -> None:
        """Tracked after its start: what was before is lost, what comes is not."""
        if not is_running(session):
            return
        logger.warning("track() was called after session.start(): usage until now is not counted; call it before")
        self._components.follow(session)
        if (realtime := realtime_session_of(session)) is not None:
            self._realtime.listen_to(realtime)

    def _on_item(self, event: Any) -> None:
        if self._session is None:
            return
        if isinstance(event.item, llm.ChatMessage):
            self._watchdog.said(event.item.role == "assistant", self._live.counted)
        elif isinstance(event.item, llm.AgentHandoff):
            if self._over:
                self._start_again()
            self._realtime.expect_from(model_of(self._session))
            self._components.follow(self._session, event.item.new_agent_id)
            self._look()

    def _alarm(self, turns: int) -> None:
        faults.note(
            "a call goes on and none of it is counted: its model or plugins report no usage",
            turns=turns,
            session_id=self.session_id,
        )

    def _start_again(self) -> None:
        """The same AgentSession goes on after its part had ended (started again, a caller came back): a new part."""
        self._live = self._new_part()
        self._paying.file()
        self._ending = None
        self._realtime.go_on()
        self._watch_room()

    def _look(self) -> None:
        if not self._over:
            self._callers.look()

    def _is_back(self) -> None:
        if self._over and self._session is not None and is_running(self._session):
            self._start_again()

    # -- the end --------------------------------------------------------------------------------------------------

    def _on_close(self, event: Any) -> None:
        self._close(getattr(event.reason, "value", None) or str(event.reason))

    def _close(self, reason: str) -> None:
        why, at = self._callers.over_since(reason)
        self._stop_watching(at)
        self._end(why, at)

    @property
    def _over(self) -> bool:
        return self._ending is not None

    def _end(self, reason: str, at: Micros) -> None:
        if self._over:
            return
        live = self._live
        if not counting.unsettled(live.part.key):
            live.fix(reason, at)
        self._ending = asyncio.create_task(live.finish(reason, at), name="livekit_tokens_end")
        self._endings.add(self._ending)
        self._ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Task[SessionSummary]) -> None:
        self._endings.discard(ending)
        if not ending.cancelled() and (error := ending.exception()) is not None:
            faults.note("the end of a part was cut off", error)

    def _stop_watching(self, at: Micros) -> None:
        """The session is over: nothing more comes from its realtime sessions, nor does its room matter any more."""
        self._realtime.give_up()
        self._components.stop()
        self._callers.stop(at)

    def _shutdown_callback(self) -> Callable[[str], Any]:
        # LiveKit wants a real function. It awaits it, so that no end is cut off with the job's other tasks: the end of
        # an earlier part may still be under way.
        async def finish_tracking(reason: str) -> None:
            try:
                self._close(reason or "job_shutdown")
            except Exception as error:  # noqa: BLE001 - one that raises would cut off all the others
                faults.note("the end of a part was cut off", error)
            if self._endings:
                await asyncio.wait(self._endings)

        return finish_tracking


def begin(
    session: AgentSession[Any] | None, ctx: JobContext | None, process_of: Callable[[], Process], given: Given
) -> Tracking:
    """Track a session, or give back the Tracking that already does. Raises BadSetting for what is no AgentSession.

    `process_of` answers the Process of the process that it is called in (`ByHand`).
    """
    if session is not None and not isinstance(session, AgentSession):
        raise BadSetting(f"session is {_kind(session)}; expected the AgentSession that is to be started, or None")
    if ctx is not None and not isinstance(ctx, JobContext):
        logger.warning("ctx is %s; expected the JobContext of the entrypoint: tracked as without one", _kind(ctx))
        ctx = None
    if session is not None and (found := tracking_of(session)) is not None:
        logger.warning("track() was called twice for one AgentSession; the first call counts")
        return found

    process = process_of()
    who = Who(process.naming, ctx, user=given.user, tenant=given.tenant)
    held = ref(session) if session is not None else lambda: None
    tell = partial(session_report.tell, ctx) if ctx is not None else None

    def new_part() -> LivePart:
        return LivePart(
            part_of(ctx, process.new_key(), process.now(), who.at_start(), given.tags),
            process,
            agent=lambda: agent_of(held()),
            feature=given.feature,
            on_end=given.on_end,
            on_usage=given.on_usage,
            on_final=tell,
        )

    watch.install()
    tracking = Tracking(session, ctx, process_of, who, new_part)
    try:
        tracking.begin()
    except Exception:
        tracking.give_up()
        raise
    if session is not None:
        _trackings[session] = ref(tracking)
    return tracking


def tracking_of(session: AgentSession[Any]) -> Tracking | None:
    """The Tracking that tracks a session now."""
    found = _trackings.get(session)
    return None if found is None else found()


def inert(process: Process, on_end: OnEnd | None = None) -> Tracking:
    """A Tracking that hooks into nothing and records nothing: tracking is off, or could not begin."""
    part = Part(key=process.new_key(), session_id=UNTRACKED, started_at=process.now())
    unrecorded = replace(process, recorder=Unrecorded())
    who = Who(process.naming, None, user=None, tenant=None)
    live = LivePart(part, unrecorded, agent=lambda: None, on_end=on_end)
    return Tracking(None, None, lambda: unrecorded, who, lambda: live)


def _kind(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"of the class {type(given).__name__}"
