"""The callers of a call: whose call it is, and whether it goes on without anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession

from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.room import RoomWitness
from livekit_tokens.capture.who import Who
from livekit_tokens.domain.times import Micros

LEFT = "participant_disconnected"
"""LiveKit's own close reason."""


class Callers:
    """Watches a call's room, where it has one. `live` answers the part that is written for now.

    `over` is called when the last caller has been gone for REJOIN_GRACE_SECONDS, with the time since when; `back`
    whenever somebody is there (again).
    """

    def __init__(
        self,
        who: Who,
        process: Process,
        session: Callable[[], AgentSession[Any] | None],
        live: Callable[[], LivePart],
        *,
        over: Callable[[Micros], None],
        back: Callable[[], None],
    ) -> None:
        self._who = who
        self._process = process
        self._session = session
        self._live = live
        self._over = over
        self._back = back
        self._room: RoomWitness | None = None
        self._caller: Any = None
        self._gone: asyncio.TimerHandle | None = None
        self._gone_at: Micros | None = None

    def watch(self, room: Any) -> None:
        """For the part that begins now, whoever was there before."""
        self._caller = None
        if self._room is None:
            self._room = RoomWitness(room, self._live, self._process.naming.identities, self._on_callers)

    def stop(self, at: Micros) -> None:
        """The call is over: who comes and goes does not matter any more."""
        self._wait_no_longer()
        if self._room is not None:
            self._room.stop(at)
            self._room = None

    def look(self) -> None:
        """Take in who is there, and whose voice the session hears."""
        if self._room is not None:
            self._room.look()
            self._look_at_linked()

    def _look_at_linked(self) -> None:
        """LiveKit says whose voice the session hears; until it does, the first caller in the room is taken."""
        session = self._session()
        try:
            linked = session.room_io.linked_participant if session is not None else None
        except RuntimeError:  # started without a room
            return
        if linked is not None:
            self._is_of(linked)

    def _on_callers(self, caller: Any, here: int) -> None:
        """A caller came, left or changed; `here` are in the room now."""
        if here == 0:
            self._wait_for_return(caller)
            return
        self._wait_no_longer()
        self._back()
        if self._caller is None or self._caller.sid == caller.sid or self._caller.identity == caller.identity:
            self._is_of(caller)

    def _is_of(self, caller: Any) -> None:
        self._caller = caller
        self._live().is_of(self._who.by(caller))

    # -- the last one leaves --------------------------------------------------------------------------------------

    def _wait_for_return(self, caller: Any) -> None:
        """The last caller left. LiveKit closes the session by itself, unless it was told not to."""
        left_at = self._left_at(caller)

        def over() -> None:
            self._gone = None
            self._caller = None
            self._over(left_at)

        if self._session() is not None and self._gone is None:
            self._gone_at = left_at
            self._gone = asyncio.get_running_loop().call_later(self._process.rejoin_grace, over)

    def _wait_no_longer(self) -> None:
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None

    def over_since(self, reason: str) -> tuple[str, Micros]:
        """Why and since when the call that ends now is over.

        It was when its room was deleted or its caller left, whatever closes the session, however late. LiveKit closes
        it by itself 10 ms later, or up to 2 s when an open response is asked to finish; not at all for a caller who was
        killed or removed: then the job's end does (seen on livekit-agents 1.8.9).
        """
        if self._room is not None and self._room.deleted_at is not None:
            return "room_deleted", self._room.deleted_at
        if self._gone is not None and self._gone_at is not None:
            return LEFT, self._gone_at
        return reason, self._left_at(self._caller) if reason == LEFT else self._process.now()

    def _left_at(self, caller: Any) -> Micros:
        """When that caller left, as their stay says; now, where it says nothing."""
        told = self._room.left_at(caller.sid) if self._room is not None and caller is not None else None
        return told if told is not None else self._process.now()
