"""What a user pays other than the published prices."""

from __future__ import annotations

from fractions import Fraction

import pytest

from livekit_tokens.domain.pricing import AGENT_MINUTES, SIP, Card, Price
from livekit_tokens.prices.contracts import Asked, Contracts, Deployment, Discount, Fallback, OwnPrice

CARDS = {
    ("openai", "gpt-4o"): Card(
        "openai",
        "gpt-4o",
        {"input_text": Fraction(2500), "output_text": Fraction(10_000)},
        "a page",
        long_context=((100, {"input_text": Fraction(5000), "output_text": Fraction(20_000)}),),
    ),
    ("azure", "gpt-4o"): Card("azure", "gpt-4o", {"input_text": Fraction(2500)}, "a page", note="as Global"),
}


def published(provider: str, model: str, at: int) -> Card:
    if (card := CARDS.get((provider, model))) is None:
        raise LookupError(f"no {model}")
    return card


def asked(provider: str, model: str, at: int = 0, vendor: str = "") -> Asked:
    return Asked(provider, vendor or provider, model, at)


def own(unit: str = "input_text", rate: int = 7, model: str = "gpt-4o", since=None, until=None, where="f") -> OwnPrice:
    return OwnPrice("openai", model, where, since, until, unit, Fraction(rate))


def test_an_own_price_takes_the_place_of_the_published_one() -> None:
    """Of its unit, at any length of a request; the other units stay."""
    card = Contracts(prices=(own(where="prices.toml, line 3"),)).card_of(asked("openai", "gpt-4o"), published)
    assert card.rates == {"input_text": 7, "output_text": 10_000}
    assert card.long_context[0][1] == {"input_text": 7, "output_text": 20_000}
    assert card.source == "a page; input_text: prices.toml, line 3"


def test_of_several_prices_the_last_line_holds() -> None:
    """Like in a file of settings."""
    contracts = Contracts(prices=(own(rate=7), own(model="gpt-*", rate=8)))
    assert contracts.card_of(asked("openai", "gpt-4o"), published).rates["input_text"] == 8


def test_a_pattern_names_whole_names_in_any_case() -> None:
    """`gpt-4o` is not `gpt-4o-mini`; a dot is a dot."""
    term = own(model="gpt-4.*o")
    assert term.names(asked("OpenAI", "GPT-4.1-o"))
    assert not term.names(asked("openai", "gpt-421-o"))
    assert not own().names(asked("openai", "gpt-4o-mini"))


def test_a_provider_may_be_named_by_its_host_or_as_price_lists_do() -> None:
    """`api.groq.com` is groq."""
    for name in ("api.groq.com", "*.groq.com", "groq"):
        term = OwnPrice(name, "*", "f", None, None, "input_text", Fraction(1))
        assert term.names(asked("api.groq.com", "m", vendor="groq")), name
    assert not term.names(asked("groq.example", "m"))


def test_what_is_not_a_model_is_priced_by_its_own_price_alone() -> None:
    """LiveKit's agent minutes."""
    minutes = OwnPrice("livekit", "agent-minutes", "f", None, None, "session_ms", Fraction(500, 3))
    card = Contracts(prices=(minutes,)).card_of(asked("livekit", "agent-minutes"), published)
    assert (card.rates, card.source) == ({"session_ms": Fraction(500, 3)}, "session_ms: f")


def test_a_discount_is_off_the_published_prices_only() -> None:
    """What was agreed on stays what was agreed on."""
    contracts = Contracts(prices=(own(),), discounts=(Discount("*", "*", "f", None, None, Fraction(20)),))
    card = contracts.card_of(asked("openai", "gpt-4o"), published)
    assert card.rates == {"input_text": 7, "output_text": 8_000}
    assert card.long_context[0][1]["output_text"] == 16_000


