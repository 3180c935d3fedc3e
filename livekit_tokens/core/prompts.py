"""What a chat's or a response's prompt amounts to in tokens, from its body. Pure; every constant names its source.

The body is counted and dropped: what is kept of it are numbers.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Count = Callable[[str], int]
Body = Mapping[str, Any]

# OpenAI's cookbook, "How to count tokens with tiktoken": a message has 3 tokens and its role, 1 more with a name; 3
# begin the answer, as recorded (2026-11; facts of this project) 2 for models that reason.
MESSAGE_FRAMING, NAME_FRAMING, ANSWER_FRAMING, REASONED_ANSWER_FRAMING = 4, 1, 3, 2
# Recorded OpenAI traffic (55 requests, 2026-11; facts of this project): tools as TypeScript signatures come within 2.1%
# (median) with one token less, 8 for each call in the history beside its name and arguments, 12 for parallel ones.
TOOLS_BASE, TOOL_CALL_FRAMING, PARALLEL_CALLS_FRAMING = -1, 8, 12
# OpenAI's guide "Images and vision": a tile model bills a base and 512-pixel tiles, a patch model 32-pixel patches.
_TILES = {"gpt-4o-mini": (2833, 5667), "o1": (75, 150), "o3": (75, 150), "gpt-5": (70, 140)}
_PATCHES = {
    "gpt-4.1-mini": 1.62,
    "gpt-4.1-nano": 2.46,
    "gpt-5-mini": 1.62,
    "gpt-5-nano": 2.46,
    "o4-mini": 1.72,
}
_REASONING = re.compile(r"o\d|gpt-[5-9]")
_USUAL_TILES = (85, 170)
_MOST_PATCHES = 1536
_USUAL_SIZE = (1024, 1024)
"""Of an image that is only named by its address."""
_LONG_DATA, _ENDS = 1 << 16, 1 << 11
"""Characters of what is surely an image or sound, and of its beginning and end that it is known by."""


class Beginning(NamedTuple):
    """A prompt up to the end of one of its messages: what it is told by, and its tokens."""

    mark: int
    tokens: int


class Prompt(NamedTuple):
    """Tokens of a prompt, and what tells prompts apart that are framed differently: a hash of tools and schemas."""

    tokens: int
    frame: int
    previous: str | None = None
    """The response that this one goes on from: its conversation is billed again, and is not in the body."""
    beginnings: tuple[Beginning, ...] = ()
    """By which a later prompt that begins the same is known: providers serve that part from their cache."""

    @property
    def mark(self) -> int:
        """What the whole of it is told by."""
        return self.beginnings[-1].mark if self.beginnings else 0


def prompt_of(body: Body, model: str, count: Count) -> Prompt:
    """The prompt of a chat completion (`messages`) or of a response (`input`)."""
    messages = body.get("messages")
    items = messages if messages is not None else body.get("input")
    items = [{"content": items}] if isinstance(items, str) else _list(items)
    tools, schema = _list(body.get("tools")), _schema_of(body)
    # Chat completions and responses are framed by themselves, and need not share a cache.
    frame = _mark([tools, schema, messages is None]) if tools or schema or messages is None else 0
    tokens = 0
    if isinstance(instructions := body.get("instructions"), str):
        tokens += MESSAGE_FRAMING + count(instructions)
    if tools:
        tokens += count(typescript(tools)) + TOOLS_BASE
    if schema is not None:
        tokens += count(json.dumps(schema, separators=(",", ":")))
    beginnings, mark = [], _mark(instructions, frame)
    for item in items:
        tokens += _item(item, model, count)
        mark = _mark(item, mark)
        beginnings.append(Beginning(mark, tokens))
    tokens += REASONED_ANSWER_FRAMING if reasons(model) else ANSWER_FRAMING
    previous = body.get("previous_response_id")
    return Prompt(max(0, tokens), frame, previous if isinstance(previous, str) else None, tuple(beginnings))


def _mark(said: object, before: int = 0) -> int:
    return zlib.crc32(json.dumps(_brief(said), default=str).encode(), before)


def _brief(said: object) -> object:
    """What is said, with the data of images and sound by its length and ends: writing megabytes holds up a call."""
    if isinstance(said, dict):
        return {name: _brief(value) for name, value in said.items()}
    if isinstance(said, list):
        return [_brief(value) for value in said]
    if isinstance(said, str) and len(said) > _LONG_DATA:
        return [len(said), said[:_ENDS], said[-_ENDS:]]
    return said


def reasons(model: str) -> bool:
    """Whether a model of OpenAI's thinks before it answers, which nobody sees and is billed."""
    return _REASONING.match(model.rpartition("/")[2]) is not None


def embedded(given: object, count: Count) -> int:
    """Tokens of what is to be embedded, or to be completed: texts, or tokens already."""
    texts = given if isinstance(given, list) else [given]
    if texts and isinstance(texts[0], int):
        return len(texts)
    return sum(count(text) if isinstance(text, str) else len(_list(text)) for text in texts)


