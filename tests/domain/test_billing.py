"""What a model that hears or speaks is billed by."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.billing import billed_by, hears, speaks


@pytest.mark.parametrize(
    ("model", "does", "by"),
    [
        ("whisper-1", "hears", "duration"),
        ("groq/whisper-large-v3", "hears", "duration"),
        ("distil-whisper-large-v3-en", "hears", "duration"),
        ("ink-whisper", "hears", "duration"),
        ("gpt-realtime-whisper", "hears", "duration"),
        ("gpt-live-transcribe", "hears", "duration"),
        ("gpt-transcribe", "hears", "duration"),
        ("GPT-4o-transcribe", "hears", "tokens"),
        ("openai/gpt-4o-mini-transcribe-2025-12-15", "hears", "tokens"),
        ("gpt-4o-transcribe-diarize", "hears", "tokens"),
        ("gpt-6-transcribe", "hears", None),
        ("nova-3", None, None),
        ("gpt-4o-mini-tts", "speaks", "tokens"),
        ("openai/gpt-4o-mini-tts-2025-03-20", "speaks", "tokens"),
        ("gemini-2.5-flash-preview-tts", "speaks", "tokens"),
        ("tts-1", "speaks", "characters"),
        ("tts-1-hd", "speaks", "characters"),
        ("inworld-tts-2", "speaks", None),
        ("sonic-3", None, None),
        ("gpt-4o", None, None),
        ("gpt-realtime", None, None),
        ("", None, None),
    ],
)
def test_a_models_name_tells_what_it_does_and_what_it_is_billed_by(
    model: str, does: str | None, by: str | None
) -> None:
    """By the price pages; what is not known is not guessed."""
    assert ("hears" if hears(model) else "speaks" if speaks(model) else None) == does
    assert billed_by(model) == by
