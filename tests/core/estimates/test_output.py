"""What a response had put out when it was cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core.estimates.output import (
    KEPT_MS,
    Answer,
    Answers,
    Arrived,
    Usual,
    generated_ahead,
    generated_by,
    generated_unheard,
    output_of,
    usual_of,
    with_answer,
)


def answer(**changes: object) -> Answer:
    """Four seconds of speech within one second, 200 ms at a time, whole."""
    values = {
        "arrived": Arrived(4_000, 12, whole=True),
        "first_piece_ms": 200,
        "first_ms": 100.0,
        "span_ms": 950.0,
        "output_text": 20,
        "output_audio": 80,
        "cut": False,
    }
    return Answer(**{**values, **changes})


def test_a_whole_answer_is_a_token_per_50_ms_and_its_framed_transcript() -> None:
    """Nothing was generated that did not arrive."""
    estimate = output_of(Usual(), Arrived(4_000, 12, whole=True))
    assert estimate.units == {"output_text": 20, "output_audio": 80}
    assert estimate.low["output_audio"] == estimate.high["output_audio"] == 80


def test_what_was_generated_ahead_is_added_and_bounded() -> None:
    """Not less than what arrived; text keeps pace with audio."""
    estimate = output_of(Usual(framing=0), Arrived(2_000, 10, ahead=400))
    assert estimate.units == {"output_text": 12, "output_audio": 48}
    assert (estimate.low["output_audio"], estimate.high["output_audio"]) == (40, 68)


def test_what_is_ahead_is_rounded_as_often_down_as_up() -> None:
    """It is no delta that the provider has rounded up: 20 ms are less than half a token."""
    usual = Usual(framing=0)
    assert output_of(usual, Arrived(2_000, 10, ahead=420)).units["output_audio"] == 48
    assert output_of(usual, Arrived(2_000, 10, ahead=430)).units["output_audio"] == 49


def test_an_answer_may_have_come_to_its_end_meanwhile() -> None:
    """As the longer ones of the conversation would have: one of them 100 ms later. Or it outlasts them all, and goes
    on for as long as they took, 4 s in the mean."""
    usual = Usual(lengths_ms=(1_000, 2_100, 8_900))
    estimate = output_of(usual, Arrived(2_000, 10, ahead=400))
    outlasting = 4_000 * (1 - 2.718281828 ** (-400 / 4_000))
    assert estimate.units["output_audio"] == round((2_000 + (100 + 400 + outlasting) / 3) / 50) == 46
    assert output_of(Usual(lengths_ms=(400,)), Arrived(2_000, 10, ahead=400)).units["output_audio"] == 45


def test_ahead_is_the_pace_times_the_way_there_and_back() -> None:
    """The response's own pace where it shows one, else the usual one, else real time."""
    assert generated_ahead(Usual(), 4_000, 200, 950.0, 100.0) == 400
    assert generated_ahead(Usual(pace=4.0), 200, 200, 0.0, 100.0) == 400
    assert generated_ahead(Usual(), 200, 200, 0.0, 100.0) == 100


def test_text_does_not_come_at_the_pace_of_speech() -> None:
    """Its tokens are no milliseconds: only its own pace counts, and none is known at its first one."""
    assert generated_ahead(Usual(pace=4.0), 31, 1, 300.0, 100.0, spoken=False) == 10
    assert generated_ahead(Usual(pace=4.0), 3, 3, 0.0, 100.0, spoken=False) == 0


def test_what_came_at_once_shows_no_pace() -> None:
    """A few bytes of audio are no millisecond; the text beside them has no time of its own."""
    assert generated_ahead(Usual(), 3, 0, 0.0, 100.0, spoken=False) == 0
    assert generated_ahead(Usual(), 400, 200, 0.0, 100.0) == 100


def test_of_a_response_that_has_not_been_heard_something_may_exist() -> None:
    """Only where it is known how long a first output takes. The wait for it is 100 ms; the connection breaks at any
    moment of it."""
    usual = Usual(pace=4.0, round_trip_ms=20.0, behind_ms=10.0, making_ms=10.0, first_ms=100.0)
    assert generated_unheard(usual) == round(4.0 * 40 / 2 * 0.4)  # its last 40 ms leave up to 40 ms behind
    far = Usual(pace=4.0, round_trip_ms=140.0, behind_ms=10.0, making_ms=10.0, first_ms=100.0)
    assert generated_unheard(far) == 4 * (60 + 160) / 2  # at its beginning it has been at it for 60 ms
    assert generated_unheard(Usual(round_trip_ms=140.0)) == generated_unheard(Usual(pace=4.0)) == 0


