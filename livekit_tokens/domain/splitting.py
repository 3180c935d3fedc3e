"""Splitting a provider's inclusive counts into disjoint units.

OpenAI counts inclusively: cached tokens inside input tokens, reasoning inside output tokens. Here each token
stands in one unit only. Counts that contradict each other raise ImpossibleUsage with the figures; what a
provider leaves out counts as 0, and tokens without a modality are text.
Source: OpenAI API reference: Realtime server events, Chat completions, Responses, Audio, Embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping

from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.units import Units, quantity_of

Counts = Mapping[str, object]
"""A usage object as JSON gave it."""

_MODALITIES = ("text", "audio", "image")
_NOTHING: Counts = {}


def split_realtime_usage(usage: object) -> Units:
    """Split the usage of a Realtime `response.done` into disjoint units, in tokens."""
    counts = _mapping("usage", usage)
    units: Units = {}
    _split_input(units, counts, "input_tokens", "input_token_details")
    _split_output(units, counts, "output_tokens", "output_token_details")
    return units


def split_chat_usage(usage: object) -> Units:
    """Split the usage of a chat completion, a response or an embedding into disjoint units, in tokens.

    Chat completions say prompt and completion, responses say input and output; embeddings have a prompt only.
    """
    counts = _mapping("usage", usage)
    units: Units = {}
    if "prompt_tokens" in counts:
        _split_input(units, counts, "prompt_tokens", "prompt_tokens_details")
        _split_output(units, counts, "completion_tokens", "completion_tokens_details")
    else:
        _split_input(units, counts, "input_tokens", "input_tokens_details")
        _split_output(units, counts, "output_tokens", "output_tokens_details")
    return units


def split_transcription_usage(usage: object) -> Units:
    """Split the usage of a transcription: tokens (gpt-4o-transcribe family) or seconds (whisper-1).

    Seconds become `audio_ms`; whole seconds stay whole.
    """
    counts = _mapping("usage", usage)
    if "seconds" in counts:
        return _kept({"audio_ms": _milliseconds(counts["seconds"])})
    units: Units = {}
    _split_input(units, counts, "input_tokens", "input_token_details", rest="audio")
    _split_output(units, counts, "output_tokens", "output_token_details")
    return units


def split_speech_usage(usage: object) -> Units:
    """Split the usage of a speech synthesis billed by tokens: text in, audio out (gpt-4o-mini-tts)."""
    counts = _mapping("usage", usage)
    units: Units = {}
    _split_input(units, counts, "input_tokens", "input_token_details")
    _split_output(units, counts, "output_tokens", "output_token_details", rest="audio")
    return units


def _split_input(units: Units, counts: Counts, total_name: str, details_name: str, rest: str = "text") -> None:
    details = _mapping(details_name, counts.get(details_name))
    whole = quantity_of(total_name, counts.get(total_name))
    parts = {modality: quantity_of(f"{modality}_tokens", details.get(f"{modality}_tokens")) for modality in _MODALITIES}
    parts[rest] += _remainder(total_name, whole if total_name in counts else sum(parts.values()), parts)
    cached = _cached(details, parts)
    for modality in _MODALITIES:
        if fresh := parts[modality] - cached[modality]:
            units[f"input_{modality}"] = fresh
        if cached[modality]:
            units[f"cached_input_{modality}"] = cached[modality]


def _cached(details: Counts, parts: Mapping[str, int]) -> dict[str, int]:
    """Cached tokens by modality. Without a split they are attributed to text first, then audio, then images."""
    split = _mapping("cached_tokens_details", details.get("cached_tokens_details"))
    cached = {modality: quantity_of(f"cached {modality}", split.get(f"{modality}_tokens")) for modality in _MODALITIES}
    for modality, tokens in cached.items():
        if tokens > parts[modality]:
            raise ImpossibleUsage(f"{tokens} cached {modality} tokens of {parts[modality]} {modality} tokens")
    whole = quantity_of("cached_tokens", details.get("cached_tokens"))
    left = whole - sum(cached.values())
    if left < 0 and "cached_tokens" in details:
        raise ImpossibleUsage(f"cached tokens {cached} are more than their whole, cached_tokens {whole}")
    for modality in _MODALITIES:
        taken = min(max(left, 0), parts[modality] - cached[modality])
        cached[modality] += taken
        left -= taken
    if left > 0:
        raise ImpossibleUsage(f"cached_tokens {whole} of {sum(parts.values())} input tokens")
    return cached


def _split_output(units: Units, counts: Counts, total_name: str, details_name: str, rest: str = "text") -> None:
    details = _mapping(details_name, counts.get(details_name))
    whole = quantity_of(total_name, counts.get(total_name))
    parts = {
        "text": quantity_of("text_tokens", details.get("text_tokens")),
        "audio": quantity_of("audio_tokens", details.get("audio_tokens")),
    }
    reasoning = quantity_of("reasoning_tokens", details.get("reasoning_tokens"))
    parts[rest] += _remainder(total_name, whole if total_name in counts else sum(parts.values()), parts)
    if reasoning > parts["text"]:
        raise ImpossibleUsage(f"reasoning_tokens {reasoning} of {parts['text']} output text tokens")
    parts["text"] -= reasoning
    for modality, tokens in parts.items():
        if tokens:
            units[f"output_{modality}"] = tokens
    if reasoning:
        units["output_reasoning"] = reasoning


def _remainder(name: str, whole: int, parts: Mapping[str, int]) -> int:
    left = whole - sum(parts.values())
    if left < 0:
        raise ImpossibleUsage(f"{name} {whole} is less than its parts {dict(parts)}")
    return left


def _milliseconds(seconds: object) -> int:
    if isinstance(seconds, float):
        if not 0 <= seconds < 10**9:  # also refuses NaN
            raise ImpossibleUsage(f"seconds is {seconds:.6g}; expected 0 to 10**9")
        return round(seconds * 1000)
    return quantity_of("seconds", seconds) * 1000


def _mapping(name: str, value: object) -> Counts:
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        raise ImpossibleUsage(f"{name} is a {type(value).__name__}; expected an object")
    return value


def _kept(units: Units) -> Units:
    return {name: quantity for name, quantity in units.items() if quantity}
