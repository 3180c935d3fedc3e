"""Sound that a voice activity detector takes for speech, as it takes no noise and no tone."""

from __future__ import annotations

import array
import math

from livekit_tokens.demo.call import FRAME_MS, RATE

_FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480), (300, 870, 2240))
"""Of a man's vowels, in Hz (Peterson and Barney, 1952)."""
_WIDTHS = (80, 100, 140)
_WEIGHTS = (1.0, 0.6, 0.3)
_SYLLABLE = 0.22
"""Seconds, the last seventh of them silent."""
_HARMONICS = 25
_PEAK = 14_000


def vowels(seconds: float) -> list[bytes]:
    """One vowel after another, in frames of the caller's: harmonics of a moving pitch, shaped by their formants."""
    samples: array.array[int] = array.array("h")
    phase = 0.0
    for number in range(round(seconds * RATE)):
        at = number / RATE
        pitch = 120 + 25 * math.sin(2 * math.pi * 0.7 * at) + 8 * math.sin(2 * math.pi * 3 * at)
        phase += pitch / RATE
        formants = _FORMANTS[int(at / _SYLLABLE) % len(_FORMANTS)]
        wave = sum(_strength(h * pitch, formants) * math.sin(2 * math.pi * h * phase) for h in range(1, _HARMONICS + 1))
        open_ = math.sin(math.pi * min(1.0, at % _SYLLABLE / _SYLLABLE * 7 / 6))
        samples.append(round(max(-1.0, min(1.0, wave * 0.25 * math.sqrt(max(0.0, open_)))) * _PEAK))
    frame = RATE * FRAME_MS // 1000
    return [samples[begin : begin + frame].tobytes() for begin in range(0, len(samples) - frame + 1, frame)]


def _strength(frequency: float, formants: tuple[int, ...]) -> float:
    shaped = zip(formants, _WIDTHS, _WEIGHTS, strict=True)
    return sum(weight / (1 + ((frequency - peak) / width) ** 2) for peak, width, weight in shaped)