def _item(item: Any, model: str, count: Count) -> int:
    """A message of a chat, or an input item of a response: a message, a call, or what a call gave."""
    if isinstance(item, int):
        return 1
    if not isinstance(item, Mapping):
        return count(item) if isinstance(item, str) else 0
    tokens = MESSAGE_FRAMING + _content(item.get("content"), model, count)
    if isinstance(name := item.get("name"), str) and "arguments" not in item:
        tokens += NAME_FRAMING + count(name)
    if isinstance(output := item.get("output"), str):
        tokens += count(output)
    calls = _list(item.get("tool_calls")) or ([{"function": item}] if "arguments" in item else [])
    for call in calls:
        function = call.get("function") or {}
        tokens += TOOL_CALL_FRAMING + count(str(function.get("name", ""))) + count(str(function.get("arguments", "")))
    return tokens + (PARALLEL_CALLS_FRAMING if len(calls) > 1 else 0)


def _content(content: Any, model: str, count: Count) -> int:
    if isinstance(content, str):
        return count(content)
    tokens = 0
    for part in _list(content):
        if not isinstance(part, Mapping):
            continue
        if isinstance(text := part.get("text") or part.get("refusal"), str):
            tokens += count(text)
        elif (image := part.get("image_url")) is not None:
            tokens += image_tokens(image if isinstance(image, Mapping) else {"url": image, **part}, model)
        elif isinstance(audio := part.get("input_audio"), Mapping):
            tokens += _audio_tokens(audio)
    return tokens


def _audio_tokens(audio: Body) -> int:
    # 24 kHz pcm16 as base64, and one token per 100 ms: the same as a realtime conversation's (`estimates.py`).
    return len(str(audio.get("data", ""))) * 3 // 4 // 4800


# -- tools ------------------------------------------------------------------------------------------------------------


def typescript(tools: list[Any]) -> str:
    """Tools as the signatures that the model is given.

    The form is known from what models repeat; measured closer than a constant a tool (5.3% against 12.7%).
    """
    lines = ["# Tools", "", "## functions", "", "namespace functions {", ""]
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        if not isinstance(name := function.get("name"), str):
            continue
        lines += [f"// {line}" for line in str(function.get("description") or "").splitlines()]
        properties = _mapping(function.get("parameters")).get("properties")
        if properties:
            lines += [f"type {name} = (_: {{", *_properties(function["parameters"]), "}) => any;", ""]
        else:
            lines += [f"type {name} = () => any;", ""]
    return "\n".join([*lines, "} // namespace functions"])


def _properties(schema: Body) -> Iterator[str]:
    required = _list(schema.get("required"))
    for name, told in _mapping(schema.get("properties")).items():
        inner = _mapping(told)
        yield from (f"// {line}" for line in str(inner.get("description") or "").splitlines())
        yield f"{name}{'' if name in required else '?'}: {_type(inner)},"


def _type(schema: Body) -> str:
    options = [json.dumps(option, ensure_ascii=False) for option in _list(schema.get("enum"))]
    options = options or [_type(_mapping(option)) for option in _list(schema.get("anyOf"))]
    options = options or [str(one) for one in _list(schema.get("type"))]
    if options:
        return " | ".join(options)
    match schema.get("type"):
        case "integer" | "number":
            return "number"
        case "array":
            return f"{_type(_mapping(schema.get('items')))}[]"
        case "object" if schema.get("properties"):
            return "\n".join(["{", *_properties(schema), "}"])
        case str(kind):
            return kind
        case _:
            return "any"


def _schema_of(body: Body) -> object:
    """The schema of a structured answer, which is billed as part of the prompt."""
    asked = _mapping(body.get("response_format") or _mapping(body.get("text")).get("format"))
    if asked.get("type") != "json_schema":
        return None
    return asked.get("json_schema") or {name: asked.get(name) for name in ("name", "schema")}


# -- images -----------------------------------------------------------------------------------------------------------


def image_tokens(image: Body, model: str) -> int:
    """Tokens of an image by its size, and by how the model cuts it up; of an address only the usual size is known."""
    width, height = _size_of(str(image.get("url", ""))) or _USUAL_SIZE
    name = model.rpartition("/")[2]
    for family, factor in _PATCHES.items():
        if name.startswith(family):
            return round(_patches(width, height) * factor)
    base, tile = next((told for family, told in _TILES.items() if name.startswith(family)), _USUAL_TILES)
    return base if image.get("detail") == "low" else base + tile * _tiles(width, height)


def _patches(width: int, height: int) -> int:
    return min(_MOST_PATCHES, -(-width // 32) * -(-height // 32))


def _tiles(width: int, height: int) -> int:
    """Scaled into 2048 x 2048, then its shortest side to 768 at most; in tiles of 512."""
    scale = min(1.0, 2048 / max(width, height, 1))
    scale *= min(1.0, 768 / max(1.0, min(width, height) * scale))
    return -(-round(width * scale) // 512) * -(-round(height * scale) // 512)


def _size_of(url: str) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG in a data URL."""
    if not url.startswith("data:"):
        return None
    try:
        head = base64.b64decode(url.partition(",")[2][:87_380])
    except (binascii.Error, ValueError):
        return None
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    return _jpeg_size(head) if head[:2] == b"\xff\xd8" else None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        if 0xC0 <= head[at + 1] <= 0xCF and head[at + 1] not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9]), int.from_bytes(head[at + 5 : at + 7])
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
