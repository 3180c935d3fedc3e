"""Splitting a provider's inclusive counts into disjoint units."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import (
    split_chat_usage,
    split_realtime_usage,
    split_speech_usage,
    split_transcription_usage,
)
from livekit_tokens.domain.units import LARGEST, REGISTRY, input_tokens, output_tokens
from tests.golden import GOLDEN

count = st.integers(0, 10**6)


def test_the_golden_turn() -> None:
    """Cached audio is taken out of the audio that was heard."""
    assert split_realtime_usage(GOLDEN) == {
        "input_text": 43,
        "input_audio": 32,
        "cached_input_audio": 64,
        "output_text": 18,
        "output_audio": 43,
    }


@given(count, count, count, count, count, st.data())
def test_each_token_stands_in_exactly_one_unit(
    text: int, audio: int, image: int, out_text: int, out_audio: int, data: st.DataObject
) -> None:
    """Whatever the split, the units add up to the provider's totals, and no unit is stored at 0."""
    cached = {
        "text_tokens": data.draw(st.integers(0, text)),
        "audio_tokens": data.draw(st.integers(0, audio)),
        "image_tokens": data.draw(st.integers(0, image)),
    }
    units = split_realtime_usage(
        {
            "input_tokens": text + audio + image,
            "output_tokens": out_text + out_audio,
            "input_token_details": {
                "text_tokens": text,
                "audio_tokens": audio,
                "image_tokens": image,
                "cached_tokens": sum(cached.values()),
                "cached_tokens_details": cached,
            },
            "output_token_details": {"text_tokens": out_text, "audio_tokens": out_audio},
        }
    )
    assert input_tokens(units) == text + audio + image
    assert output_tokens(units) == out_text + out_audio
    assert units.get("cached_input_audio", 0) == cached["audio_tokens"]
    assert 0 not in units.values()


def test_cached_tokens_without_a_modality_are_text_first() -> None:
    """Where the provider does not say what was cached, text is taken, then audio."""
    usage = {"input_tokens": 100, "input_token_details": {"text_tokens": 30, "audio_tokens": 70, "cached_tokens": 50}}
    assert split_realtime_usage(usage) == {"cached_input_text": 30, "input_audio": 50, "cached_input_audio": 20}


def test_tokens_without_a_modality_are_text() -> None:
    """Totals alone are text."""
    assert split_realtime_usage({"input_tokens": 7, "output_tokens": 3}) == {"input_text": 7, "output_text": 3}


@pytest.mark.parametrize(
    "names", [("prompt_tokens", "prompt_tokens_details"), ("input_tokens", "input_tokens_details")]
)
def test_tokens_written_to_the_cache_are_taken_out_of_input_text(names: tuple[str, str]) -> None:
    whole, details = names
    usage = {whole: 3000, details: {"cached_tokens": 1024, "cache_write_tokens": 1900}}
    assert split_chat_usage(usage) == {"input_text": 76, "cached_input_text": 1024, "cache_write_text": 1900}
    usage[details] = {"cached_tokens": 1100, "cache_write_tokens": 1900}
    assert split_chat_usage(usage) == {"cached_input_text": 1100, "cache_write_text": 1900}
    with pytest.raises(ImpossibleUsage, match="cache_write_tokens 1901 of 1900 input tokens that were not cached"):
        split_chat_usage(usage | {details: {"cached_tokens": 1100, "cache_write_tokens": 1901}})


def test_reasoning_is_taken_out_of_output_text() -> None:
    """Reasoning is a subset of the output, not an addition to it."""
    usage = {"prompt_tokens": 10, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}}
    assert split_chat_usage(usage) == {"input_text": 10, "output_text": 10, "output_reasoning": 40}


@pytest.mark.parametrize(("completion", "reasoning", "total"), [(9, 94, 135), (50, 40, 122)])
def test_reasoning_that_stands_beside_the_completion_is_added(completion: int, reasoning: int, total: int) -> None:
    """Grok counts it so, and says it by the total alone."""
    usage = {
        "prompt_tokens": 32,
        "completion_tokens": completion,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": total,
    }
    expected = {"input_text": 32, "output_text": completion, "output_reasoning": reasoning}
    assert split_chat_usage(usage) == expected
    inside = {**usage, "total_tokens": 32 + completion}
    if reasoning <= completion:
        assert split_chat_usage(inside) == {**expected, "output_text": completion - reasoning}


