"""A recorded turn of gpt-realtime, and what it was billed: $0.0042616."""

from __future__ import annotations

from typing import Any

GOLDEN: dict[str, Any] = {
    "total_tokens": 200,
    "input_tokens": 139,
    "output_tokens": 61,
    "input_token_details": {
        "text_tokens": 43,
        "audio_tokens": 96,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 64},
    },
    "output_token_details": {"text_tokens": 18, "audio_tokens": 43},
}
"""139 tokens in, of which 96 audio and 64 cached, all of them audio; 61 out, of which 43 audio."""
