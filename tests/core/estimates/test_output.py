"""What a response had put out when it was cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core.estimates.output import (
    Answer,
    Answers,
    Arrived,
    Usual,
    generated_ahead,
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


def test_an_answer_may_have_come_to_its_end_meanwhile() -> None:
    """As the conversation's own answers did: of two longer ones, one ended 100 ms later."""
    usual = Usual(lengths_ms=(1_000, 2_100, 9_000))
    estimate = output_of(usual, Arrived(2_000, 10, ahead=400))
    assert estimate.units["output_audio"] == (2_000 + (100 + 400 + 400) // 3) // 50


def test_ahead_is_the_pace_times_the_way_there_and_back() -> None:
    """The response's own pace where it shows one, else the usual one, else real time."""
    assert generated_ahead(Usual(), 4_000, 200, 950.0, 100.0) == 400
    assert generated_ahead(Usual(pace=4.0), 200, 200, 0.0, 100.0) == 400
    assert generated_ahead(Usual(), 200, 200, 0.0, 100.0) == 100


def test_of_a_response_that_has_not_been_heard_something_may_exist() -> None:
    """Only where it is known how long a first output takes; and only for as long as a sign is on its way."""
    assert output_of(Usual(pace=4.0), Arrived(ahead=400)).units == {}
    assert output_of(Usual(pace=4.0, first_ms=100.0), Arrived()).units == {}
    heard_soon = output_of(Usual(pace=4.0, first_ms=100.0), Arrived(ahead=400))
    assert heard_soon.units == {"output_text": 9, "output_audio": 4}  # 200 ms: half of what 100 ms bring
    assert heard_soon.high["output_audio"] == (2.5 * 400 + 400) // 50
    assert output_of(Usual(), Arrived()).high["output_audio"] == 20
    assert output_of(Usual(), Arrived(whole=True)).high == {}


def test_what_is_usual_is_learned_from_the_figures() -> None:
    """Pace, framing, length, and what a provider keeps before it sends it."""
    answers = with_answer(Answers(), answer())
    answers = with_answer(answers, answer(arrived=Arrived(2_000, 6), span_ms=450.0, output_audio=48, cut=True))
    usual = usual_of(answers, 80.0)
    assert (usual.framing, usual.lengths_ms, usual.round_trip_ms, usual.first_ms) == (8, (4_000,), 80.0, 100.0)
    assert usual.pace == pytest.approx(4.0)
    assert usual.behind_ms == pytest.approx(100.0)  # 8 tokens are 400 ms of audio


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