@pytest.mark.parametrize(
    ("whole", "completion", "total", "expected"),
    [
        (9, 3, 105, {"input_text": 9, "output_text": 3, "output_reasoning": 93}),
        (21, 0, 81, {"input_text": 21, "output_reasoning": 60}),
        (21, None, 81, {"input_text": 21, "output_reasoning": 60}),
        (9, 3, 12, {"input_text": 9, "output_text": 3}),
        (9, 3, 0, {"input_text": 9, "output_text": 3}),
    ],
)
def test_what_only_the_total_holds_was_thought(
    whole: int, completion: int | None, total: int, expected: dict[str, int]
) -> None:
    """Google counts so where it speaks OpenAI's protocol, and does not say it anywhere else."""
    chat = {"prompt_tokens": whole, "completion_tokens": completion, "total_tokens": total}
    response = {"input_tokens": whole, "output_tokens": completion, "total_tokens": total}
    assert split_chat_usage(chat) == split_chat_usage(response) == expected


def test_what_the_total_holds_beyond_the_reasoning_that_is_told_is_more_of_it() -> None:
    """Whatever it was, it is billed, and it came of the model."""
    usage = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 100}
    told = usage | {"completion_tokens_details": {"reasoning_tokens": 30}}
    assert split_chat_usage(told) == {"input_text": 10, "output_text": 20, "output_reasoning": 70}


@pytest.mark.parametrize(
    "cached",
    [
        {"cached_tokens": 64},
        {"cached_tokens": 64, "prompt_tokens_details": {"cached_tokens": 64}},
        {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        {"prompt_cache_hit_tokens": 64, "prompt_tokens_details": {"cached_tokens": 64}},
    ],
)
def test_cached_tokens_stand_beside_the_prompt_where_others_put_them(cached: dict[str, Any]) -> None:
    """Moonshot and DeepSeek; they are part of the prompt there, too."""
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, **cached}
    assert split_chat_usage(usage) == {"input_text": 36, "cached_input_text": 64, "output_text": 5}
    with pytest.raises(ImpossibleUsage, match="cached_tokens 64 of 63 input tokens"):
        split_chat_usage(usage | {"prompt_tokens": 63})


def test_anthropics_input_is_what_was_neither_read_from_the_cache_nor_written_to_it() -> None:
    """Its three counts are of three parts of a prompt."""
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 500,
        "output_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0},
    }
    expected = {"input_text": 10, "cached_input_text": 1000, "cache_write_text": 500, "output_text": 5}
    assert split_chat_usage(usage) == expected
    assert split_chat_usage(usage | {"cache_read_input_tokens": None, "cache_creation_input_tokens": 0}) == {
        "input_text": 10,
        "output_text": 5,
    }


@pytest.mark.parametrize("names", [("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")])
@pytest.mark.parametrize(
    ("whole", "total", "expected"),
    [
        (1110, 1115, {"input_text": 60, "cached_input_text": 1000, "cache_write_text": 50}),
        (60, 1115, {"input_text": 60, "cached_input_text": 1000, "cache_write_text": 50}),
        (10, 15, {"input_text": 10, "cached_input_text": 1000, "cache_write_text": 50}),
    ],
)
def test_the_total_says_whether_cached_tokens_are_inside_the_prompt_or_beside_it(
    names: tuple[str, str], whole: int, total: int, expected: dict[str, int]
) -> None:
    """And their size does, where they are more than the prompt: a gateway's total may leave them out."""
    cached = {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 50}
    usage = {names[0]: whole, names[1]: 5, "total_tokens": total, **cached}
    assert split_chat_usage(usage) == expected | {"output_text": 5}
    assert split_chat_usage(usage | {f"{names[0]}_details": {"cached_tokens": 1000}}) == expected | {"output_text": 5}


def test_what_the_details_say_of_the_cache_is_kept_beside_what_anthropics_names_say() -> None:
    """A gateway tells some of it by either."""
    usage = {"prompt_tokens": 1250, "completion_tokens": 5, "total_tokens": 1255, "cache_creation_input_tokens": 200}
    told = usage | {"prompt_tokens_details": {"cached_tokens": 1000}}
    expected = {"input_text": 50, "cached_input_text": 1000, "cache_write_text": 200, "output_text": 5}
    assert split_chat_usage(told) == expected
    usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"] = 0, 1000
    assert split_chat_usage(usage | {"prompt_tokens_details": {"cache_write_tokens": 200}}) == expected


