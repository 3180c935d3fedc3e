"""Prices that the price library lacks or has otherwise, each with its source and the day it was looked up.

An entry takes the place of the library's whole card for its names. What the library has right is not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from livekit_tokens.domain.money import NANOS_PER_DOLLAR
from livekit_tokens.domain.pricing import Card
from livekit_tokens.domain.times import Micros

_PAGE = "https://developers.openai.com/api/docs/models/"
_CHECKED = date(2026, 11, 22)


@dataclass(frozen=True, slots=True)
class Entry:
    """One published price card. `dollars` are text, per `per` of each unit; `why` says why it is not the library's."""

    names: tuple[str, ...]
    dollars: Mapping[str, str]
    per: int
    source: str
    why: str
    provider: str = "openai"
    checked: date = _CHECKED
    since: Micros | None = None
    until: Micros | None = None
    whole_seconds: bool = False
    rates: Mapping[str, Fraction] = field(init=False)

    def __post_init__(self) -> None:
        rates = {unit: Fraction(price) * NANOS_PER_DOLLAR / self.per for unit, price in self.dollars.items()}
        object.__setattr__(self, "rates", rates)

    def card(self) -> Card:
        return Card(
            self.provider,
            self.names[0],
            self.rates,
            f"{self.source} ({self.checked})",
            self.since,
            self.until,
            whole_seconds=self.whole_seconds,
        )


_MILLION = 10**6
_MINUTE_MS = 60_000

_TEXT = ("input_text", "cached_input_text", "output_text")
_AUDIO = ("input_audio", "cached_input_audio", "output_audio")


def _by(units: tuple[str, ...], prices: str) -> dict[str, str]:
    """`4 .4 16` for input, cached and output; `-` where nothing is published."""
    return {unit: price for unit, price in zip(units, prices.split(), strict=True) if price != "-"}


def _tokens(text: str, audio: str = "- - -") -> dict[str, str]:
    return _by(_TEXT, text) | _by(_AUDIO, audio)


_FIRST_REALTIME = "https://community.openai.com/t/help-me-understand-the-realtime-usage-block/1060242"
_ENDED = "ended 2026-05-07; kept here, so that old records keep their price when the library lets it go"
_NO_AUDIO = "the library prices its audio as text, 16 times too low"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        ("gpt-4o-realtime-preview-2024-10-01",),
        _tokens("5 2.5 20", "100 20 200"),
        _MILLION,
        _FIRST_REALTIME,
        "the first snapshot's audio cost more than its successors', whose price the library gives it",
    ),
    Entry(
        ("gpt-4o-realtime-preview", "gpt-4o-realtime-preview-2024-12-17", "gpt-4o-realtime-preview-2025-06-03"),
        _tokens("5 2.5 20", "40 2.5 80"),
        _MILLION,
        _PAGE + "gpt-4o-realtime-preview",
        _ENDED,
    ),
    Entry(
        ("gpt-4o-mini-realtime-preview", "gpt-4o-mini-realtime-preview-2024-12-17"),
        _tokens(".6 .3 2.4", "10 .3 20"),
        _MILLION,
        _PAGE + "gpt-4o-mini-realtime-preview",
        _ENDED,
    ),
    Entry(
        ("gpt-4o-audio-preview-2024-10-01",),
        _tokens("2.5 - 10", "100 - 200"),
        _MILLION,
        "https://huggingface.co/spaces/noumanjavaid/pricing (OpenAI's price page of its time)",
        _NO_AUDIO,
    ),
    Entry(
        ("gpt-4o-audio-preview", "gpt-4o-audio-preview-2024-12-17", "gpt-4o-audio-preview-2025-06-03"),
        _tokens("2.5 - 10", "40 - 80"),
        _MILLION,
        _PAGE + "gpt-4o-audio-preview",
        _NO_AUDIO,
    ),
    Entry(
        ("gpt-4o-mini-audio-preview", "gpt-4o-mini-audio-preview-2024-12-17"),
        _tokens(".15 - .6", "10 - 20"),
        _MILLION,
        _PAGE + "gpt-4o-mini-audio-preview",
        "the library prices its audio as text, 66 times too low",
    ),
    Entry(
        ("gpt-4o-transcribe", "gpt-4o-transcribe-diarize"),
        _tokens("2.5 - 10", "2.5 - -"),
        _MILLION,
        _PAGE + "gpt-4o-transcribe",
        "disputed: audio in is 2.50 on the model's page, 6.00 in the library and in OpenAI's cookbook",
    ),
    Entry(
        ("gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe-2025-03-20", "gpt-4o-mini-transcribe-2025-12-15"),
        _tokens("1.25 - 5", "1.25 - -"),
        _MILLION,
        _PAGE + "gpt-4o-mini-transcribe",
        "disputed: audio in is 1.25 on the model's page, 3.00 in the library",
    ),
    Entry(
        ("gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-03-20", "gpt-4o-mini-tts-2025-12-15"),
        _tokens(".6 - -", "- - 12"),
        _MILLION,
        _PAGE + "gpt-4o-mini-tts",
        "its output is audio; the library has it as text",
    ),
    Entry(
        ("whisper-1",),
        {"audio_ms": ".006"},
        _MINUTE_MS,
        _PAGE + "whisper-1",
        "billed by the nearest whole second, which the library does not say",
        whole_seconds=True,
    ),
    Entry(
        ("gpt-live-1",),
        {"session_ms": ".05"},
        _MINUTE_MS,
        _PAGE + "gpt-live-1",
        "billed by the second of the session, which the library has as seconds of audio",
    ),
)

BY_NAME: Mapping[str, tuple[Entry, ...]] = {
    name: tuple(entry for entry in ENTRIES if name in entry.names) for entry in ENTRIES for name in entry.names
}


def card_of(provider: str, model: str, at: Micros) -> Card | None:
    """Our own card for a model at a time, if we have one. In any case, as the library reads names."""
    for entry in BY_NAME.get(model.lower(), ()):
        if entry.provider == provider and (card := entry.card()).holds_at(at):
            return card
    return None
