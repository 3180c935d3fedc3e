"""Estimates of requests over HTTP that brought no figures."""

from __future__ import annotations

from typing import Any

import pytest

from livekit_tokens.core.calibration import Calibration, Expected, Told
from livekit_tokens.core.cut_requests import (
    Arrived,
    at_least,
    audio_units,
    cut,
    prompt_units,
    sent,
    speech_units,
    transcribed,
)
from livekit_tokens.core.prompts import Beginning, Prompt
from livekit_tokens.core.whisper import Count
from livekit_tokens.domain.usage import UsageRecord


def record(operation: str = "chat_completion", model: str = "gpt-4o", **fields: Any) -> UsageRecord:
    return UsageRecord("0" * 32, 0, "agent", "openai", model, operation, units={}, provenance="unknown", **fields)


def chat(tokens: int = 1000, cached: int = 0, calibrated: bool = True) -> UsageRecord:
    return sent(record(), prompt_units(Expected(tokens, cached, cached, calibrated)))


def test_a_cut_answer_is_its_prompt_and_what_had_come() -> None:
    estimate = cut(chat(cached=512), Arrived(tokens=40, ahead=3))
    assert estimate.units == {"input_text": 488, "cached_input_text": 512, "output_text": 43}
    assert estimate.low == {"input_text": 310, "output_text": 40}
    assert estimate.high == {"input_text": 1050, "cached_input_text": 640, "output_text": 156}
    assert estimate.provenance == "estimated"


def test_without_any_answer_nobody_knows_whether_the_prompt_was_read() -> None:
    estimate = cut(chat(), Arrived())
    assert (estimate.units, estimate.low) == ({"input_text": 1000}, {})
    assert estimate.high == {"input_text": 1050, "output_text": 64}


def test_a_whole_answer_without_figures_is_exact_to_a_token() -> None:
    estimate = cut(chat(calibrated=False), Arrived(tokens=40, whole=True))
    assert (estimate.units["output_text"], estimate.provenance) == (40, "estimated")
    assert estimate.low == {"input_text": 850, "output_text": 40}
    assert estimate.high == {"input_text": 1150, "output_text": 41}


def test_what_was_never_counted_is_unknown() -> None:
    assert cut(record(), Arrived()).provenance == "unknown"


def test_speech_by_characters_is_billed_as_soon_as_it_is_spoken() -> None:
    spoken = sent(record("speech", "tts-1"), speech_units("tts-1", 120, 30))
    assert cut(spoken, Arrived(begun=True)).provenance == "reported"
    unheard = cut(spoken, Arrived())
    assert (unheard.units, unheard.low, unheard.provenance) == ({"characters": 120}, {}, "estimated")


def test_speech_by_tokens_is_its_text_and_20_tokens_a_second() -> None:
    spoken = sent(record("speech", "gpt-4o-mini-tts"), speech_units("gpt-4o-mini-tts", 120, 30))
    heard = cut(spoken, Arrived(audio_ms=1500, begun=True))
    assert heard.units == {"input_text": 30, "output_audio": 30}
    assert heard.high == {"input_text": 30, "output_audio": 80}
    untold = cut(spoken, Arrived(whole=True, begun=True))
    assert untold.units["output_audio"] == 180  # a format without a length: by the text


def test_a_cut_transcription_is_billed_by_its_audio() -> None:
    by_tokens = sent(record("transcription", "gpt-4o-transcribe"), audio_units("gpt-4o-transcribe", 2340))
    assert cut(by_tokens, Arrived()).units == {"input_audio": 23, "output_text": 9}
    by_time = sent(record("transcription", "whisper-1"), audio_units("whisper-1", 2340))
    assert cut(by_time, Arrived()).units == {"audio_ms": 2340}
    assert cut(record("transcription", "whisper-1"), Arrived()).provenance == "unknown"


def test_a_whole_transcription_without_figures_is_estimated_by_text_and_audio() -> None:
    told = transcribed(record("transcription", "gpt-4o-transcribe"), 2340, Count(8, "o200k"))
    assert (told.units, told.provenance) == ({"input_audio": 23, "output_text": 10}, "estimated")
    assert (told.low, told.high) == ({"input_audio": 22, "output_text": 9}, {"input_audio": 24, "output_text": 11})
    assert told.metadata == {"counted_by": "o200k", "audio_from": "measured"}
    by_time = transcribed(record("transcription", "whisper-1"), 2340, Count(8, "o200k"))
    assert (by_time.units, by_time.low, by_time.high) == ({"audio_ms": 2340}, {"audio_ms": 2000}, {"audio_ms": 3000})


def learn(calibration: Calibration, prompt: Prompt, name: str | None = None, **told: int) -> None:
    calibration.learn("openai", "gpt-4o", prompt, calibration.expect("openai", "gpt-4o", prompt), Told(told, name))


@pytest.mark.parametrize("counted", [80, 100, 140])
def test_a_prompt_is_expected_as_the_last_bill_says(counted: int) -> None:
    """What one prompt was billed beyond our count of it, the next one of the same model and tools will be too."""
    calibration = Calibration()
    assert calibration.expect("openai", "gpt-4o", Prompt(counted, 7)) == Expected(counted)
    learn(calibration, Prompt(100, 7), input_text=120)
    assert calibration.expect("openai", "gpt-4o", Prompt(counted, 7)) == Expected(counted + 20, calibrated=True)
    assert not calibration.expect("openai", "gpt-4o", Prompt(counted, 8)).calibrated
    assert not calibration.expect("azure", "gpt-4o", Prompt(counted, 7)).calibrated


