"""Published prices against the list of facts, and which names have which card."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from livekit_tokens.domain.times import to_micros
from livekit_tokens.prices import library, published
from livekit_tokens.prices.published import Unpublished, card_of
from tests.prices.makers import DAY

TEXT = ("input_text", "cached_input_text", "output_text")
AUDIO = ("input_audio", "cached_input_audio", "output_audio")
IMAGE = ("input_image", "cached_input_image")

PER_MILLION = [
    (("gpt-4o-realtime-preview", "gpt-4o-realtime-preview-2024-12-17"), "5 2.5 20", "40 2.5 80", ""),
    (("gpt-4o-realtime-preview-2024-10-01",), "5 2.5 20", "100 20 200", ""),
    (("gpt-4o-mini-realtime-preview", "gpt-4o-mini-realtime-preview-2024-12-17"), ".6 .3 2.4", "10 .3 20", ""),
    (("gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2025-08-28"), "4 .4 16", "32 .4 64", "5 .5"),
    (("gpt-realtime-2", "gpt-realtime-2.1"), "4 .4 24", "32 .4 64", ""),
    (("gpt-realtime-mini", "gpt-realtime-2.1-mini", "gpt-realtime-mini-2025-10-06"), ".6 .06 2.4", "10 .3 20", ""),
    (("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"), "2.5 1.25 10", "", ""),
    (("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), ".15 .075 .6", "", ""),
    (("gpt-4o-mini-tts",), ".6", "- - 12", ""),
    (("gpt-4o-transcribe", "gpt-4o-transcribe-diarize"), "2.5 - 10", "2.5", ""),
    (("gpt-4o-audio-preview", "gpt-4o-audio-preview-2025-06-03"), "2.5 - 10", "40 - 80", ""),
    (("gpt-4o-audio-preview-2024-10-01",), "2.5 - 10", "100 - 200", ""),
    (("text-embedding-3-small",), ".02", "", ""),
    (("text-embedding-3-large",), ".13", "", ""),
    (("text-embedding-ada-002",), ".1", "", ""),
]
PER_MINUTE = [
    ("whisper-1", "audio_ms", ".006"),
    ("gpt-realtime-whisper", "audio_ms", ".017"),
    ("gpt-live-transcribe", "audio_ms", ".017"),
    ("gpt-transcribe", "audio_ms", ".0045"),
    ("gpt-live-1", "session_ms", ".05"),
]


def millions(rates: dict) -> dict:
    return {unit: rate / 1000 for unit, rate in rates.items()}


@pytest.mark.parametrize(
    ("name", "text", "audio", "image"), [(name, *rest) for names, *rest in PER_MILLION for name in names]
)
def test_prices_per_million_are_the_published_ones(name: str, text: str, audio: str, image: str) -> None:
    """Each unit of the list, and none more but for images."""
    published = {
        unit: Fraction(price)
        for units, prices in ((TEXT, text), (AUDIO, audio), (IMAGE, image))
        for unit, price in zip(units, prices.split(), strict=False)
        if price != "-"
    }
    card = millions(card_of("openai", name, DAY).rates)
    assert {unit: rate for unit, rate in card.items() if unit in published or unit not in IMAGE} == published


@pytest.mark.parametrize(("name", "unit", "dollars"), PER_MINUTE)
def test_prices_per_minute_are_the_published_ones(name: str, unit: str, dollars: str) -> None:
    """By milliseconds of audio, or of the session."""
    assert card_of("openai", name, DAY).rates == {unit: Fraction(dollars) * 10**9 / 60_000}


@pytest.mark.parametrize(("name", "dollars"), [("tts-1", 15), ("tts-1-hd", 30)])
def test_prices_per_character_are_the_published_ones(name: str, dollars: int) -> None:
    """By the million."""
    assert millions(card_of("openai", name, DAY).rates) == {"characters": dollars}


def test_whisper_is_billed_by_whole_seconds() -> None:
    """And nothing else is."""
    assert card_of("openai", "whisper-1", DAY).whole_seconds
    assert not card_of("openai", "gpt-transcribe", DAY).whole_seconds


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-of-tomorrow"),
        ("openai", "gpt-4o-realtime-preview-special"),
        ("openai", "gpt-4.1-2031-01-01"),
        ("openai", "gpt-realtime-3"),
        ("openai", "ft:gpt-4.1-2025-04-14:org::id"),
        ("openai", "ft:gpt-4-0613:org::id"),
        ("openai", ""),
        ("google", "gemini-2.5-flash-of-tomorrow"),
        ("gateway.example", "gpt-4o"),
        ("notopenai.com", "gpt-4o"),
        ("unknown", "gpt-4o"),
        ("azure", "my-deployment"),
        ("livekit", "openai/gpt-of-tomorrow"),
        ("deepgram", "nova-9"),
        ("deepgram", "nova-2-andromeda-en"),
        ("deepgram", "aura-3-zeus-en"),
        ("deepgram", "aura-2-turbo"),
        ("cartesia", "sonic-turbo"),
    ],
)
def test_what_is_not_known_by_its_own_name_has_no_card(provider: str, model: str) -> None:
    """Never 0, never another model's price; the reason names it."""
    with pytest.raises(Unpublished, match=r"is known|are known"):
        card_of(provider, model, DAY)


