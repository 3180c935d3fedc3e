"""An answer that is cut at any moment: the mean of what is estimated is what its provider bills.

The provider makes a piece of 200 ms every 40 ms and keeps it for a while, sends so many at a time, and stops when it
hears that nobody listens. The conversation has taught what its answers are like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from livekit_tokens.core.estimates.output import (
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

PIECE_MS, STEP_MS = 200, 40.0
FIRST_MS = 130.0
PIECES = 60
"""From the announcement to the first piece; pieces of a whole answer. No cut comes near its end here."""
NEARLY = 1.25
"""Tokens of audio, of up to 40 that are ahead: what was believed before any answer told still weighs a ninth."""


@dataclass(frozen=True)
class Provider:
    """Sends `burst` pieces at a time, each of them kept for `kept_ms`; a sign takes `round_trip_ms` there and back."""

    burst: int
    kept_ms: float
    round_trip_ms: float

    def made(self, age_ms: float) -> int:
        """Pieces that exist so long after the announcement."""
        return 0 if age_ms < FIRST_MS else min(PIECES, 1 + int((age_ms - FIRST_MS) // STEP_MS))

    def sendings(self, until_ms: float) -> Iterator[float]:
        """When something was sent."""
        at = FIRST_MS + (self.burst - 1) * STEP_MS + self.kept_ms
        for _ in range(PIECES // self.burst):
            if at <= until_ms:
                yield at
            at += self.burst * STEP_MS

    def answer(self, age_ms: float) -> Answer:
        """Stopped at that age, after which its figures come."""
        sent = list(self.sendings(age_ms))
        made = self.made(age_ms)
        return Answer(
            Arrived(len(sent) * self.burst * PIECE_MS, 1, whole=made == PIECES),
            first_piece_ms=self.burst * PIECE_MS if sent else 0,
            first_ms=sent[0] if sent else None,
            span_ms=sent[-1] - sent[0] if sent else 0.0,
            output_text=9,
            output_audio=made * PIECE_MS // 50,
            cut=made < PIECES,
        )

    def usual(self) -> Usual:
        answers = Answers()
        for n in range(8):
            answers = with_answer(answers, self.answer(900.0 + n * self.burst * STEP_MS / 8))
        return replace(usual_of(with_answer(answers, self.answer(10_000.0)), self.round_trip_ms), lengths_ms=())


PROVIDERS = [Provider(burst, kept, way) for burst in (1, 2, 4) for kept in (5.0, 80.0) for way in (20.0, 160.0)]


def said(usual: Usual, arrived: Arrived) -> int:
    return output_of(usual, arrived).units.get("output_audio", 0)


def mean_error(estimates: list[tuple[int, int]]) -> float:
    """In tokens of audio: estimated, less what was made (pieces)."""
    return sum(estimate - made * PIECE_MS // 50 for estimate, made in estimates) / len(estimates)


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_where_the_connection_breaks_before_anything_is_heard(provider: Provider) -> None:
    """At any moment between the announcement and the first output, as the client sees them."""
    usual = provider.usual()
    first = next(provider.sendings(10_000.0))
    ages = [provider.round_trip_ms + first * n / 500 for n in range(500)]  # by the provider's clock, when it notices
    estimate = said(usual, Arrived(ahead=generated_unheard(usual)))
    assert mean_error([(estimate, provider.made(age)) for age in ages]) == pytest.approx(0.0, abs=NEARLY)


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_where_the_connection_breaks_while_an_answer_comes(provider: Provider) -> None:
    """At any moment of a second in its middle: what is on its way is lost; the provider goes on until it notices."""
    usual = provider.usual()
    estimates = []
    for n in range(500):
        age = 700.0 + provider.round_trip_ms + n * 1.92  # whole cycles of every burst
        seen = provider.answer(age - provider.round_trip_ms)
        audio_ms = seen.arrived.audio_ms
        ahead = generated_ahead(usual, audio_ms, seen.first_piece_ms, seen.span_ms, usual.lag_ms)
        estimates.append((said(usual, Arrived(audio_ms, 1, ahead)), provider.made(age)))
    assert mean_error(estimates) == pytest.approx(0.0, abs=NEARLY)


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_where_the_client_stops_it_before_anything_is_heard(provider: Provider) -> None:
    """Its age tells what exists, moment by moment and not only in the mean; all that was sent arrives."""
    usual = provider.usual()
    first = next(provider.sendings(10_000.0))
    for age in (first * n / 50 for n in range(50)):
        estimate = said(usual, Arrived(ahead=generated_by(usual, age)))
        assert estimate - provider.made(age) * PIECE_MS // 50 == pytest.approx(0.0, abs=4.5), "a piece is 4 tokens"
