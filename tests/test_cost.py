"""`cost`: what a request costs, without recording it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from livekit_tokens import cost, priced
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from tests.golden import GOLDEN


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """No settings of this machine's; each test asks a book of its own."""
    for name in os.environ:
        if name.startswith("LIVEKIT_TOKENS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(priced.runtime, "_runtime", None)
    priced._asked_book.cache_clear()
    yield
    priced._asked_book.cache_clear()


def test_the_golden_turn_costs_exactly_what_was_billed() -> None:
    """As the provider's usage, and as disjoint units."""
    assert cost("gpt-realtime", usage=GOLDEN) == Decimal("0.0042616")
    units = {"input_text": 43, "input_audio": 32, "cached_input_audio": 64, "output_text": 18, "output_audio": 43}
    assert cost("gpt-realtime", units=units) == Decimal("0.0042616")


@pytest.mark.parametrize(
    ("model", "given", "dollars"),
    [
        ("gpt-4o", {"input_tokens": 1000, "cached_tokens": 400, "output_tokens": 10}, "0.0021"),
        ("gpt-4o", {"usage": {"prompt_tokens": 1000, "completion_tokens": 10}}, "0.0026"),
        ("gpt-4o", {"usage": {"input_tokens": 1000, "output_tokens": 10}}, "0.0026"),
        ("gpt-4o-transcribe", {"usage": {"type": "tokens", "input_tokens": 100, "output_tokens": 10}}, "0.00035"),
        ("whisper-1", {"usage": {"type": "duration", "seconds": 27}}, "0.0027"),
        ("whisper-1", {"audio_seconds": 26.6}, "0.0027"),
        ("gpt-transcribe", {"audio_seconds": 60, "input_tokens": 600, "output_tokens": 150}, "0.0045"),
        ("tts-1", {"characters": 1000}, "0.015"),
        ("gpt-4o-mini-tts", {"input_tokens": 1000, "output_tokens": 1000}, "0.0126"),
        ("text-embedding-3-large", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, "0.00000104"),
        ("gpt-live-1", {"units": {"session_ms": 90_000}}, "0.075"),
        ("gpt-4o", {"units": {}}, "0"),
    ],
)
def test_whatever_a_provider_tells_is_priced(model: str, given: dict, dollars: str) -> None:
    """Realtime, chat, responses, transcription, speech, embeddings, sessions."""
    assert cost(model, **given) == Decimal(dollars)


def test_what_has_no_known_price_is_none() -> None:
    """An unknown model, and an unknown unit of a known one."""
    assert cost("gpt-of-tomorrow", input_tokens=1) is None
    assert cost("gpt-4o", units={"input_audio": 1}) is None


def test_what_is_billed_by_a_duration_that_is_not_told_has_no_known_cost() -> None:
    """Its tokens only inform; they are not free."""
    assert cost("whisper-1", input_tokens=600) is None


def test_what_nothing_is_said_of_has_no_price() -> None:
    """A stream's answer without usage: `usage=None` is no figure, and its cost is not 0."""
    assert cost("gpt-4o", usage=None) is None


def test_a_provider_is_named_or_given_by_its_host() -> None:
    """As usage records have it."""
    assert cost("nova-3", audio_seconds=60, provider="Deepgram") == Decimal("0.0048")
    assert cost("gpt-4o", input_tokens=2, provider="eu.api.openai.com") == Decimal("0.000005")
    assert cost("gpt-4o", input_tokens=2, provider="gateway.example") is None


def test_the_price_is_that_of_the_day() -> None:
    """o3 became cheaper on 2025-06-10; a time without a zone would be a guess."""
    day = datetime(2025, 6, 10, tzinfo=UTC)
    before = datetime(2025, 6, 9, 23, 59, 59, 999_999, tzinfo=UTC)
    assert [cost("o3", output_tokens=1000, at=at) for at in (before, day)] == [Decimal("0.04"), Decimal("0.008")]
    with pytest.raises(ValueError, match="no time zone"):
        cost("o3", output_tokens=1, at=datetime(2025, 6, 10))  # noqa: DTZ001


def test_the_users_own_prices_hold(monkeypatch, tmp_path) -> None:
    """From PRICES_FILE."""
    (tmp_path / "prices.toml").write_text(
        "[[price]]\nprovider = 'openai'\nmodel = 'gpt-4o'\nunit = 'input_text'\nprice = 1\nper = '1M'\n"
    )
    monkeypatch.setenv("LIVEKIT_TOKENS_PRICES_FILE", "prices.toml")
    assert cost("gpt-4o", input_tokens=1000) == Decimal("0.001")


def test_two_ways_and_impossible_figures_are_refused() -> None:
    """In one line."""
    with pytest.raises(BadSetting, match="together with"):
        cost("gpt-4o", units={"input_text": 1}, input_tokens=1)
    with pytest.raises(ImpossibleUsage, match="cached_tokens 2 of 1"):
        cost("gpt-4o", input_tokens=1, cached_tokens=2)
