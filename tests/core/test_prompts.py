"""What a prompt amounts to, beside figures that OpenAI has published."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from livekit_tokens.core.prompts import embedded, image_tokens, prompt_of, typescript
from livekit_tokens.core.vocabulary import count_tokens

Messages = list[dict[str, Any]]

JARGON: Messages = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates "
        "corporate jargon into plain English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base "
        "on opportunities for increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
WEATHER: Messages = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
WEATHER_TOOL: dict[str, Any] = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}


def tokens(model: str = "gpt-4o", **body: Any) -> int:
    return prompt_of(body, model, lambda text: count_tokens(text, model)).tokens


@pytest.mark.parametrize(("model", "billed"), [("gpt-4o", 124), ("gpt-4o-mini", 124), ("gpt-4", 129)])
def test_messages_count_as_the_api_says(model: str, billed: int) -> None:
    """OpenAI's cookbook prints what the API counted for these messages."""
    assert tokens(model, messages=JARGON) == billed


@pytest.mark.parametrize(("model", "billed"), [("gpt-4o", 101), ("gpt-4o-mini", 101), ("gpt-4", 105)])
def test_tools_count_as_the_api_says(model: str, billed: int) -> None:
    """The same, with a tool."""
    assert tokens(model, messages=WEATHER, tools=[{"type": "function", "function": WEATHER_TOOL}]) == billed


def test_a_response_counts_as_the_same_chat_does() -> None:
    """Instructions are a message, input items are messages, and tools are said flat."""
    system, user = WEATHER
    told = [{"role": "user", "content": [{"type": "input_text", "text": user["content"]}]}]
    flat = [{"type": "function", **WEATHER_TOOL}]
    chat = tokens(messages=WEATHER, tools=[{"type": "function", "function": WEATHER_TOOL}])
    assert tokens(instructions=system["content"], input=told, tools=flat) == chat
    assert tokens(instructions=system["content"], input=user["content"], tools=flat) == chat


def test_calls_and_what_they_gave_count() -> None:
    function = {"name": "look_up", "arguments": '{"city":"Paris"}'}
    chat: Messages = [
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]},
        {"role": "tool", "content": "sunny"},
    ]
    items = [{"type": "function_call", **function}, {"type": "function_call_output", "output": "sunny"}]
    call = 8 + sum(count_tokens(part, "gpt-4o") for part in function.values())
    assert tokens(messages=chat) == tokens(input=items) == 2 * 4 + call + count_tokens("sunny", "gpt-4o") + 3
    assert tokens(messages=[{**chat[0], "tool_calls": chat[0]["tool_calls"] * 2}]) == 4 + 2 * call + 12 + 3


def test_the_schema_of_an_answer_counts() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    assert tokens(messages=WEATHER, response_format=schema) > tokens(messages=WEATHER)
    assert tokens(messages=WEATHER, response_format={"type": "text"}) == tokens(messages=WEATHER)


def test_prompts_that_are_framed_otherwise_are_told_apart() -> None:
    """A bill of one with tools says nothing of one without."""

    def frame(**body: Any) -> int:
        return prompt_of({"messages": WEATHER, **body}, "gpt-4o", len).frame

    assert frame() == 0
    assert frame(tools=[WEATHER_TOOL]) == frame(tools=[WEATHER_TOOL]) != frame(tools=[WEATHER_TOOL] * 2)


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4)
    return "data:image/png;base64," + base64.b64encode(head).decode()


@pytest.mark.parametrize(
    ("image", "model", "billed"),
    [
        ({"url": png(1024, 1024)}, "gpt-4o", 765),
        ({"url": png(2048, 4096)}, "gpt-4o", 1105),
        ({"url": png(4096, 8192), "detail": "low"}, "gpt-4o", 85),
        ({"url": png(1024, 1024)}, "gpt-4.1-mini", round(1024 * 1.62)),
        ({"url": "https://example.com/cat.jpg"}, "gpt-4o", 765),
    ],
)
def test_images_count_by_their_size(image: dict[str, Any], model: str, billed: int) -> None:
    """The examples of OpenAI's guide; an address alone is taken for a picture of the usual size."""
    assert image_tokens(image, model) == billed


def test_an_embeddings_input_is_texts_or_tokens() -> None:
    assert embedded("one two", lambda text: len(text.split())) == 2
    assert embedded(["one two", "three"], lambda text: len(text.split())) == 3
    assert embedded([[1, 2, 3], [4]], len) == 4
    assert embedded([1, 2, 3], len) == 3


def test_tools_are_counted_as_signatures() -> None:
    nested = {"type": "object", "properties": {"at": {"type": "array", "items": {"type": "number"}}}}
    function = {"name": "go", "parameters": {"type": "object", "properties": {"to": nested, "why": {}}}}
    assert typescript([{"function": function}, {"name": "stop"}]).splitlines()[6:14] == [
        "type go = (_: {",
        "to?: {",
        "at?: number[],",
        "},",
        "why?: any,",
        "}) => any;",
        "",
        "type stop = () => any;",
    ]


def test_odd_bodies_are_counted_as_far_as_they_make_sense() -> None:
    for body in ({}, {"messages": None}, {"messages": [None, 7, "x", {"content": [None, {}, {"text": 1}]}]}):
        assert prompt_of(body, "gpt-4o", len).tokens >= 0


def test_an_image_is_known_again_by_its_length_and_its_ends() -> None:
    """Writing the megabytes of base64 in each turn's body would hold up the interpreter, and with it the call."""
    image = "data:image/png;base64," + "iVBORw0KGgo" * 10_000

    def mark(url: str) -> int:
        said = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
        return prompt_of({"messages": [said]}, "gpt-4o", len).beginnings[0].mark

    within = f"{image[:50_000]}A{image[50_001:]}"
    assert mark(image) == mark(within)
    assert len({mark(image), mark(f"{image}="), mark(f"{image[:-1]}="), mark(image.replace("png", "gif"))}) == 4