def prompt(*sizes: int) -> Prompt:
    """A conversation of messages of so many tokens; the same sizes are the same messages."""
    beginnings = [Beginning(hash(sizes[: n + 1]), sum(sizes[: n + 1])) for n in range(len(sizes))]
    return Prompt(sum(sizes) + 3, 0, None, tuple(beginnings))


def test_what_a_prompt_has_in_common_with_one_before_is_expected_from_the_cache() -> None:
    """In whole steps, and from 1,024 tokens on; also when the one before was cut off."""
    calibration = Calibration()
    assert calibration.expect("openai", "gpt-4o", prompt(900, 300)).cached == 0
    assert calibration.expect("openai", "gpt-4o", prompt(900, 300, 50)).cached == 1152
    assert calibration.expect("openai", "gpt-4o", prompt(900, 301)).cached == 896
    assert calibration.expect("openai", "gpt-4o", prompt(900)).cached == 0
    assert calibration.expect("openai", "gpt-4o-mini", prompt(900, 300)).cached == 0


def test_how_much_is_cached_is_learned_from_the_bills() -> None:
    """A provider may miss, or not cache at all."""
    calibration = Calibration()
    learn(calibration, prompt(2000), input_text=2003)
    for _ in range(8):
        learn(calibration, prompt(2000, 50), input_text=2053)
    missed = calibration.expect("openai", "gpt-4o", prompt(2000, 50, 50))
    assert missed.cached < 300 < missed.cacheable == 2048
    assert calibration.expect("some.example", "gpt-4o", prompt(2000)).cached == 0


def test_a_response_goes_on_from_what_the_provider_keeps() -> None:
    """Only what is new is in the body; all of the conversation is billed again, and what was sent is cached."""
    calibration = Calibration()
    learn(calibration, Prompt(2000, 0), "resp_1", input_text=2010, output_text=40)
    expected = calibration.expect("openai", "gpt-4o", Prompt(20, 0, "resp_1"))
    assert (expected.tokens, expected.cached, expected.calibrated) == (20 + 2050, 1920, True)


def test_what_goes_on_is_set_right_by_what_went_on() -> None:
    """A whole prompt is framed anew, and what goes on from a response is not: neither says how the other is billed."""
    calibration = Calibration()
    learn(calibration, Prompt(2000, 0), "resp_1", input_text=2010, output_text=40)
    learn(calibration, Prompt(150, 0, "resp_1"), "resp_2", input_text=2070, output_text=30)
    assert calibration.expect("openai", "gpt-4o", Prompt(150, 0, "resp_2")).tokens == 2070 + 30 + 20
    assert calibration.expect("openai", "gpt-4o", Prompt(2000, 0)).tokens == 2010


def test_what_is_remembered_is_bounded() -> None:
    calibration = Calibration()
    for number in range(20_000):
        learn(calibration, Prompt(1, number, None, (Beginning(number, 1),)), f"resp_{number}", input_text=2)
    assert not calibration.expect("openai", "gpt-4o", Prompt(1, 0)).calibrated
    assert calibration.expect("openai", "gpt-4o", Prompt(1, 19_999)).calibrated
    assert max(len(kept) for kept in vars(calibration).values()) <= 1 << 14


def test_what_the_provider_had_told_before_the_cut_is_the_least() -> None:
    """Some servers tell usage with every piece: its input is the bill's, its output may have gone on."""
    estimate = at_least(cut(chat(cached=512), Arrived(tokens=40, ahead=3)), {"input_text": 990, "output_text": 41})
    assert estimate.units == {"input_text": 990, "output_text": 43}
    assert estimate.low == {"input_text": 990, "output_text": 41}
    assert estimate.high == {"input_text": 990, "output_text": 156}
    assert estimate.provenance == "estimated"
    longer = at_least(cut(chat(), Arrived(tokens=40)), {"output_text": 200})
    assert longer.units == {"input_text": 1000, "output_text": 200}


def test_of_a_cut_prompt_as_much_was_written_to_the_cache_as_of_the_last_one() -> None:
    """At most all of it, and perhaps none: it is billed dearer, so the bounds allow for both."""
    calibration, prompt = Calibration(), Prompt(2000, 0)
    expected = calibration.expect("openai", "gpt-5.6-sol", prompt)
    calibration.learn("openai", "gpt-5.6-sol", prompt, expected, Told({"input_text": 500, "cache_write_text": 1500}))
    estimate = prompt_units(calibration.expect("openai", "gpt-5.6-sol", prompt))
    assert estimate.units == {"input_text": 500, "cache_write_text": 1500}
    assert estimate.low == {}
    assert estimate.high == {"input_text": 2100, "cache_write_text": 2100}


def test_a_conversation_that_is_sent_whole_again_is_known_as_far_as_responses_went_on_from_it() -> None:
    """Its socket was closed: the next response cannot go on from the last one, and is given everything; the provider
    has had it all before."""
    calibration = Calibration()
    first = Prompt(1500, 0, beginnings=(Beginning(1, 700), Beginning(2, 1500)))
    told = Told({"input_text": 1500, "output_text": 40}, "resp_1")
    calibration.learn("openai", "gpt-4.1", first, calibration.expect("openai", "gpt-4.1", first), told)
    second = Prompt(300, 0, "resp_1", (Beginning(3, 300),))
    assert calibration.expect("openai", "gpt-4.1", second).tokens == 1840
    again = Prompt(1900, 0, beginnings=(*first.beginnings, Beginning(4, 1540), Beginning(5, 1840), Beginning(6, 1900)))
    assert calibration.expect("openai", "gpt-4.1", again).cacheable == 1840 // 128 * 128
    other = Prompt(1900, 0, beginnings=(Beginning(1, 700), Beginning(9, 1900)))
    assert calibration.expect("openai", "gpt-4.1", other).cacheable == 700 // 128 * 128
