"""Which request is billable, and what of it is counted: pure reading of paths and bodies.

Of a body only the model and counts are taken here; what was said is counted by `core/prompts.py`, and dropped.
Source: OpenAI API reference (paths, bodies), Azure OpenAI reference (`/openai/deployments/NAME/...`, `/openai/v1/...`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

from livekit_tokens.capture.wire import sound
from livekit_tokens.domain.splitting import split_chat_usage, split_speech_usage, split_transcription_usage
from livekit_tokens.domain.units import Units

Kind: TypeAlias = Literal[
    "chat", "completion", "responses", "compaction", "transcription", "speech", "embedding", "image"
]

UNKNOWN_MODEL = "unknown"
_LONGEST_NAME = 200
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of billable request: what it is for, and how its usage is split into units."""

    kind: Kind
    operation: str
    split: Callable[[object], Units]


def _split_nothing(_: object) -> Units:
    """Of what there is no unit for, as pictures that are made: it is recorded as unknown."""
    return {}


_TRANSCRIPTION = Endpoint("transcription", "transcription", split_transcription_usage)
_IMAGE = Endpoint("image", "image_generation", _split_nothing)
RESPONSES = Endpoint("responses", "chat_completion", split_chat_usage)
_ENDPOINTS: Mapping[bytes, tuple[tuple[bytes, Endpoint], ...]] = {
    b"completions": (
        (b"/chat/completions", Endpoint("chat", "chat_completion", split_chat_usage)),
        (b"/completions", Endpoint("completion", "text_generation", split_chat_usage)),
    ),
    b"responses": ((b"/responses", RESPONSES),),
    b"compact": ((b"/responses/compact", Endpoint("compaction", "compaction", split_chat_usage)),),
    b"transcriptions": ((b"/audio/transcriptions", _TRANSCRIPTION),),
    b"translations": ((b"/audio/translations", _TRANSCRIPTION),),
    b"speech": ((b"/audio/speech", Endpoint("speech", "speech", split_speech_usage)),),
    b"embeddings": ((b"/embeddings", Endpoint("embedding", "embedding", split_chat_usage)),),
    b"generations": ((b"/images/generations", _IMAGE),),
    b"edits": ((b"/images/edits", _IMAGE),),
    b"variations": ((b"/images/variations", _IMAGE),),
}
"""By the last part of a path: all that most requests of others are looked at for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, in names and counts."""

    endpoint: Endpoint
    model: str = UNKNOWN_MODEL
    counts: Mapping[str, int] = field(default_factory=dict)
    """`tools_count` and `messages_count`, where the body has them."""
    characters: int = 0
    """Of a text that is to be spoken."""
    media: str = ""
    """The audio format that was asked for."""
    audio_ms: int | None = None
    """Length of the audio to be transcribed, where its header tells."""
    unread: bool = False
    """Its body went past us: of what was sent, only the answer's figures tell."""
    streamed: bool = False
    most_output: int | None = None
    """Tokens that the answer may have at most, where the body says so; those of reasoning are of them."""


@lru_cache(maxsize=256)  # most processes post to a few
def endpoint_of(raw_path: bytes) -> Endpoint | None:
    """What is posted to this path, as it is sent, is billed for this; None where it is not."""
    path = raw_path.partition(b"?")[0]
    for ending, endpoint in _ENDPOINTS.get(path.rpartition(b"/")[2], ()):
        if path.endswith(ending):
            return endpoint
    return None


_ABSENT = msgspec.Raw()


class _Body(msgspec.Struct):
    """The fields of a JSON body that are looked at; the others are skipped unread."""

    model: str | None = None
    messages: list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _ABSENT
    response_format: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    previous_response_id: msgspec.Raw = _ABSENT
    conversation: msgspec.Raw = _ABSENT
    stream: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    max_tokens: object = None

    def asks(self, kind: Kind) -> bool:
        """Whether there is what a request of this kind must have."""
        if kind == "chat":
            return self.messages is not None
        if kind in ("completion", "image"):
            return bool(self.prompt)
        stored = (self.prompt, self.previous_response_id, self.conversation) if kind in _OF_ITEMS else ()
        return any((self.input, *stored))

    @property
    def most_output(self) -> int | None:
        """Source: OpenAI API reference, Chat completions and Responses. Local servers are told -1 for no limit."""
        said = (self.max_completion_tokens, self.max_output_tokens, self.max_tokens)
        return next((most for most in said if type(most) is int and most > 0), None)


_OF_ITEMS = ("responses", "compaction")


_read_body = msgspec.json.Decoder(_Body).decode


def read_json(endpoint: Endpoint, path: str, body: bytes) -> Asked | None:
    """Read a JSON body. None where it names no model, or asks it nothing: it is not a request of this protocol."""
    try:
        told = _read_body(body)
    except msgspec.MsgspecError:
        return None
    model = told.model or _deployment_in(path) or _unnamed(endpoint)
    if not model or not told.asks(endpoint.kind):
        return None
    counts: dict[str, int] = {}
    if told.tools:
        counts["tools_count"] = len(told.tools)
    if endpoint.kind in ("chat", *_OF_ITEMS):
        counts["messages_count"] = _messages(told)
    if endpoint.kind == "speech":
        return Asked(endpoint, model[:_LONGEST_NAME], {}, len(_text(told.input)), _text(told.response_format))
    media = _spoken_format(told.audio) if endpoint.kind == "chat" else ""
    return Asked(
        endpoint,
        model[:_LONGEST_NAME],
        counts,
        media=media,
        streamed=told.stream is True,
        most_output=told.most_output,
    )


def _spoken_format(audio: msgspec.Raw) -> str:
    """Of an answer that is spoken as well: its pieces of audio do not say what is in them."""
    wanted = msgspec.json.decode(audio) if audio else None
    found = wanted.get("format") if isinstance(wanted, dict) else None
    return found if isinstance(found, str) else ""


def _messages(told: _Body) -> int:
    if told.messages is not None:
        return len(told.messages)
    return len(msgspec.json.decode(told.input, type=list[msgspec.Raw])) if bytes(told.input)[:1] == b"[" else 1


def _text(raw: msgspec.Raw) -> str:
    value = msgspec.json.decode(raw) if raw else ""
    return value if isinstance(value, str) else ""


def unread(endpoint: Endpoint, path: str) -> Asked:
    """A request whose body cannot be read without taking it from the request, as an iterator's."""
    return Asked(endpoint, _deployment_in(path) or UNKNOWN_MODEL, unread=True)


def read_form(endpoint: Endpoint, path: str, fields: Iterable[Any]) -> Asked | None:
    """Read a form's fields as httpx has them: `name` with `value`, or with the `file` that is sent.

    A file that is not in memory is left alone: reading it would take it from the request.
    """
    model, audio_ms = _deployment_in(path) or _unnamed(endpoint), None
    for part in fields:
        if part.name == "model" and (value := getattr(part, "value", None)):
            model = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        elif isinstance(content := getattr(part, "file", None), bytes):
            audio_ms = sound.milliseconds(content[: sound.HEAD_BYTES], len(content))
    return Asked(endpoint, model[:_LONGEST_NAME], audio_ms=audio_ms) if model else None


def _unnamed(endpoint: Endpoint) -> str:
    """What a request may be called that names no model: only of pictures it need not be named."""
    return UNKNOWN_MODEL if endpoint.kind == "image" else ""


def _deployment_in(path: str) -> str:
    found = _DEPLOYMENT.search(path)
    return found[1] if found else ""
