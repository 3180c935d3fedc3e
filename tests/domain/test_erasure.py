"""Who is named in a text, and what is left of a part, a stay and a record without them."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.erasure import Forgotten, Person, counts_of
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.usage import UsageRecord

JOHN = Person(frozenset({"+49 151 234"}), frozenset({"John Doe", "Jo"}))
KEY = "0a" * 16


@pytest.mark.parametrize("text", ["support-room-john-doe", "JOHN_DOE", "sip_49151234_x", "+49 151 234", "room/jo/1"])
def test_a_room_names_a_person_whatever_stands_between_the_letters(text):
    assert JOHN.is_named_in(text)


@pytest.mark.parametrize("text", ["support-room", "join-jobs", "doe-john", "49151", "", None])
def test_a_short_name_is_not_found_within_another_word(text):
    assert not JOHN.is_named_in(text)


def test_a_name_of_signs_only_is_found_as_a_whole():
    assert Person(frozenset({"☎"})).is_named_in("☎")
    assert not Person(frozenset({"☎"})).is_named_in("room")


def test_what_arrives_late_is_told_without_the_person():
    """The part, their stay, what their records carry; the room's name, if it names them. Figures stay."""
    forgotten = Forgotten(b"key")
    forgotten.remember("identity", "ann-42", 100)
    late = Part(
        KEY, "ann-42-room_x", 50, room="ann-42-room", user="ann-42", user_name="Ann", tags={"who": "ann 42", "env": "p"}
    )

    seen = forgotten.seen([late], [], [])[KEY]
    told = forgotten.part(late, seen)
    stay = forgotten.stay(Stay(KEY, "PA", "ann-42", "Ann", 60))
    record = UsageRecord(
        KEY,
        70,
        "a",
        "p",
        "m",
        "o",
        {"input_text": 1},
        request_id="r",
        idempotency_key="k",
        metadata={"characters": 1, "t": "x"},
    )
    record = forgotten.record(record, seen)

    assert (told.user, told.user_name, dict(told.tags)) == (None, None, {"env": "p"})
    assert told.session_id == forgotten.neutral("session", "ann-42-room_x")
    assert told.room == forgotten.neutral("room", "ann-42-room")
    assert (stay.identity, stay.name, stay.joined_at) == (None, None, 60)
    assert (record.request_id, record.idempotency_key, record.metadata) == (None, None, {"characters": 1})
    assert record.units == {"input_text": 1}


def test_who_comes_back_after_the_erasure_is_a_new_person():
    """A call that begins later is not meant by it."""
    forgotten = Forgotten(b"key")
    forgotten.remember("identity", "ann", 100)
    new = Part(KEY, "room_x", 101, user="ann")

    assert forgotten.seen([new], [], []) == {}
    assert forgotten.part(new, None) == new
    assert forgotten.stay(Stay(KEY, "PA", "ann", "Ann", 101)).identity == "ann"


def test_another_process_gives_the_same_neutral_name():
    """Parts of one session stay together."""
    one, other = Forgotten(b"key"), Forgotten(b"key")
    assert one.neutral("session", "ann_1") == other.neutral("session", "ann_1") != one.neutral("room", "ann_1")
    assert Forgotten(b"other").neutral("session", "ann_1") != one.neutral("session", "ann_1")


def test_of_metadata_counts_stay_that_are_ours():
    """By name: a number may be a telephone's, a name may be a person's; and texts by their words."""
    given = {"status": "cancelled", "cancelled": True, "messages_count": 2, "phone": 491701234567, "Ann": 1, "n": "x"}
    assert counts_of(given) == {"status": "cancelled", "cancelled": True, "messages_count": 2}
    assert counts_of({"status": "Ann", "counted_by": "words", "characters": "Ann"}) == {"counted_by": "words"}
