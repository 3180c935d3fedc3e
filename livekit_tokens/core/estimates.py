"""Estimates for requests whose figures were cut off. Pure functions; every constant names its source.

An estimate says what it is: its record is marked `estimated` and carries bounds where they can be given.
"""

from __future__ import annotations

from dataclasses import dataclass

from livekit_tokens.domain.units import Units

# Measured against recorded OpenAI Realtime traffic (36 interruptions in flight, 2026-11): a response's output
# is 8 tokens of framing, the transcript's tokens, and one audio token per 50 ms of audio.
OUTPUT_FRAMING = 8
AUDIO_MS_PER_TOKEN = 50
# A caller's committed audio: 5 text tokens of framing and one token per 100 ms. Same source.
ITEM_FRAMING = 5
USER_AUDIO_MS_PER_TOKEN = 100
# Framing of the previous output is not part of the next input. Same source.
OUTPUT_FRAMING_NOT_KEPT = 6
# Bytes of 24 kHz mono pcm16 per millisecond.
PCM16_BYTES_PER_MS = 48
# English prose has 4.0 (technical notes) to 5.0 (a licence) characters an o200k token; only used where the
# vocabulary is not loaded.
CHARACTERS_PER_TOKEN = 4.4

# What was generated ahead of delivery is not known: the model speaks faster than real time, and a cut may
# come when up to this much more than what arrived has been generated and billed.
GENERATED_AHEAD = 2.0
INPUT_MARGIN = 0.15


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a realtime conversation holds before a response: the input that the next response will be billed for.

    `text`, `audio`, `image` are tokens of each modality; `cached_share` is the cached part of the last real input.
    """

    text: int = 0
    audio: int = 0
    image: int = 0
    cached_share: float = 0.0


def conversation_after(units: Units) -> Conversation:
    """The conversation as the last `response.done` left it: its whole input and what it put out."""
    get = units.get
    cached_text, cached_audio = get("cached_input_text", 0), get("cached_input_audio", 0)
    cached_image = get("cached_input_image", 0)
    text, audio = get("input_text", 0) + cached_text, get("input_audio", 0) + cached_audio
    image = get("input_image", 0) + cached_image
    whole = text + audio + image
    return Conversation(
        text + max(0, get("output_text", 0) - OUTPUT_FRAMING_NOT_KEPT),
        audio + get("output_audio", 0),
        image,
        (cached_text + cached_audio + cached_image) / whole if whole else 0.0,
    )


def with_user_audio(conversation: Conversation, milliseconds: int) -> Conversation:
    """The conversation after the caller's audio of that length was committed."""
    return Conversation(
        text=conversation.text + ITEM_FRAMING,
        audio=conversation.audio + milliseconds // USER_AUDIO_MS_PER_TOKEN,
        image=conversation.image,
        cached_share=conversation.cached_share,
    )


def with_text(conversation: Conversation, tokens: int) -> Conversation:
    """The conversation after an item, instructions or tools of that many tokens were added."""
    return Conversation(
        text=conversation.text + ITEM_FRAMING + tokens,
        audio=conversation.audio,
        image=conversation.image,
        cached_share=conversation.cached_share,
    )


def text_tokens(characters: int) -> int:
    """Tokens of a text of which only the length is kept."""
    return round(characters / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Units of a cut-off request, and the bounds that its true figures most likely lie within."""

    units: Units
    low: Units
    high: Units


def cut_response(conversation: Conversation, audio_ms: int, spoken_tokens: int) -> Estimate:
    """A realtime response whose figures never came, from the conversation before it and what arrived of its output:
    milliseconds of audio, and tokens of its transcript, text or arguments.

    The low bound holds no more output than what arrived; the high bound allows for what was generated ahead.
    """
    units = _input_units(conversation)
    arrived = _output_units(audio_ms, spoken_tokens)
    ahead = {name: round(tokens * GENERATED_AHEAD) + OUTPUT_FRAMING for name, tokens in arrived.items()}
    if not arrived:  # created, and nothing had arrived: it may have been thinking, or already speaking
        ahead = {"output_text": 2 * OUTPUT_FRAMING, "output_audio": 1000 // AUDIO_MS_PER_TOKEN}
    return Estimate(
        units={**units, **arrived},
        low={**_scaled(units, 1 - INPUT_MARGIN), **arrived},
        high={**_scaled(units, 1 + INPUT_MARGIN), **ahead},
    )


def _input_units(conversation: Conversation) -> Units:
    units: Units = {}
    for modality in ("text", "audio", "image"):
        tokens: int = getattr(conversation, modality)
        cached = round(tokens * conversation.cached_share)
        if tokens - cached:
            units[f"input_{modality}"] = tokens - cached
        if cached:
            units[f"cached_input_{modality}"] = cached
    return units


def _output_units(audio_ms: int, spoken_tokens: int) -> Units:
    if not audio_ms and not spoken_tokens:
        return {}
    units: Units = {"output_text": OUTPUT_FRAMING + spoken_tokens}
    if audio_ms:
        units["output_audio"] = -(-audio_ms // AUDIO_MS_PER_TOKEN)
    return units


def _scaled(units: Units, factor: float) -> Units:
    return {name: round(quantity * factor) for name, quantity in units.items()}
