"""What is known of a response in flight, and what most likely exists beyond it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from livekit_tokens.capture import flights
from livekit_tokens.capture.flights import Flight, Flights
from livekit_tokens.core.estimates.conversation import Conversation
from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Figures, prompt_of, reading_of
from tests.core.makers import a_pend

USUAL = Usual(pace=4.0, round_trip_ms=60.0, behind_ms=30.0, making_ms=20.0, first_ms=200.0)
PIECE = 48 * 200
"""Bytes of 200 ms."""


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(flights, "time", SimpleNamespace(monotonic=lambda: self.now))

    def passes(self, milliseconds: float) -> None:
        self.now += milliseconds / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def announced(clock: Clock, under: Flights, response_id: str) -> Flight:
    reading = reading_of(Figures(), prompt_of(Conversation()))
    flight = Flight(a_pend(response_id, 1), reading, USUAL, clock.now, clock.now)
    under.announce(response_id, flight)
    return flight


def test_where_the_connection_breaks_what_is_on_its_way_is_lost_too(clock: Clock) -> None:
    """A round trip's worth, and what the provider keeps; where all that was sent has arrived, that alone."""
    flight = announced(clock, Flights(), "resp_1")
    flight.hear(PIECE)
    assert flight.more(0).ahead == 4 * (60 + 30)
    assert flight.more(0, all_arrives=True).ahead == 4 * 30


def test_what_was_stopped_arrives_as_far_as_it_was_sent(clock: Clock) -> None:
    """Whatever becomes of the connection later."""
    under = Flights()
    flight = announced(clock, under, "resp_1")
    flight.hear(PIECE)
    under.stop("resp_1")
    assert flight.more(0).ahead == 4 * 30


def test_of_what_was_stopped_unheard_its_age_tells_what_exists(clock: Clock) -> None:
    """As the provider sees it: its announcement and the stop were under way for a round trip in all. First output is
    generated 150 ms after the announcement."""
    under = Flights()
    early, late = announced(clock, under, "resp_1"), announced(clock, under, "resp_2")
    clock.passes(50)
    under.stop("resp_1")
    clock.passes(50)
    under.stop("resp_2")
    assert (early.more(0).ahead, late.more(0).ahead) == (0, 4 * 10)


def test_what_was_stopped_before_its_announcement_was_stopped_then(clock: Clock) -> None:
    """LiveKit stops it again when it is announced, by its id; the provider may have stopped 180 ms ago."""
    under = Flights()
    flight = announced(clock, under, "resp_1")
    under.announced.clear()
    under.asked["create_1"] = flight
    under.stop(None)
    clock.passes(180)
    under.announce("resp_1", under.take({"client_event_id": "create_1"}))
    flight.announced = clock.now
    under.stop("resp_1")
    flight.usual = replace(USUAL, round_trip_ms=170.0)
    assert flight.more(0).ahead == 0


def test_of_what_was_not_stopped_and_not_heard_nothing_exists_if_all_has_arrived(clock: Clock) -> None:
    """If the connection has broken, something may."""
    flight = announced(clock, Flights(), "resp_1")
    assert flight.more(0, all_arrives=True).ahead == 0
    assert flight.more(0).ahead == 4 * 110**2 / 2 / 200


def test_a_stop_without_an_id_means_what_is_under_way(clock: Clock) -> None:
    """Not what the conversation has gone past, and nothing a second time."""
    under = Flights()
    past, now = announced(clock, under, "resp_1"), announced(clock, under, "resp_2")
    past.overtaken = True
    assert under.stop(None) == [now]
    assert under.stop(None) == under.stop("resp_2") == under.stop("resp_3") == []
    assert under.stop("resp_1") == [past]


def asked(under: Flights, name: str, began: float, **labels: str) -> Flight:
    reading = reading_of(Figures(), prompt_of(Conversation()))
    flight = Flight(a_pend(name, 1), reading, USUAL, began, began, labels=labels)
    under.asked[name] = flight
    return flight


def test_a_response_is_that_which_was_asked_for_with_its_metadata() -> None:
    """By LiveKit's own mark; else by all of it, the one that has waited longest first."""
    under = Flights()
    mine, livekits, second = (
        asked(under, "a", 1, topic="classify"),
        asked(under, "b", 2, client_event_id="b"),
        asked(under, "c", 3, topic="classify"),
    )
    assert under.take({"client_event_id": "b"}) is livekits
    assert under.take({"topic": "classify"}) is mine
    assert under.take({"topic": "classify"}) is second
    assert under.take({"topic": "classify"}) is None


def test_a_response_without_metadata_is_what_the_provider_begins_by_itself_or_what_has_waited_longest() -> None:
    """What was asked for long ago may never begin."""
    under = Flights()
    first, last = asked(under, "a", 1), asked(under, "b", 3)
    under.expected = expected = asked(under, "x", 2)
    del under.asked["x"]
    assert [under.take({}) for _ in range(4)] == [expected, first, last, None]
