"""`track`: one line in an entrypoint. Opens a part when the call begins, closes it when the caller leaves."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from livekit.agents import AgentSession, JobContext, llm

from livekit_tokens.capture import session_report
from livekit_tokens.capture.agent_session import agent_of, is_running, model_of, named, realtime_session_of
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.closing import finish_before_closing
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.handoffs import Asking
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.part import UNTRACKED, LivePart, OnEnd, OnUsage, Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.room import RoomWitness
from livekit_tokens.capture.spending import Payer
from livekit_tokens.capture.who import Who, Whose
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core import faults
from livekit_tokens.core.health import Health
from livekit_tokens.core.recorder import Unrecorded
from livekit_tokens.core.watchdog import Watchdog
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.sessions import Part, session_id, suffix
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.times import Micros

logger = logging.getLogger("livekit_tokens")

_trackings: WeakKeyDictionary[AgentSession[Any], Tracking] = WeakKeyDictionary()
_pending_prefixes = itertools.count(1)
_LEFT = "participant_disconnected"


class Tracking(ByHand):
    """What `track` returns. Harmless whatever happens: no method raises for a fault of the ledger or the disk.

    Its `record_usage` is the module's, for this call.
    """

    def __init__(
        self,
        session: AgentSession[Any] | None,
        ctx: JobContext | None,
        process: Process,
        who: Who,
        new_part: Callable[[], LivePart],
    ) -> None:
        # Weakly: the session holds our listeners, and must be collectable when the host drops it.
        self._session_ref = ref(session) if session is not None else None
        self._ctx = ctx
        self._process = process
        self._who = who
        self._new_part = new_part
        self._live = new_part()
        self._witnesses: list[RealtimeWitness] = []
        self._paying = Payer(lambda: self._live)
        self._components = ComponentWitness(self._paying)
        super().__init__(lambda: process, self._paying)
        self._room: RoomWitness | None = None
        self._caller: Any = None
        self._gone: asyncio.TimerHandle | None = None
        self._gone_at: Micros | None = None
        self._ending: asyncio.Task[SessionSummary] | None = None
        self._asking = Asking(self._listen_to)
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
        return self._process.health()

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
        if self._ctx is not None:
            self._watch_room()
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
            if _trackings.get(session) is self:
                del _trackings[session]

    def give_up(self) -> None:
        """It could not begin: nothing is left of it."""
        self._stop_listening()
        self._components.stop()
        self._live.fix("untracked")

    def _watch_room(self) -> None:
        assert self._ctx is not None
        if self._ctx.is_fake_job():  # the console's room and its guest are mocks, down to their names (1.8.9)
            return
        self._room = RoomWitness(self._ctx.room, lambda: self._live, self._process.naming.identities, self._on_callers)

    def _catch_up(self, session: AgentSession[Any]) -> None:
        """Tracked after its start: what was before is lost, what comes is not."""
        if not is_running(session):
            return
        logger.warning("track() was called after session.start(): usage until now is not counted; call it before")
        self._components.follow(session)
        if (realtime := realtime_session_of(session)) is not None:
            self._listen_to(realtime)

    def _on_item(self, event: Any) -> None:
        if self._session is None:
            return
        if isinstance(event.item, llm.ChatMessage):
            self._watchdog.said(event.item.role == "assistant", self._live.counted)
        elif isinstance(event.item, llm.AgentHandoff):
            if self._over:
                self._start_again()
            self._asking.expect_from(model_of(self._session))
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
        self._caller = None
        for witness in self._witnesses:
            witness.write_to(self._live)
        if self._ctx is not None and self._room is None:
            self._watch_room()

    def _listen_to(self, realtime: Any) -> None:
        witness = RealtimeWitness(self._live, lambda: named(realtime.realtime_model), f"r{next(_pending_prefixes)}")
        witness.attach(realtime)
        self._components.listen_to_realtime(realtime)
        self._witnesses.append(witness)
        finish_before_closing(realtime, witness, self._is_current, self._forget)

    def _is_current(self, realtime: Any) -> bool:
        # At a handoff, the session's current agent is the next one already.
        return self._session is not None and realtime_session_of(self._session) is realtime

    def _forget(self, witness: RealtimeWitness) -> None:
        if witness in self._witnesses:
            self._witnesses.remove(witness)

    # -- who is there ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._room is not None and not self._over:
            self._room.look()
            self._look_at_linked()

    def _look_at_linked(self) -> None:
        """LiveKit says whose voice the session hears; until it does, the first caller in the room is taken."""
        try:
            linked = self._session.room_io.linked_participant if self._session is not None else None
        except RuntimeError:  # started without a room
            return
        if linked is not None:
            self._caller = linked
            self._live.is_of(self._who.by(linked))

    def _on_callers(self, caller: Any, here: int) -> None:
        """A caller came, left or changed; `here` are in the room now."""
        if here == 0:
            self._wait_for_return(caller)
            return
        self._is_back()
        if self._caller is None or self._caller.sid == caller.sid or self._caller.identity == caller.identity:
            self._caller = caller
            self._live.is_of(self._who.by(caller))

    def _wait_for_return(self, caller: Any) -> None:
        """The last caller left. LiveKit closes the session by itself, unless it was told not to."""
        left_at = self._left_at(caller)

        def over() -> None:
            self._gone = None
            self._caller = None
            self._end(_LEFT, at=left_at)

        if self._session is not None and self._gone is None:
            self._gone_at = left_at
            self._gone = asyncio.get_running_loop().call_later(self._process.rejoin_grace, over)

    def _is_back(self) -> None:
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None
        if self._over and self._session is not None and is_running(self._session):
            self._start_again()

    # -- the end --------------------------------------------------------------------------------------------------

    def _on_close(self, event: Any) -> None:
        reason, at = self._over_since(getattr(event.reason, "value", None) or str(event.reason))
        self._stop_watching(at)
        self._end(reason, at)

    def _over_since(self, reason: str) -> tuple[str, Micros]:
        """The call was over when its room was deleted or its caller left, whatever closes the session, however late.

        LiveKit closes it by itself 10 ms later, or up to 2 s when an open response is asked to finish; not at all for
        a caller who was killed or removed: then the job's end does (seen on livekit-agents 1.8.9).
        """
        if self._room is not None and self._room.deleted_at is not None:
            return "room_deleted", self._room.deleted_at
        if self._gone is not None and self._gone_at is not None:
            return _LEFT, self._gone_at
        return reason, self._left_at(self._caller) if reason == _LEFT else self._process.now()

    def _left_at(self, caller: Any) -> Micros:
        """When that caller left, as their stay says; now, where it says nothing."""
        told = self._room.left_at(caller.sid) if self._room is not None and caller is not None else None
        return told if told is not None else self._process.now()

    @property
    def _over(self) -> bool:
        return self._ending is not None

    def _end(self, reason: str, at: Micros | None = None) -> None:
        if self._over:
            return
        live, at = self._live, at or self._process.now()
        if not counting.unsettled(live.part.key):
            live.fix(reason, at)
        self._ending = asyncio.create_task(live.finish(reason, at), name="livekit_tokens_end")

    def _stop_watching(self, at: Micros) -> None:
        """The session is over: nothing more comes from its realtime sessions, nor does its room matter any more."""
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None
        for witness in self._witnesses:
            witness.give_up()
        self._witnesses = []
        self._components.stop()
        if self._room is not None:
            self._room.stop(at)
            self._room = None

    def _shutdown_callback(self) -> Callable[[str], Any]:
        # LiveKit wants a real function. It awaits it, so that the end is not cut off with the job's other tasks.
        async def finish_tracking(reason: str) -> None:
            try:
                why, at = self._over_since(reason or "job_shutdown")
                self._stop_watching(at)
                self._end(why, at)
                assert self._ending is not None
                await asyncio.shield(self._ending)
            except Exception as error:  # noqa: BLE001 - one that raises would cut off all the others
                faults.note("the end of a part was cut off", error)

        return finish_tracking


def begin(
    session: AgentSession[Any] | None,
    ctx: JobContext | None,
    process: Process,
    *,
    user: str | None,
    tenant: str | None,
    feature: str | None,
    tags: Mapping[str, str],
    on_end: OnEnd | None,
    on_usage: OnUsage | None,
) -> Tracking:
    """Track a session, or give back the Tracking that already does. Raises BadSetting for what is no AgentSession."""
    if session is not None and not isinstance(session, AgentSession):
        raise BadSetting(f"session is {_kind(session)}; expected the AgentSession that is to be started, or None")
    if ctx is not None and not isinstance(ctx, JobContext):
        logger.warning("ctx is %s; expected the JobContext of the entrypoint: tracked as without one", _kind(ctx))
        ctx = None
    if session is not None and (found := _trackings.get(session)) is not None:
        logger.warning("track() was called twice for one AgentSession; the first call counts")
        return found

    who = Who(process.naming, ctx, user=user, tenant=tenant)

    held = ref(session) if session is not None else lambda: None

    tell = partial(session_report.tell, ctx) if ctx is not None else None

    def new_part() -> LivePart:
        part = _part_of(ctx, process.new_key(), process.now(), who.at_start(), tags)
        return LivePart(
            part,
            process,
            agent=lambda: agent_of(held()),
            feature=feature,
            on_end=on_end,
            on_usage=on_usage,
            on_final=tell,
        )

    watch.install()
    tracking = Tracking(session, ctx, process, who, new_part)
    try:
        tracking.begin()
    except Exception:
        tracking.give_up()
        raise
    if session is not None:
        _trackings[session] = tracking
    return tracking


def inert(process: Process, on_end: OnEnd | None = None) -> Tracking:
    """A Tracking that hooks into nothing and records nothing: tracking is off, or could not begin."""
    part = Part(key=process.new_key(), session_id=UNTRACKED, started_at=process.now())
    unrecorded = replace(process, recorder=Unrecorded())
    who = Who(process.naming, None, user=None, tenant=None)
    live = LivePart(part, unrecorded, agent=lambda: None, on_end=on_end)
    return Tracking(None, None, unrecorded, who, lambda: live)


def _kind(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"of the class {type(given).__name__}"


def _part_of(ctx: JobContext | None, key: str, at: Micros, whose: Whose, tags: Mapping[str, str]) -> Part:
    room = None if ctx is None or ctx.is_fake_job() or not ctx.job.room.sid else ctx.job.room
    return Part(
        key=key,
        session_id=session_id(room.name, room.sid) if room else f"local_{suffix(int(key, 16))}",
        started_at=at,
        room=room.name if room else None,
        job=ctx.job.id if ctx else None,
        agent_name=(ctx.job.agent_name or None) if ctx else None,
        user=whose.user,
        user_name=whose.user_name,
        tenant=whose.tenant,
        tags=dict(tags),
    )