@pytest.mark.parametrize(
    ("provider", "model", "unit", "millionth"),
    [
        ("openai", "GPT-4o", "input_text", "2.5"),
        ("openai", "GPT-4o-Transcribe", "input_audio", "2.5"),
        ("azure", "GPT-4o-Realtime-Preview-2024-10-01", "output_audio", "200"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org::id", "input_text", ".3"),
        ("openai", "gpt-5.2-20251211", "input_text", "1.75"),
        ("openai", "gpt-5", "output_reasoning", "10"),
        ("api.groq.com", "llama-3.1-8b-instant", "input_text", ".05"),
        ("openrouter.ai", "openai/gpt-4o-mini", "input_text", ".15"),
        ("gemini", "gemini-2.5-flash", "input_audio", "1"),
        ("vertex ai", "gemini-2.5-flash", "input_image", ".3"),
        ("azure", "gpt-4o-mini", "output_text", ".6"),
        ("azure", "gpt-realtime", "output_audio", "64"),
        ("azure", "gpt-4o-mini-tts", "output_audio", "12"),
        ("gateway.azure-api.net", "gpt-4o-mini-tts", "output_audio", "12"),
        ("api.openai.com", "gpt-4o-mini-tts", "output_audio", "12"),
        ("cartesia", "sonic-3", "characters", "50"),
        ("elevenlabs", "eleven_turbo_v2_5", "characters", "50"),
        ("livekit", "openai/gpt-4.1-mini", "cached_input_text", ".1"),
        ("livekit", "cartesia/sonic-3:a-voice", "characters", "50"),
        ("Deepgram", "aura-2-andromeda-en", "characters", "30"),
        ("Deepgram", "aura-asteria-en", "characters", "15"),
        ("telnyx", "Telnyx.NaturalHD.astra", "characters", "48"),
        ("google_genai", "gemini-2.5-flash", "input_text", ".3"),
        ("google_vertexai", "gemini-2.5-flash", "input_text", ".3"),
        ("amazon_bedrock", "amazon.nova-lite-v1:0", "input_text", ".06"),
        ("AWS Bedrock", "amazon.nova-lite-v1:0", "input_text", ".06"),
        ("mistralai", "mistral-large-latest", "input_text", "2"),
        ("MistralAI", "mistral-large-latest", "input_text", "2"),
    ],
)
def test_aliases_dates_hosts_and_vendors_are_resolved(provider: str, model: str, unit: str, millionth: str) -> None:
    """As capture writes providers: a vendor's name, or a host that the library knows."""
    card = card_of(provider, model, DAY)
    rates = {"output_reasoning": card.rates.get("output_text"), **card.rates}
    assert rates[unit] == Fraction(millionth) * 1000


@pytest.mark.parametrize(
    ("provider", "model", "a_minute"),
    [
        ("deepgram", "nova-3", ".0048"),
        ("deepgram", "flux-general-en", ".0065"),
        ("livekit", "deepgram/nova-3:en", ".0048"),
        ("livekit", "deepgram/nova-3:multi", ".0058"),
        ("api.deepgram.com", "nova-2", None),
    ],
)
def test_seconds_that_the_voice_library_rounds_are_the_vendors_own_price(
    provider: str, model: str, a_minute: str | None
) -> None:
    """$0.0065 a minute is kept there as 0.108333 for 1,000 s; nova-2 is sold at $0.35 an hour."""
    published = Fraction(a_minute) / 60 if a_minute else Fraction("0.35") / 3600
    assert card_of(provider, model, DAY).rates["audio_ms"] == published * 10**6


def test_azure_says_what_kind_of_deployment_it_was_priced_as() -> None:
    """Nothing in an answer tells; the price is marked."""
    assert "Global" in card_of("azure", "gpt-4o", DAY).note


def test_a_price_change_at_midnight_holds_from_midnight_on() -> None:
    """o3 became cheaper on 2025-06-10, UTC; each card knows how long it held."""
    midnight = to_micros(datetime(2025, 6, 10, tzinfo=UTC))
    before, after = (card_of("openai", "o3", at) for at in (midnight - 1, midnight))
    assert (before.rates["output_text"], after.rates["output_text"]) == (40_000, 8_000)
    assert (before.until, after.since) == (midnight, midnight)


def test_an_hourly_price_holds_for_its_hours() -> None:
    """DeepSeek was cheaper by night (16:30 to 0:30 UTC)."""
    day, night = (to_micros(datetime(2025, 7, 1, hour, tzinfo=UTC)) for hour in (12, 20))
    by_day, by_night = (card_of("deepseek", "deepseek-chat", at) for at in (day, night))
    assert by_night.rates["output_text"] < by_day.rates["output_text"]
    assert by_day.until == by_night.since == to_micros(datetime(2025, 7, 1, 16, 30, tzinfo=UTC))
    assert by_night.until == to_micros(datetime(2025, 7, 2, 0, 30, tzinfo=UTC))


def test_long_requests_have_their_tier() -> None:
    """gpt-5.4 is dearer beyond 272,000 tokens."""
    ((above, rates),) = card_of("openai", "gpt-5.4", DAY).long_context
    assert (above, rates["input_text"], rates["output_text"]) == (272_000, 5_000, 22_500)


def test_groq_bills_ten_seconds_at_least() -> None:
    """As the library calculates it, in code rather than in its list."""
    assert card_of("api.groq.com", "whisper-large-v3-turbo", DAY).least_ms == 10_000


def test_a_tiered_model_that_livekit_is_said_to_sell_at_one_price_has_none() -> None:
    """The voice library keeps the dearest of its tiers: gpt-5.5 at 10 instead of 5."""
    with pytest.raises(Unpublished):
        card_of("livekit", "openai/gpt-5.5", DAY)


def test_a_price_by_the_request_is_not_left_out_of_a_sum() -> None:
    """Perplexity bills each request besides its tokens, for which there is no unit."""
    by_request = [
        (provider.id, model.id)
        for provider in library.providers("genai_prices").values()
        for model in provider.models
        if getattr(model.get_prices(datetime(2026, 11, 22, tzinfo=UTC)), "requests_kcount", None)
    ]
    assert by_request
    for provider, model in by_request:
        with pytest.raises(Unpublished):
            card_of(provider, model, DAY)


@pytest.fixture
def _without_voices(monkeypatch) -> Iterator[None]:
    """As if the extra were not installed."""
    real = library.providers
    monkeypatch.setattr(library, "providers", lambda name: {} if name == "voice_prices" else real(name))
    for remembered in (library._found, library.provider_at):
        remembered.cache_clear()
    yield
    for remembered in (library._found, library.provider_at):
        remembered.cache_clear()


@pytest.mark.usefixtures("_without_voices")
def test_without_the_voice_library_its_providers_are_unpriced_and_the_extra_is_named() -> None:
    """It is optional; OpenAI's prices do not need it."""
    for provider, model in (("deepgram", "nova-3"), ("livekit", "deepgram/nova-3")):
        with pytest.raises(Unpublished, match="extra `voices`"):
            card_of(provider, model, DAY)
    assert card_of("openai", "gpt-4o", DAY)


def test_only_the_optional_library_may_be_missing(monkeypatch) -> None:
    """Without the other one every price would silently be unknown."""

    def missing(name: str) -> object:
        raise ModuleNotFoundError(name=name.partition(".")[0])

    monkeypatch.setattr(library, "import_module", missing)
    assert library.providers.__wrapped__("voice_prices") == {}
    with pytest.raises(ModuleNotFoundError):
        library.providers.__wrapped__("genai_prices")


def test_every_published_card_is_found_under_its_own_name() -> None:
    """Ours first; but for fine-tunes, whose list has a family's name."""
    cards = [card for card in published.all_cards(DAY) if not card.model.startswith("ft:")]
    assert len({card.model for card in cards if card.provider == "openai"}) > 60
    for card in cards:
        if card.provider in ("openai", "azure", "deepgram", "cartesia", "elevenlabs", "groq", "google", "anthropic"):
            assert card_of(card.provider, card.model, DAY).rates == card.rates, card.model


def test_what_is_written_to_a_cache_has_a_price_from_gpt_5_6_on() -> None:
    """1.25 times the input's: OpenAI's price page."""
    rates = card_of("openai", "gpt-5.6-sol", DAY).rates
    assert rates["cache_write_text"] == rates["input_text"] * Fraction(5, 4)
    assert "cache_write_text" not in card_of("openai", "gpt-4.1", DAY).rates


@pytest.mark.parametrize(
    ("model", "service"),
    [("whisper-large-v3", "transcriber"), ("tts-1", "tts"), ("grok-voice-latest", None), ("gpt-4o", None)],
)
def test_what_a_model_is_sold_as_is_read_from_what_its_price_is_for(model: str, service: str | None) -> None:
    """By the minute of what it hears, by the character that it says; one that converses is billed by more than that."""
    assert published.sold_as(model, DAY) == service
