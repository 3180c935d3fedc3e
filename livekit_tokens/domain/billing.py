"""What a model that hears or speaks is billed by, as far as its name tells. Pure.

A provider's answer goes first: its figures are of what it bills. This is asked where there is no answer (a request that
was cut off), or one that holds more than is billed (the tokens of what is billed by its duration).
Sources: OpenAI's price pages, 2026-11 (whisper-1, gpt-realtime-whisper, gpt-transcribe and gpt-live-transcribe by the
minute; the gpt-4o-transcribe family and gpt-4o-mini-tts by tokens; tts-1 by the character); groq.com/pricing and
cartesia.ai/pricing (their Whispers by the hour); ai.google.dev/pricing (Gemini's speech by tokens).
"""

from __future__ import annotations

import re
from typing import Literal

BilledBy = Literal["tokens", "duration", "characters"]

_HEARS = re.compile(r"whisper|transcribe")
_SPEAKS = re.compile(r"-tts|^tts-")
_BILLED_BY: tuple[tuple[re.Pattern[str], BilledBy], ...] = (
    (re.compile(r"^gpt-4o(-mini)?-transcribe(-\d|-diarize|$)"), "tokens"),
    (re.compile(r"whisper|^gpt-(live-)?transcribe"), "duration"),
    (re.compile(r"^(gpt|gemini)-.*-tts"), "tokens"),
    (re.compile(r"^tts-1"), "characters"),
)


def hears(model: str) -> bool:
    """It is a transcription model: its input is audio."""
    return _HEARS.search(_name(model)) is not None


def speaks(model: str) -> bool:
    """It is a speech model: its output is audio."""
    return _SPEAKS.search(_name(model)) is not None


def billed_by(model: str) -> BilledBy | None:
    """None where the name does not tell, and of a model that neither hears nor speaks only."""
    name = _name(model)
    return next((by for pattern, by in _BILLED_BY if pattern.search(name)), None)


def _name(model: str) -> str:
    """Gateways name the vendor before it."""
    return model.rpartition("/")[2].lower()
