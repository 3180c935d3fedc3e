"""Who is in a room, as stays of a part."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from livekit import rtc

from livekit_tokens.capture.room import RoomWitness
from livekit_tokens.domain.identity import PLAIN, Identities
from livekit_tokens.domain.sessions import Stay

HASHED = Identities("hashed", "a secret")


class Live:
    """A part that keeps what it is told."""

    def __init__(self) -> None:
        self.part = SimpleNamespace(key="0" * 32)
        self.stays: list[Stay] = []

    def now(self) -> int:
        return 5

    def put_stay(self, stay: Stay) -> None:
        self.stays.append(stay)


def stays(
    keep: Identities = PLAIN, kind: int = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, came: str = "after us"
) -> list[Stay]:
    """What is written of a participant who came and was there to the end."""
    room, live = rtc.EventEmitter(), Live()
    ada = SimpleNamespace(sid="PA_1", identity="ada", name="Ada Lovelace", kind=kind)
    room.remote_participants = {"ada": ada} if came == "before us" else {}
    witness = RoomWitness(room, lambda: live, keep, lambda *_: None)
    if came == "after us":
        room.emit("participant_connected", ada)
    witness.stop(9)
    return live.stays


@pytest.mark.parametrize(
    ("kind", "sip"),
    [(rtc.ParticipantKind.PARTICIPANT_KIND_SIP, True), (rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, False)],
    ids=["telephone", "browser"],
)
def test_a_stay_says_whether_it_is_a_telephones(kind: int, sip: bool) -> None:
    """LiveKit bills SIP participants by the minute."""
    assert [(stay.sip, stay.left_at) for stay in stays(kind=kind)] == [(sip, None), (sip, 9)]


@pytest.mark.parametrize("came", ["before us", "after us"])
@pytest.mark.parametrize(
    ("keep", "identity", "name"),
    [
        (PLAIN, "ada", "Ada Lovelace"),
        (HASHED, HASHED.identity("ada"), None),
        (Identities("none"), None, None),
    ],
    ids=["plain", "hashed", "none"],
)
def test_a_stay_names_its_participant_as_far_as_it_may(
    keep: Identities, identity: str | None, name: str | None, came: str
) -> None:
    """At the join and at the leave, whoever was in the room first."""
    assert {(stay.identity, stay.name) for stay in stays(keep, came=came)} == {(identity, name)}