def test_a_response_counts_like_a_chat_completion() -> None:
    """Responses say input and output where chat completions say prompt and completion."""
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5}
    assert split_chat_usage(usage) == {"input_text": 6, "cached_input_text": 4, "output_text": 5}


def test_an_embedding_has_a_prompt_only() -> None:
    """Nothing comes out of an embedding."""
    assert split_chat_usage({"prompt_tokens": 10, "total_tokens": 10}) == {"input_text": 10}
    assert split_chat_usage({"prompt_tokens": 10, "total_tokens": 15}) == {"input_text": 10}


@pytest.mark.parametrize(
    "usage",
    [
        {"total_tokens": 500},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 500},
        {"input_tokens": None, "output_tokens": 0, "total_tokens": 500},
    ],
)
def test_of_a_total_without_a_prompt_nobody_knows_what_it_was(usage: dict[str, Any]) -> None:
    """Voyage's embeddings tell nothing else; it was not thought."""
    assert split_chat_usage(usage) == {}


def test_transcriptions_are_billed_by_tokens_or_by_duration() -> None:
    """gpt-4o-transcribe reports tokens, whisper-1 seconds."""
    tokens = {"type": "tokens", "input_tokens": 20, "input_token_details": {"audio_tokens": 20}, "output_tokens": 4}
    assert split_transcription_usage(tokens) == {"input_audio": 20, "output_text": 4}
    assert split_transcription_usage({"type": "duration", "seconds": 2}) == {"audio_ms": 2000}
    assert split_transcription_usage({"type": "duration", "seconds": 2.345}) == {"audio_ms": 2345}


def test_speech_billed_by_tokens_is_text_in_and_audio_out() -> None:
    """gpt-4o-mini-tts says only totals."""
    assert split_speech_usage({"input_tokens": 9, "output_tokens": 80}) == {"input_text": 9, "output_audio": 80}


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"input_tokens": -1}, "input_tokens is -1"),
        ({"input_tokens": LARGEST + 1}, str(LARGEST + 1)),
        ({"input_tokens": 10**400}, "beyond"),
        ({"input_tokens": 1.5}, "1.5"),
        ({"input_tokens": True}, "input_tokens"),
        ({"input_tokens": "my secret"}, "a str"),
        ({"input_tokens": 5, "input_token_details": {"audio_tokens": 6}}, "5 is less than its parts"),
        ({"input_tokens": 5, "input_token_details": {"cached_tokens": 6}}, "6 of 5"),
        ({"input_tokens": 5, "input_token_details": {"cached_tokens_details": {"audio_tokens": 1}}}, "1 cached audio"),
        ({"output_tokens": 5, "output_token_details": {"reasoning_tokens": 6}}, "6 of 5"),
        ({"input_tokens": 5, "input_token_details": "none"}, "a str"),
        ([1, 2], "a list"),
    ],
)
def test_impossible_usage_is_refused_with_its_figures(usage: object, told: str) -> None:
    """A part larger than its whole, a negative or absurd count: the message has the figures, and nothing that was
    said in a call."""
    with pytest.raises(ImpossibleUsage) as refused:
        split_realtime_usage(usage)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    [
        "input_tokens",
        "output_tokens",
        "prompt_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "seconds",
        "input_token_details",
        "output_token_details",
    ]
)
details = st.dictionaries(
    st.sampled_from(["text_tokens", "audio_tokens", "cached_tokens", "cached_tokens_details", "reasoning_tokens"]),
    anything | st.integers(0, 100),
)


@given(st.dictionaries(names, anything | details | st.integers(0, 100)) | anything)
def test_any_usage_gives_units_of_the_registry_or_impossible_usage(usage: object) -> None:
    """Nothing else comes out, whatever a provider sends."""
    for split in (split_realtime_usage, split_chat_usage, split_transcription_usage, split_speech_usage):
        try:
            units = split(usage)
        except ImpossibleUsage:
            continue
        assert all(name in REGISTRY and quantity > 0 for name, quantity in units.items())
