"""What a caller gives by hand about a request (a usage object, units, or counts), as disjoint units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from decimal import Decimal
from math import isfinite
from typing import NamedTuple

from livekit_tokens.domain.billing import billed_by, hears, speaks
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.splitting import (
    Counts,
    split_chat_usage,
    split_realtime_usage,
    split_speech_usage,
    split_transcription_usage,
)
from livekit_tokens.domain.units import MOST_SECONDS, TOKENS, Units, make_units, quantity_of


class Figures(NamedTuple):
    """The disjoint units of one request that are billed, and those that only inform."""

    units: Units
    informational: Units


def figures_of(
    model: str,
    *,
    usage: object = None,
    units: Mapping[str, int] | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    audio_seconds: float | Decimal | None = None,
    characters: int | None = None,
) -> Figures:
    """The disjoint units of one request, from one of three: `usage`, `units`, or counts.

    `usage` is any OpenAI-shaped usage object or dict (realtime, chat, responses, embeddings, transcription,
    speech). `units` are disjoint units of the registry. Of the counts, `input_tokens` includes `cached_tokens`,
    as providers say it. Tokens without a modality are text, but for what transcription models hear and speech
    models say, which is audio; tokens of what is billed by its duration only inform. Raises BadSetting for more than
    one of the three, ImpossibleUsage for figures that contradict each other.
    """
    counts = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": cached_tokens,
        "audio_seconds": audio_seconds,
        "characters": characters,
    }
    given = [name for name, count in counts.items() if count is not None]
    _check_one_way(usage, units, given)
    if units is not None:
        if not isinstance(units, Mapping):
            raise ImpossibleUsage(f"units is a {type(units).__name__}; expected a dict such as {{'input_text': 120}}")
        return Figures(make_units(units), {})
    if usage is not None:
        return _billed(model, _split(model, _counts_of(usage)))
    found: dict[str, object] = {
        "audio_ms": _milliseconds(audio_seconds),
        "characters": quantity_of("characters", characters),
    }
    found |= _tokens(model, input_tokens, output_tokens, cached_tokens)
    return _billed(model, make_units(found))


def tier_in(usage: object) -> str | None:
    """The tier that a usage says it was served by, which Anthropic's does; None where it says none."""
    told = usage.get("service_tier") if isinstance(usage, Mapping) else getattr(usage, "service_tier", None)
    return told if isinstance(told, str) else None


def _billed(model: str, units: Units) -> Figures:
    if billed_by(model) != "duration":
        return Figures(units, {})
    informs = {name: units[name] for name in units if name in TOKENS}
    return Figures({name: units[name] for name in units if name not in informs}, informs)


def _check_one_way(usage: object, units: object, counts: list[str]) -> None:
    ways = [*(["usage"] if usage is not None else []), *(["units"] if units is not None else [])]
    if counts and ways:
        ways.append(", ".join(counts))
    if len(ways) > 1:
        raise BadSetting(f"{' together with '.join(ways)} would count twice; give usage, or units, or counts")


def _split(model: str, counts: Counts) -> Units:
    """Which provider's shape it is: by its fields, and by the model where two shapes look alike."""
    if "seconds" in counts or counts.get("type") == "tokens" or (hears(model) and "input_tokens" in counts):
        return split_transcription_usage(counts)
    if speaks(model) and "input_tokens" in counts:
        return split_speech_usage(counts)
    if "input_token_details" in counts or "output_token_details" in counts:
        return split_realtime_usage(counts)
    if counts.keys() & {"prompt_tokens", "input_tokens", "output_tokens", "completion_tokens"}:
        return split_chat_usage(counts)
    raise ImpossibleUsage(
        f"usage has none of the fields prompt_tokens, input_tokens, seconds; it has: "
        f"{', '.join(sorted(map(str, counts)))[:120] or 'nothing'}; give the usage of the provider's answer"
    )


def _tokens(model: str, given: int | None, produced: int | None, cached: int | None) -> Units:
    heard, said = hears(model), speaks(model)
    whole, part = quantity_of("input_tokens", given), quantity_of("cached_tokens", cached)
    if part > whole:
        raise ImpossibleUsage(f"cached_tokens {part} of {whole} input_tokens; cached tokens are a part of the input's")
    return {
        "input_audio" if heard else "input_text": whole - part,
        "cached_input_audio" if heard else "cached_input_text": part,
        "output_audio" if said else "output_text": quantity_of("output_tokens", produced),
    }


def _milliseconds(seconds: object) -> int:
    """Whole milliseconds, the nearest; whole seconds stay whole."""
    if seconds is None:
        return 0
    if isinstance(seconds, (int, float, Decimal)) and not isinstance(seconds, bool):
        # A NaN is not finite, and comparing a Decimal's would raise; an integer always is finite.
        if (isinstance(seconds, int) or isfinite(seconds)) and 0 <= seconds <= MOST_SECONDS:
            return round(seconds * 1000)
        shown = str(seconds)[:20]
    else:
        shown = f"a {type(seconds).__name__}"
    raise ImpossibleUsage(f"audio_seconds is {shown}; expected a number of seconds from 0 to {MOST_SECONDS}")


def _counts_of(usage: object) -> Counts:
    """A usage object of a client library (pydantic, dataclass, plain attributes) as JSON would say it; no None."""
    if isinstance(usage, Mapping):
        fields: Mapping[str, object] = usage
    elif callable(dump := getattr(usage, "model_dump", None)):
        fields = dump()
    elif is_dataclass(usage) and not isinstance(usage, type):
        fields = asdict(usage)
    else:
        fields = getattr(usage, "__dict__", {})
        if not fields:
            raise ImpossibleUsage(f"usage is a {type(usage).__name__}; expected an OpenAI-shaped usage object or dict")
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def _plain(value: object) -> object:
    return value if isinstance(value, (int, float, str, list, tuple)) else _counts_of(value)
