"""What a record costs by a card: exact, rounded once, and never a zero that nobody published."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from livekit_tokens.domain.pricing import MOST, NOTHING, Card, Price, needs_no_card
from livekit_tokens.domain.units import INPUT, LARGEST, OUTPUT, REGISTRY
from livekit_tokens.domain.usage import UsageRecord

REALTIME = {
    "input_text": Fraction(4_000),
    "cached_input_text": Fraction(400),
    "output_text": Fraction(16_000),
    "input_audio": Fraction(32_000),
    "cached_input_audio": Fraction(400),
    "output_audio": Fraction(64_000),
}


def record(units: dict, provenance: str = "reported", **more) -> UsageRecord:
    return UsageRecord("ab" * 16, 0, "agent", "openai", "m", "realtime_response", units, provenance, **more)


def card(rates: dict, **more) -> Card:
    return Card("openai", "m", {unit: Fraction(rate) for unit, rate in rates.items()}, "a page", **more)


def test_the_golden_turn_costs_what_was_billed() -> None:
    """139 tokens in, of which 96 audio, 64 of them cached; 61 out, of which 43 audio: $0.0042616."""
    units = {
        "input_text": 43,
        "input_audio": 32,
        "cached_input_audio": 64,
        "output_text": 18,
        "output_audio": 43,
    }
    price = card(REALTIME).price(units)
    assert price == Price(1_221_600, 3_040_000)
    assert price.input + price.output == 4_261_600


def test_a_hundred_thousand_records_are_priced_as_fractions_price_them() -> None:
    """Rates in all denominators that providers publish; one rounding of each total, half-even."""
    dice = random.Random(7)
    names = tuple(REGISTRY)
    for _ in range(1_000):
        rates = {name: Fraction(dice.randrange(10**9), dice.choice((1, 2, 7, 1_000, 60_000))) for name in names}
        priced = card(rates)
        for _ in range(100):
            units = {name: dice.choice((1, 3, 10, 10**6, LARGEST)) for name in dice.sample(names, dice.randint(1, 5))}
            exact = sum(rates[name] * quantity for name, quantity in units.items())
            exact_in = sum(rates[name] * quantity for name, quantity in units.items() if name not in OUTPUT)
            price = priced.price(units)
            if exact > MOST:
                assert price.input is None
            else:
                # Python rounds a Fraction half-even.
                assert (price.input, price.input + price.output) == (round(exact_in), round(exact))
                assert price.output >= 0


@pytest.mark.parametrize(("quantity", "rounded"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_half_a_nano_dollar_goes_to_the_even_neighbour(quantity: int, rounded: int) -> None:
    """0.5 is 0, 1.5 is 2, 2.5 is 2, 3.5 is 4."""
    assert card({"input_text": Fraction(1, 2)}).price({"input_text": quantity}) == Price(rounded, 0)


def test_input_and_output_add_up_to_the_rounded_total() -> None:
    """0.5 in and 0.5 out are 1 together, although each alone would be 0."""
    halves = card({"input_text": Fraction(1, 2), "output_text": Fraction(1, 2)})
    assert halves.price({"input_text": 1, "output_text": 1}) == Price(0, 1)


def test_a_billed_unit_without_a_price_makes_the_record_unpriced_and_is_named() -> None:
    """Not a price for the rest of it."""
    price = card(REALTIME).price({"input_text": 9, "input_image": 1})
    assert price == Price(None, None, "no price for input_image")


def test_cached_tokens_without_a_price_are_not_free() -> None:
    """Nor full price: who publishes no discount has not said what a cached token costs."""
    price = card({"input_text": 1, "output_text": 1}).price({"cached_input_text": 5})
    assert price.note == "no price for cached_input_text"


def test_a_refused_request_costs_nothing_and_an_unknown_one_is_unpriced() -> None:
    """Whatever the card."""
    assert needs_no_card(record({})) == NOTHING == Price(0, 0)
    assert needs_no_card(record({}, "unknown")) == Price(None, None, "its size is not known")


def test_reasoning_is_output_text_where_it_has_no_price_of_its_own() -> None:
    """Providers bill it so."""
    assert card({"output_text": 5}).price({"output_reasoning": 3}) == Price(0, 15)
    assert card({"output_text": 5, "output_reasoning": 7}).price({"output_reasoning": 3}) == Price(0, 21)


def test_what_was_written_to_a_cache_is_input_text_where_it_has_no_price_of_its_own() -> None:
    """Only some models bill it dearer."""
    units = {"input_text": 10, "cache_write_text": 100}
    assert card({"input_text": 4}).price(units) == Price(440, 0)
    assert card({"input_text": 4, "cache_write_text": 5}).price(units) == Price(540, 0)


def test_seconds_sessions_and_characters_are_input() -> None:
    """They have no other side."""
    rates = {"audio_ms": 2, "session_ms": 3, "characters": 5}
    assert card(rates).price({"audio_ms": 1, "session_ms": 1, "characters": 1}) == Price(10, 0)


@pytest.mark.parametrize(("measured", "billed"), [(499, 0), (500, 1), (12_345, 12), (12_500, 13), (27_000, 27)])
def test_whole_seconds_are_the_nearest(measured: int, billed: int) -> None:
    """whisper-1 is billed so; what the provider reported is whole already."""
    whisper = card({"audio_ms": 100}, whole_seconds=True)
    assert whisper.price({"audio_ms": measured}) == Price(billed * 100_000, 0)


def test_a_least_length_is_billed_for_shorter_audio() -> None:
    """Groq bills ten seconds at least."""
    priced = card({"audio_ms": 1}, least_ms=10_000)
    assert priced.price({"audio_ms": 1_200}) == Price(10_000, 0)
    assert priced.price({"audio_ms": 12_000}) == Price(12_000, 0)


def test_a_long_request_has_the_long_context_rates_for_all_its_tokens() -> None:
    """Cached tokens are input too; the threshold itself is not yet long."""
    long = {"input_text": Fraction(2), "cached_input_text": Fraction(2)}
    priced = card({"input_text": 1, "cached_input_text": 1}, long_context=((100, long),))
    assert priced.price({"input_text": 60, "cached_input_text": 40}) == Price(100, 0)
    assert priced.price({"input_text": 61, "cached_input_text": 40}) == Price(202, 0)


def test_a_card_holds_from_its_first_moment_up_to_its_last() -> None:
    """Half-open, like every period."""
    dated = card({}, since=10, until=20)
    assert [dated.holds_at(at) for at in (9, 10, 19, 20)] == [False, True, True, False]
    assert card({}).holds_at(0)


def test_a_price_that_no_ledger_can_hold_is_none() -> None:
    """Nor one that nobody would pay: a mistyped price, or bytes told as tokens, must not stop the drain."""
    assert card({"input_text": 10**12}).price({"input_text": 10**12}).input is None
    assert card({"input_text": 1}).price({"input_text": MOST}).input == MOST
    refused = card({"input_text": 1}).price({"input_text": MOST + 1})
    assert (refused.input, refused.note) == (None, "a price beyond $100,000 for one request")


def test_every_token_is_input_or_output() -> None:
    """A new unit must choose its side before it is priced."""
    assert {unit.name for unit in REGISTRY.values() if unit.measure == "token"} == {*INPUT, *OUTPUT}
