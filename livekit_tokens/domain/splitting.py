"""Splitting a provider's inclusive counts into disjoint units.

OpenAI counts inclusively: cached tokens inside input tokens, reasoning inside output tokens. Here each token
stands in one unit only. Counts that contradict each other raise ImpossibleUsage with the figures; what a
provider leaves out counts as 0, and tokens without a modality are text.
Source: OpenAI API reference: Realtime server events, Chat completions, Responses, Audio, Embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.units import LARGEST, MOST_SECONDS, Units, nonzero, quantity_of

Counts = Mapping[str, object]
"""A usage object as JSON gave it."""

_INPUT = {modality: f"input_{modality}" for modality in ("text", "audio", "image")}
_CACHED = {modality: f"cached_input_{modality}" for modality in ("text", "audio", "image")}
_NOTHING: Counts = {}


class _Names(NamedTuple):
    """What a protocol calls its counts."""

    input: str
    input_details: str
    output: str
    output_details: str


_CHAT = _Names("prompt_tokens", "prompt_tokens_details", "completion_tokens", "completion_tokens_details")
_RESPONSE = _Names("input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details")


def split_realtime_usage(usage: object) -> Units:
    """Split the usage of a Realtime `response.done` into disjoint units, in tokens."""
    counts = _mapping("usage", usage)
    units: Units = {}
    _split_input(units, counts, "input_tokens", "input_token_details")
    _split_output(units, counts, "output_tokens", "output_token_details")
    return units


def split_chat_usage(usage: object) -> Units:
    """Split the usage of a chat completion, a response or an embedding into disjoint units, in tokens.

    Chat completions say prompt and completion, responses say input and output; embeddings have a prompt only. Others
    who speak this protocol, and Anthropic, count some parts beside their wholes (`_as_openai_counts`).
    """
    counts = _mapping("usage", usage)
    names = _CHAT if "prompt_tokens" in counts else _RESPONSE
    counts = _as_openai_counts(counts, names)
    units: Units = {}
    _split_input(units, counts, names.input, names.input_details)
    _split_writes(units, counts, names.input_details)
    _split_output(units, counts, names.output, names.output_details)
    return units


def split_transcription_usage(usage: object) -> Units:
    """Split the usage of a transcription: tokens (gpt-4o-transcribe family) or seconds (whisper-1).

    Seconds become `audio_ms`; whole seconds stay whole.
    """
    counts = _mapping("usage", usage)
    if "seconds" in counts:
        return nonzero({"audio_ms": _milliseconds(counts["seconds"])})
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
    details = _details(counts, details_name)
    text, audio, image = (
        _count(details, "text_tokens"),
        _count(details, "audio_tokens"),
        _count(details, "image_tokens"),
    )
    left = _left(counts, total_name, text + audio + image)
    if rest == "text":
        text += left
    else:
        audio += left
    cached_text, cached_audio, cached_image = _cached(details, text, audio, image)
    _put(units, "text", text, cached_text)
    _put(units, "audio", audio, cached_audio)
    _put(units, "image", image, cached_image)


def _split_writes(units: Units, counts: Counts, details_name: str) -> None:
    """Of the text that was not cached, what was written to the cache: it is billed dearer, where it is told.

    Source: OpenAI API reference, `cache_write_tokens`; price page, gpt-5.6 and later. No modality is told with it.
    """
    written = _count(_details(counts, details_name), "cache_write_tokens")
    if not written:
        return
    fresh = sum(units.get(name, 0) for name in _INPUT.values())
    if written > fresh:
        raise ImpossibleUsage(f"cache_write_tokens {written} of {fresh} input tokens that were not cached")
    text = units.pop("input_text", 0)
    if text > written:
        units["input_text"] = text - written
    if text:
        units["cache_write_text"] = min(text, written)


def _put(units: Units, modality: str, tokens: int, cached: int) -> None:
    if tokens != cached:
        units[_INPUT[modality]] = tokens - cached
    if cached:
        units[_CACHED[modality]] = cached


def _cached(details: Counts, text: int, audio: int, image: int) -> tuple[int, int, int]:
    """Cached tokens by modality. Without a split they are attributed to text first, then audio, then images."""
    split = _details(details, "cached_tokens_details")
    cached_text, cached_audio = _count(split, "text_tokens"), _count(split, "audio_tokens")
    cached_image = _count(split, "image_tokens")
    if cached_text > text or cached_audio > audio or cached_image > image:
        raise ImpossibleUsage(
            f"{cached_text} cached text tokens of {text} text tokens, {cached_audio} cached audio tokens of {audio} "
            f"audio tokens, {cached_image} cached image tokens of {image} image tokens"
        )
    whole = _count(details, "cached_tokens")
    left = whole - cached_text - cached_audio - cached_image
    if left < 0 and "cached_tokens" in details:
        raise ImpossibleUsage(f"cached_tokens {whole} are less than their parts {dict(split)}")
    if left > 0:
        more_text = min(left, text - cached_text)
        more_audio = min(left - more_text, audio - cached_audio)
        more_image = left - more_text - more_audio
        if more_image > image - cached_image:
            raise ImpossibleUsage(f"cached_tokens {whole} of {text + audio + image} input tokens")
        return cached_text + more_text, cached_audio + more_audio, cached_image + more_image
    return cached_text, cached_audio, cached_image


def _split_output(units: Units, counts: Counts, total_name: str, details_name: str, rest: str = "text") -> None:
    details = _details(counts, details_name)
    text, audio = _count(details, "text_tokens"), _count(details, "audio_tokens")
    reasoning = _count(details, "reasoning_tokens")
    left = _left(counts, total_name, text + audio)
    if rest == "text":
        text += left
    else:
        audio += left
    if reasoning > text:
        raise ImpossibleUsage(f"reasoning_tokens {reasoning} of {text} output text tokens")
    if text != reasoning:
        units["output_text"] = text - reasoning
    if audio:
        units["output_audio"] = audio
    if reasoning:
        units["output_reasoning"] = reasoning


def _as_openai_counts(counts: Counts, names: _Names) -> Counts:
    """The same as OpenAI would tell it, each part inside its whole.

    - Cached tokens beside the prompt's details: Moonshot's `cached_tokens`, DeepSeek's `prompt_cache_hit_tokens`.
    - Anthropic's input is neither what was read from its cache nor what was written to it; they are added. Gateways
      tell the same counts as parts of the prompt: the total says which (`_stands_beside`).
    - What only the total holds beyond a prompt and an output was thought: Grok tells it as reasoning, Google not at
      all. It is billed as output. Where one of the two is not told (embeddings), nobody knows what the rest was.

    Sources: API references of Moonshot (platform.kimi.ai/docs/api/chat), DeepSeek ("create chat completion") and
    Anthropic ("total input tokens in a request is the summation of `input_tokens`, `cache_creation_input_tokens`, and
    `cache_read_input_tokens`"); "Reasoning for Grok Models", Vertex AI; answers of Google's endpoint, 2026-02
    (discuss.ai.google.dev, 127400), and ai.google.dev: output prices include thinking tokens.
    """
    whole, made = _count(counts, names.input), _count(counts, names.output)
    read, written = _count(counts, "cache_read_input_tokens"), _count(counts, "cache_creation_input_tokens")
    beside = _count(counts, "total_tokens") - whole - made
    details = _details(counts, names.input_details)
    if read or written:
        added = read + written if _stands_beside(counts, names, read + written) else 0
        read, written = read or _count(details, "cached_tokens"), written or _count(details, "cache_write_tokens")
        details = {**details, "cached_tokens": read, "cache_write_tokens": written}
        counts = {**counts, names.input: whole + added, names.input_details: details}
        beside -= added
    elif cached := _count(counts, "cached_tokens") or _count(counts, "prompt_cache_hit_tokens"):
        details = {**details, "cached_tokens": _count(details, "cached_tokens") or cached}
        counts = {**counts, names.input_details: details}
    if beside <= 0 or counts.get(names.input) is None or names.output not in counts:
        return counts
    return _with_thoughts(counts, names, made, beside)


def _stands_beside(counts: Counts, names: _Names, cached: int) -> bool:
    """Whether cached tokens are told beside the prompt: by the total, or, without one, by whose names these are.

    More of them than of the prompt cannot be inside it, whatever a total says that was summed without them.
    """
    whole, total = _count(counts, names.input), _count(counts, "total_tokens")
    if cached > whole:
        return True
    if total:
        return total - whole - _count(counts, names.output) == cached
    return names is _RESPONSE and not _details(counts, names.input_details)


def _with_thoughts(counts: Counts, names: _Names, made: int, beside: int) -> Counts:
    """With what only the total holds; reasoning that is told already is either just that, or inside the output."""
    details = _details(counts, names.output_details)
    told = _count(details, "reasoning_tokens")
    details = {**details, "reasoning_tokens": told if told == beside else told + beside}
    return {**counts, names.output: made + beside, names.output_details: details}


def _left(counts: Counts, name: str, parts: int) -> int:
    """What a whole holds beyond its parts; without a whole, nothing."""
    if name not in counts:
        return 0
    left = _count(counts, name) - parts
    if left < 0:
        raise ImpossibleUsage(f"{name} {counts[name]} is less than its parts, {parts}")
    return left


def _count(counts: Counts, name: str) -> int:
    value = counts.get(name, 0)
    # The usual case is on a call's path and is decided here; all others are read, or refused, in one place.
    return value if type(value) is int and 0 <= value <= LARGEST else quantity_of(name, value)


def _details(counts: Counts, name: str) -> Counts:
    return _mapping(name, counts.get(name))


def _milliseconds(seconds: object) -> int:
    if isinstance(seconds, float):
        if not 0 <= seconds <= MOST_SECONDS:  # also refuses NaN
            raise ImpossibleUsage(f"seconds is {seconds:.6g}; expected 0 to {MOST_SECONDS}")
        return round(seconds * 1000)
    return quantity_of("seconds", seconds, MOST_SECONDS) * 1000


def _mapping(name: str, value: object) -> Counts:
    if type(value) is dict:
        return value
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        raise ImpossibleUsage(f"{name} is a {type(value).__name__}; expected an object")
    return value
