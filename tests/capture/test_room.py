"""Who is in a room, as stays of a part."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from livekit import rtc

from livekit_tokens.capture.room import RoomWitness
from livekit_tokens.domain.identity import Identities
from livekit_tokens.domain.sessions import Stay


class Live:
    """A part that keeps what it is told."""

    def __init__(self) -> None:
        self.part = SimpleNamespace(key="0" * 32)
        self.stays: list[Stay] = []

    def now(self) -> int:
        return 5

    def put_stay(self, stay: Stay) -> None:
        self.stays.append(stay)


@pytest.mark.parametrize(
    ("kind", "sip"),
    [(rtc.ParticipantKind.PARTICIPANT_KIND_SIP, True), (rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, False)],
    ids=["telephone", "browser"],
)
def test_a_stay_says_whether_it_is_a_telephones(kind: int, sip: bool) -> None:
    """LiveKit bills SIP participants by the minute."""
    room, live = rtc.EventEmitter(), Live()
    room.remote_participants = {}
    witness = RoomWitness(room, lambda: live, Identities(), lambda *_: None)
    caller = SimpleNamespace(sid="PA_1", identity="ada", name="Ada", kind=kind)
    room.emit("participant_connected", caller)
    witness.stop(9)
    assert [(stay.sip, stay.left_at) for stay in live.stays] == [(sip, None), (sip, 9)]
