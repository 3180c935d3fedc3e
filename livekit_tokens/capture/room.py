"""Who is in the room: joins and leaves of one LiveKit room, as stays of a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit import rtc

from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.part import LivePart
from livekit_tokens.domain.identity import Identities
from livekit_tokens.domain.sessions import Stay, left
from livekit_tokens.domain.times import Micros

_KIND = rtc.ParticipantKind
_NOT_CALLERS = (_KIND.PARTICIPANT_KIND_AGENT, _KIND.PARTICIPANT_KIND_EGRESS, _KIND.PARTICIPANT_KIND_INGRESS)


class RoomWitness:
    """Listens to a room for a call. Its own agent is not a participant; other agents are, but are no callers.

    `on_callers` is told of every caller's join, leave and change, with the caller and how many are there now.
    """

    def __init__(
        self,
        room: Any,
        live: Callable[[], LivePart],
        identities: Identities,
        on_callers: Callable[[Any, int], None],
    ) -> None:
        self._room = room
        self._live = live
        self._identities = identities
        self._on_callers = on_callers
        self._here: dict[str, Stay] = {}
        self._callers: set[str] = set()
        self._left_at: dict[str, Micros] = {}
        self.deleted_at: Micros | None = None
        self._listeners: list[tuple[str, Callable[..., None]]] = [
            ("participant_connected", listener(self._joined, "a join could not be recorded")),
            ("participant_disconnected", listener(self._left, "a leave could not be recorded")),
            ("connection_state_changed", listener(lambda _: self.look(), "the room could not be read")),
            ("disconnected", listener(self._gone, "the end of a room could not be read")),
            ("participant_name_changed", listener(self._changed, "a participant's name could not be read")),
            (
                "participant_attributes_changed",  # which, and whose
                listener(self._changed, "a participant's attributes could not be read", place=1),
            ),
        ]
        for event, handler in self._listeners:
            room.on(event, handler)
        self.look()

    def look(self) -> None:
        """Take in who is there: a participant who was in the room before us gives no event."""
        for participant in list(self._room.remote_participants.values()):
            if participant.sid not in self._here:
                self._joined(participant)

    def left_at(self, sid: str) -> Micros | None:
        """When that caller left; None for who is here, or never was."""
        return self._left_at.get(sid)

    def stop(self, at: Micros) -> None:
        """Listen no more, and close the stays that are open: for this part they end with it."""
        for event, handler in self._listeners:
            self._room.off(event, handler)
        for stay in list(self._here.values()):
            self._close(stay, max(at, stay.joined_at))

    def _joined(self, participant: Any) -> None:
        if participant.kind not in _NOT_CALLERS:
            self._callers.add(participant.sid)
            # First: who comes back after the call had ended begins a new part, and their stay belongs to it.
            self._on_callers(participant, len(self._callers))
        live, keep = self._live(), self._identities
        stay = Stay(
            part=live.part.key,
            sid=participant.sid,
            identity=keep.identity(participant.identity),
            name=keep.name(participant.name),
            joined_at=live.now(),
            sip=participant.kind == _KIND.PARTICIPANT_KIND_SIP,
        )
        self._here[participant.sid] = stay
        live.put_stay(stay)

    def _left(self, participant: Any) -> None:
        stay = self._here.get(participant.sid)
        if stay is None:
            return
        at = self._live().now()
        self._gone(participant.disconnect_reason)
        self._close(stay, at)
        if participant.sid in self._callers:
            self._callers.discard(participant.sid)
            self._left_at[participant.sid] = at
            self._on_callers(participant, len(self._callers))

    def _gone(self, reason: Any) -> None:
        # Who is put out first, we or the caller, is the server's luck (seen on livekit-server 1.11.0).
        if reason == rtc.DisconnectReason.ROOM_DELETED and self.deleted_at is None:
            self.deleted_at = self._live().now()

    def _changed(self, participant: Any) -> None:
        if participant.sid in self._callers:
            self._on_callers(participant, len(self._callers))

    def _close(self, stay: Stay, at: Micros) -> None:
        self._here.pop(stay.sid, None)
        self._live().put_stay(left(stay, at))
