"""Who is in the room: joins and leaves of one LiveKit room, as stays of a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from livekit import rtc

from livekit_tokens.capture.listening import listener
from livekit_tokens.domain.sessions import Stay
from livekit_tokens.domain.times import Micros

_KIND = rtc.ParticipantKind
_NOT_CALLERS = (_KIND.PARTICIPANT_KIND_AGENT, _KIND.PARTICIPANT_KIND_EGRESS, _KIND.PARTICIPANT_KIND_INGRESS)


class RoomWitness:
    """Listens to a room for one part. Its own agent is not a participant; other agents are, but are no callers."""

    def __init__(
        self,
        room: Any,
        part: str,
        now: Callable[[], Micros],
        put: Callable[[Stay], None],
        on_caller: Callable[[str, str | None], None],
    ) -> None:
        self._room = room
        self._part = part
        self._now = now
        self._put = put
        self._on_caller = on_caller
        self._here: dict[str, Stay] = {}
        self._listeners: list[tuple[str, Callable[[Any], None]]] = [
            ("participant_connected", listener(self._joined, "a join could not be recorded")),
            ("participant_disconnected", listener(self._left, "a leave could not be recorded")),
            ("connection_state_changed", listener(lambda _: self.look(), "the room could not be read")),
        ]
        for event, handler in self._listeners:
            room.on(event, handler)
        self.look()

    def look(self) -> None:
        """Take in who is there: a participant who was in the room before us gives no event."""
        for participant in list(self._room.remote_participants.values()):
            if participant.sid not in self._here:
                self._joined(participant)

    def stop(self) -> None:
        """Listen no more, and close the stays that are open: for this part they end now."""
        for event, handler in self._listeners:
            self._room.off(event, handler)
        for stay in list(self._here.values()):
            self._close(stay)

    def _joined(self, participant: Any) -> None:
        stay = Stay(self._part, participant.sid, participant.identity, participant.name or None, self._now())
        self._here[participant.sid] = stay
        self._put(stay)
        if participant.kind not in _NOT_CALLERS:
            self._on_caller(participant.identity, participant.name or None)

    def _left(self, participant: Any) -> None:
        stay = self._here.get(participant.sid)
        if stay is not None:
            self._close(stay)

    def _close(self, stay: Stay) -> None:
        self._here.pop(stay.sid, None)
        self._put(replace(stay, left_at=self._now()))

    @property
    def participants(self) -> int:
        return len(self._here)