def test_an_agreement_holds_from_its_first_moment_up_to_its_last() -> None:
    """Half-open; between two, the published price."""
    contracts = Contracts(prices=(own(rate=1, until=10), own(rate=2, since=20)))
    rates = [contracts.card_of(asked("openai", "gpt-4o", at), published).rates["input_text"] for at in (9, 10, 19, 20)]
    assert rates == [1, 2500, 2500, 2]
    assert [contracts.span(asked("openai", "gpt-4o", at)) for at in (9, 10, 20)] == [(None, 10), (10, 20), (20, None)]
    assert contracts.span(asked("openai", "other", 9)) == (None, None)


def test_a_fallback_prices_what_nobody_has_priced_and_says_so() -> None:
    """Opt-in; the note is on the price."""
    contracts = Contracts(fallbacks=(Fallback("gateway", "*", "f", None, None, "openai", "gpt-4o"),))
    card = contracts.card_of(asked("gateway", "my-model"), published)
    assert (card.rates["input_text"], card.note) == (2500, "fallback: priced as gpt-4o")


def test_a_fallback_does_not_touch_what_has_a_price() -> None:
    """Of its own, or published."""
    fallback = Fallback("*", "*", "f", None, None, "openai", "gpt-4o")
    contracts = Contracts(prices=(own(model="mine"),), fallbacks=(fallback,))
    assert contracts.card_of(asked("openai", "mine"), published).rates == {"input_text": 7}
    assert contracts.card_of(asked("azure", "gpt-4o"), published).note == "as Global"


def test_a_price_of_a_hosted_tools_calls_prices_no_model() -> None:
    """So a model that has nothing else falls back, and has that price as well."""
    fallback = Fallback("*", "*", "f", None, None, "openai", "gpt-4o")
    contracts = Contracts(prices=(own("web_search_calls", model="*"),), fallbacks=(fallback,))
    card = contracts.card_of(asked("openai", "new"), published)
    assert (card.rates["input_text"], card.rates["web_search_calls"]) == (2500, 7)


def test_a_fallback_to_what_nobody_knows_is_no_price() -> None:
    """The reason names the fallback."""
    contracts = Contracts(fallbacks=(Fallback("*", "*", "f", None, None, "openai", "gone"),))
    with pytest.raises(LookupError, match="gone"):
        contracts.card_of(asked("openai", "mine"), published)


@pytest.mark.parametrize(("surcharge", "rate"), [("0", "2500"), ("10", "2750"), ("13.5", "2837.5")])
def test_an_azure_deployment_is_its_model_at_its_kinds_price(surcharge: str, rate: str) -> None:
    """Global, Data Zone, a region's; no doubt is left to note."""
    deployment = Deployment("azure", "prod-*", "f", None, None, "gpt-4o", Fraction(surcharge))
    card = Contracts(deployments=(deployment,)).card_of(asked("azure", "prod-1"), published)
    assert (card.rates["input_text"], card.note) == (Fraction(rate), None)


def test_a_discounted_price_is_still_rounded_once() -> None:
    """A third off 2,500 nano-dollars, seven times."""
    discount = Discount("*", "*", "f", None, None, Fraction(100, 3))
    card = Contracts(discounts=(discount,)).card_of(asked("openai", "gpt-4o"), published)
    assert card.price({"input_text": 7}) == Price(round(Fraction(7 * 2500 * 2, 3)), 0)


def test_a_calls_minutes_are_charged_where_and_when_a_price_for_them_holds() -> None:
    """LiveKit's agent minutes and SIP; a price of another unit or of a model by the second is none of them."""
    by_the_minute = OwnPrice("livekit", "agent-*", "f", 10, 20, "session_ms", Fraction(1))
    others = (
        OwnPrice("livekit", "sip", "f", None, None, "characters", Fraction(1)),
        OwnPrice("openai", "gpt-live-1", "f", None, None, "session_ms", Fraction(1)),
    )
    contracts = Contracts(prices=(by_the_minute, *others))
    assert [contracts.session_charges(at) for at in (9, 10, 19, 20)] == [(), (AGENT_MINUTES,), (AGENT_MINUTES,), ()]
    both = Contracts(prices=(OwnPrice("livekit", "*", "f", None, None, "session_ms", Fraction(1)),))
    assert both.session_charges(0) == (AGENT_MINUTES, SIP)