def test_of_a_response_that_was_stopped_unheard_its_age_tells_what_exists() -> None:
    """Its first output comes 100 ms after its announcement, 20 ms of them after it was generated."""
    usual = Usual(pace=4.0, behind_ms=10.0, making_ms=10.0, first_ms=100.0)
    assert [generated_by(usual, age) for age in (-30.0, 50.0, 85.0, 95.0)] == [0, 0, 20, 60]
    assert generated_by(usual, 500.0) == 80, "more would have arrived"
    assert generated_by(Usual(pace=4.0, behind_ms=110.0, first_ms=100.0), 0.0) == 0, "it begins with its announcement"
    assert generated_by(Usual(), 500.0) == 0


def test_the_estimate_of_what_was_not_heard_is_framed_and_bounded() -> None:
    """Low is nothing; high is more than what the connection holds."""
    usual = Usual(pace=4.0, round_trip_ms=80.0, behind_ms=10.0, making_ms=10.0, first_ms=100.0)
    assert output_of(usual, Arrived()).units == {}
    estimate = output_of(usual, Arrived(ahead=200))
    assert (estimate.units, estimate.low) == ({"output_text": 9, "output_audio": 4}, {})
    assert estimate.high["output_audio"] == (2.5 * 400 + 400) // 50
    assert output_of(Usual(behind_ms=0.0), Arrived()).high["output_audio"] == 20
    assert output_of(Usual(), Arrived(whole=True)).high == {}


def test_what_is_usual_is_learned_from_the_figures() -> None:
    """Pace, framing, length, the wait for the first output, and half of what is sent at a time."""
    answers = with_answer(with_answer(Answers(), answer()), answer(first_piece_ms=400, first_ms=140.0))
    usual = usual_of(answers, 80.0)
    assert (usual.framing, usual.lengths_ms, usual.round_trip_ms, usual.first_ms) == (8, (4_000, 4_000), 80.0, 120.0)
    assert usual.pace == pytest.approx(7_400 / 1_900)
    assert usual.making_ms == pytest.approx(150 / usual.pace)


def test_before_a_cut_answer_tells_a_provider_keeps_what_it_is_making_and_at_least_what_recordings_showed() -> None:
    """Pieces of 200 ms at four times real time are 25 ms in the making in the mean; those of 800 ms are 100 ms."""
    assert usual_of(Answers(), 0.0).behind_ms == usual_of(with_answer(Answers(), answer()), 0.0).behind_ms == KEPT_MS
    large = answer(first_piece_ms=800, span_ms=800.0)
    assert usual_of(with_answer(Answers(), large), 0.0).behind_ms == pytest.approx(100.0)


def test_what_a_provider_keeps_is_learned_from_cut_answers() -> None:
    """One of which 8 tokens (400 ms) had not been sent weighs as much as what was known before."""
    cut = answer(arrived=Arrived(2_000, 6), span_ms=450.0, output_audio=48, cut=True)
    answers = with_answer(with_answer(Answers(), answer()), cut)
    assert usual_of(answers, 0.0).behind_ms == pytest.approx((KEPT_MS + 100) / 2)
    answers = with_answer(answers, cut)
    assert usual_of(answers, 0.0).behind_ms == pytest.approx((KEPT_MS + 200) / 3)


def test_what_was_not_sent_is_taken_at_the_pace_that_is_known_now() -> None:
    """A first answer, cut at its first piece, knows no pace: what it left is not so many times real time."""
    cut = answer(arrived=Arrived(200, 1), span_ms=0.0, output_audio=12, cut=True)
    answers = with_answer(with_answer(Answers(), cut), answer())
    assert usual_of(answers, 0.0).behind_ms == pytest.approx((KEPT_MS + 100) / 2)


def test_text_alone_is_estimated_in_tokens() -> None:
    """A text answer, or a tool's arguments."""
    estimate = output_of(Usual(framing=3), Arrived(0, 20, ahead=4))
    assert estimate.units == {"output_text": 27}
    assert estimate.low["output_text"] <= 27 <= estimate.high["output_text"]


@given(
    st.builds(Arrived, st.integers(0, 60_000), st.integers(0, 400), st.integers(0, 4_000), st.booleans()),
    st.builds(Usual, st.integers(0, 20), st.none() | st.floats(0.5, 20), lengths_ms=st.tuples(st.integers(0, 60_000))),
)
def test_an_estimate_lies_within_its_bounds(arrived: Arrived, usual: Usual) -> None:
    """Whatever arrived."""
    estimate = output_of(usual, arrived)
    for unit in {*estimate.units, *estimate.low}:
        assert estimate.low.get(unit, 0) <= estimate.units.get(unit, 0) <= estimate.high.get(unit, 0)
