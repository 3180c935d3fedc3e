"""The price book: records priced by their own time, off the call's loop, without ever raising."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from livekit_tokens.core import faults
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices import book, library
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.prices.contracts import Contracts, Discount, OwnPrice
from tests.prices.makers import DAY, GOLDEN, used


def test_the_golden_turn_costs_exactly_what_was_billed() -> None:
    """$0.0042616."""
    price = PriceBook().price(used("openai", "gpt-realtime", GOLDEN))
    assert price == Price(1_221_600, 3_040_000)


def test_a_record_is_priced_by_its_own_time() -> None:
    """A microsecond before the change, and at it; also when the newer one was asked for first."""
    midnight = to_micros(datetime(2025, 6, 10, tzinfo=UTC))
    prices = PriceBook()
    costs = [prices.price(used("openai", "o3", {"input_text": 1}, at)).input for at in (midnight, midnight - 1, DAY)]
    assert costs == [2_000, 10_000, 2_000]


def test_an_unknown_model_is_unpriced_with_a_note() -> None:
    """Not 0."""
    price = PriceBook().price(used("openai", "gpt-of-tomorrow", {"input_text": 1}))
    assert price.input is price.output is None
    assert "gpt-of-tomorrow" in price.note


def test_what_costs_nothing_is_not_asked_for_a_card() -> None:
    """A refused request of a model that nobody knows."""
    assert PriceBook().price(used("nowhere", "nothing", {})) == Price(0, 0)


def served(tier: str, provider: str = "openai", model: str = "gpt-4o") -> UsageRecord:
    return replace(used(provider, model, {"input_text": 2}), metadata={"service_tier": tier})


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_what_was_served_by_another_tier_is_not_priced_as_the_standard_one(provider: str) -> None:
    """A priority request is dearer, a flex one cheaper: a price that nobody gave is not known."""
    book = PriceBook()
    assert book.price(served("priority", provider)) == Price(
        note=f"no price of 'gpt-4o' served as 'priority' by {provider} is known; "
        "give it in PRICES_FILE, with tier = 'priority'"
    )
    for standard in ("default", "auto", "standard", "on_demand"):
        assert book.price(served(standard, provider)).input == 5_000


def test_a_tier_that_costs_what_the_standard_one_does_is_priced_so() -> None:
    """Groq's flex; its enterprises' tier has a price of their own."""
    book, model = PriceBook(), "llama-3.3-70b-versatile"
    standard = book.price(used("api.groq.com", model, {"input_text": 2}))
    assert standard.total
    assert book.price(served("flex", "api.groq.com", model)) == standard
    assert book.price(served("performance", "api.groq.com", model)).total is None


def test_a_tiers_own_price_is_its_own_alone() -> None:
    """Its price, or what it is off the published ones, by its name; the standard tier's stay what they are."""
    own = OwnPrice("*", "gpt-4o", "f", None, None, "input_text", Fraction(7), tier="priority")
    off = Discount("openai", "*", "f", None, None, Fraction(50), tier="flex")
    book = PriceBook(contracts=Contracts(prices=(own,), discounts=(off,)))
    assert [book.price(served(tier)).input for tier in ("priority", "flex", "default")] == [14, 2_500, 5_000]
    assert book.price(served("priority", model="gpt-4o-mini")).total is None


def test_a_hosted_tools_calls_are_billed_beside_the_tokens() -> None:
    """Each at a price of the user's; without one the record has none, and says why."""
    searched = replace(used("openai", "gpt-4o", {"input_text": 2}), metadata={"web_search_calls": 3, "attempt": 1})
    assert PriceBook().price(searched) == Price(note="no price for web_search_calls")
    own = OwnPrice("openai", "*", "f", None, None, "web_search_calls", Fraction(10_000_000))
    book = PriceBook(contracts=Contracts(prices=(own,)))
    assert book.price(searched) == Price(30_005_000, 0)
    assert book.price(replace(searched, units={})) == Price(30_000_000, 0)


def test_informational_units_never_matter() -> None:
    """Whisper's tokens have no price, and its seconds are priced."""
    told = replace(used("openai", "whisper-1", {"audio_ms": 27_000}), informational={"input_audio": 270})
    assert PriceBook().price(told) == Price(2_700_000, 0)


def test_a_call_is_told_at_once_or_not_at_all() -> None:
    """Asking on the call's loop imports nothing; once the drain has priced the model, the card is at hand."""
    code = (
        "import sys\n"
        "from livekit_tokens.prices.book import PriceBook\n"
        "from livekit_tokens.domain.usage import UsageRecord\n"
        "record = UsageRecord('ab' * 16, 0, 'agent', 'openai', 'gpt-4o', 'chat', {'input_text': 2})\n"
        "book = PriceBook()\n"
        "print(book.price_if_ready(record), any('prices.data' in name for name in sys.modules))\n"
        "print(book.price(record).input, book.price_if_ready(record).input)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert out.splitlines() == ["None False", "5000 5000"]


def test_where_the_libraries_are_loaded_a_call_is_told_at_once() -> None:
    """As in a job process, whose worker has preloaded them."""
    library.load()
    assert PriceBook().price_if_ready(used("openai", "gpt-4o", {"input_text": 2})) == Price(5_000, 0)


def test_a_fault_of_ours_makes_a_record_unpriced_and_is_counted(monkeypatch) -> None:
    """The drain goes on."""
    monkeypatch.setattr(book.published, "card_of", lambda *_: 1 / 0)
    before = sum(faults.counts().values())
    price = PriceBook().price(used("openai", "gpt-4o", {"input_text": 2}))
    assert (price.input, sum(faults.counts().values())) == (None, before + 1)


def test_made_up_names_do_not_fill_the_memory(monkeypatch) -> None:
    """The cards are looked up anew."""
    monkeypatch.setattr(book, "MOST_MODELS", 3)
    prices = PriceBook()
    for number in range(10):
        prices.price(used("openai", f"made-up-{number}", {"input_text": 1}))
    assert len(prices._shelf._quotes) <= 3
    assert prices.price(used("openai", "gpt-4o", {"input_text": 2})) == Price(5_000, 0)


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_a_price_of_the_hour_is_looked_up_for_each_period(hour: int) -> None:
    """By day and by night, from the same book as from a new one."""
    prices = PriceBook()
    for day in (1, 2, 3):
        for other in (hour, (hour + 5) % 24, (hour + 13) % 24):
            record = used(
                "deepseek", "deepseek-chat", {"output_text": 1}, to_micros(datetime(2025, 7, day, other, tzinfo=UTC))
            )
            assert prices.price(record) == PriceBook().price(record)
