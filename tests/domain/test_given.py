"""What a caller gives by hand, as disjoint units."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.completion_usage import PromptTokensDetails

from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.given import Figures, figures_of
from livekit_tokens.domain.units import LARGEST, Units
from tests.golden import GOLDEN


def units_of(model: str, **given: Any) -> Units:
    return figures_of(model, **given).units


def test_input_tokens_include_cached_tokens() -> None:
    """As providers say it; the units are disjoint."""
    units = units_of("gpt-4o", input_tokens=100, cached_tokens=30, output_tokens=7)
    assert units == {"input_text": 70, "cached_input_text": 30, "output_text": 7}


def test_a_realtime_usage_is_split_by_modality() -> None:
    """A `response.done` usage, as a dict."""
    assert units_of("gpt-realtime", usage=GOLDEN) == {
        "input_text": 43,
        "input_audio": 32,
        "cached_input_audio": 64,
        "output_text": 18,
        "output_audio": 43,
    }


def test_a_client_librarys_usage_object_is_read() -> None:
    """OpenAI's own class, whose absent details are None."""
    usage = CompletionUsage(
        prompt_tokens=20,
        completion_tokens=5,
        total_tokens=25,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=8),
    )
    assert units_of("gpt-4o", usage=usage) == {"input_text": 12, "cached_input_text": 8, "output_text": 5}


def test_usage_of_plain_attributes_and_of_dataclasses_is_read() -> None:
    """Gateways have classes of their own."""

    @dataclass
    class Usage:
        input_tokens: int
        output_tokens: int
        input_tokens_details: dict[str, int | None]

    expected = {"input_text": 12, "cached_input_text": 8, "output_text": 5}
    assert units_of("gpt-4o", usage=Usage(20, 5, {"cached_tokens": 8, "audio_tokens": None})) == expected
    details = SimpleNamespace(cached_tokens=8)
    usage = SimpleNamespace(prompt_tokens=20, completion_tokens=5, prompt_tokens_details=details)
    assert units_of("gpt-4o", usage=usage) == expected


def test_transcriptions_are_billed_by_tokens_or_by_seconds() -> None:
    """The unit follows the provider's answer."""
    tokens = {"type": "tokens", "input_tokens": 31, "output_tokens": 9, "input_token_details": {"audio_tokens": 31}}
    assert units_of("gpt-4o-transcribe", usage=tokens) == {"input_audio": 31, "output_text": 9}
    assert units_of("whisper-1", usage={"type": "duration", "seconds": 27}) == {"audio_ms": 27_000}


def test_tokens_without_a_modality_are_audio_where_a_model_hears_or_says() -> None:
    """A transcription model hears its input, a speech model says its output."""
    assert units_of("gpt-4o-transcribe", input_tokens=31, output_tokens=9) == {"input_audio": 31, "output_text": 9}
    assert units_of("gpt-4o-mini-tts", input_tokens=31, output_tokens=9) == {"input_text": 31, "output_audio": 9}
    speech = {"input_tokens": 31, "output_tokens": 9}
    assert units_of("gpt-4o-mini-tts", usage=speech) == {"input_text": 31, "output_audio": 9}


@pytest.mark.parametrize("model", ["whisper-1", "gpt-transcribe", "gpt-live-transcribe"])
def test_tokens_of_what_is_billed_by_its_duration_only_inform(model: str) -> None:
    """They are no units that any price fits."""
    tokens = {"input_audio": 600, "output_text": 9}
    told = figures_of(model, input_tokens=600, output_tokens=9, audio_seconds=60)
    assert told == Figures({"audio_ms": 60_000}, tokens)
    assert figures_of(model, usage={"type": "tokens", "input_tokens": 600, "output_tokens": 9}) == Figures({}, tokens)
    assert figures_of(model, units={"input_text": 7}) == Figures({"input_text": 7}, {})


def test_embeddings_have_a_prompt_only() -> None:
    """And no output."""
    assert units_of("text-embedding-3-small", usage={"prompt_tokens": 8, "total_tokens": 8}) == {"input_text": 8}


def test_seconds_become_milliseconds_and_characters_stay() -> None:
    """Whole seconds stay whole; a Decimal is as good as a float."""
    assert units_of("whisper-1", audio_seconds=12.3456) == {"audio_ms": 12_346}
    assert units_of("whisper-1", audio_seconds=Decimal("0.1")) == {"audio_ms": 100}
    assert units_of("tts-1", characters=40) == {"characters": 40}


def test_nothing_given_is_no_units() -> None:
    """A failed request has none."""
    assert units_of("gpt-4o") == {}


@pytest.mark.parametrize(
    "given",
    [
        {"units": {"input_text": 1}, "input_tokens": 1},
        {"units": {"input_text": 1}, "usage": {"prompt_tokens": 1}},
        {"usage": {"prompt_tokens": 1}, "audio_seconds": 0},
    ],
)
def test_two_ways_at_once_are_refused(given: dict) -> None:
    """They would count twice; the line names both."""
    with pytest.raises(BadSetting, match="together with"):
        units_of("gpt-4o", **given)


@pytest.mark.parametrize(
    "given",
    [
        {"input_tokens": 5, "cached_tokens": 6},
        {"cached_tokens": 1},
        {"input_tokens": -1},
        {"units": {"tokens": 3}},
        {"audio_seconds": float("nan")},
        {"audio_seconds": Decimal("NaN")},
        {"audio_seconds": 10**400},
        {"audio_seconds": LARGEST // 1000 + 1},
        {"input_tokens": LARGEST + 1},
        {"audio_seconds": True},
        {"audio_seconds": "12"},
        {"usage": {}},
        {"usage": {"id": "resp_1", "output": "what was said"}},
        {"usage": 17},
        {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}},
    ],
)
def test_impossible_figures_are_refused(given: dict) -> None:
    """Never counted as something else; the line does not carry what was said."""
    with pytest.raises(ImpossibleUsage) as raised:
        units_of("gpt-4o", **given)
    assert "what was said" not in str(raised.value)
