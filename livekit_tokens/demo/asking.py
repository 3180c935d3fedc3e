"""What clients ask of the stand-in provider, read: a session's configuration, items, a tool's arguments."""

from __future__ import annotations

import base64
from collections.abc import Callable

from livekit_tokens.demo import bill as b
from livekit_tokens.demo.bill import Json, Tokens
from livekit_tokens.demo.hearing import BYTES_PER_MS


def default_config(model: str) -> Json:
    turns = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    return {
        "object": "realtime.session",
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "audio": {"input": {"turn_detection": turns, "transcription": None}, "output": {}},
    }


def merge(old: Json, new: Json) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict) and name in ("audio", "input", "output"):
            merge(old[name], value)
        else:
            old[name] = value


def given(params: Json) -> Json:
    return {name: value for name, value in params.items() if value is not None}


def item_tokens(item: Json, count: Callable[[str], int], frames: b.Frames) -> Tokens:
    texts = [item.get(name) or "" for name in ("name", "arguments", "output")]
    tokens = Tokens(text=frames.item + sum(map(count, texts)))
    for part in item.get("content") or []:
        audio_ms = len(base64.b64decode(part.get("audio") or "")) // BYTES_PER_MS
        image = frames.image if part["type"] == "input_image" else 0
        tokens += Tokens(count(part.get("text") or ""), b.heard(audio_ms, frames).audio, image)
    return tokens


def trimming(truncation: Json | str | None) -> tuple[int, float] | None:
    """The session's own `truncation`, where it says more than `auto`."""
    if not isinstance(truncation, dict):
        return None
    return truncation["token_limits"]["post_instructions"], truncation["retention_ratio"]


def arguments(tool: Json) -> Json:
    """Arguments that satisfy the tool's schema, as far as types go."""
    samples: Json = {"string": "Thursday", "integer": 3, "number": 1.5, "boolean": True, "array": [], "object": {}}
    properties: Json = (tool.get("parameters") or {}).get("properties", {})
    return {name: samples.get(schema.get("type", "string")) for name, schema in properties.items()}
