"""Which requests are billable, and what of their bodies is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from livekit_tokens.capture.wire.requests import Asked, endpoint_of, read_form, read_json
from tests.capture.wire.conftest import wav


class Field:
    """A field of a form, as httpx has it."""

    def __init__(self, name: str, **content: Any) -> None:
        self.name = name
        self.__dict__.update(content)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/chat/completions", "chat_completion"),
        ("/openai/deployments/ours/chat/completions", "chat_completion"),
        ("/openai/v1/responses", "chat_completion"),
        ("/v1/audio/transcriptions", "transcription"),
        ("/v1/audio/translations", "transcription"),
        ("/v1/audio/speech", "speech"),
        ("/v1/embeddings", "embedding"),
        ("/v1/completions", "text_generation"),
        ("/v1/responses/compact", "compaction"),
        ("/v1/images/generations", "image_generation"),
        ("/v1/models", None),
        ("/v1/moderations", None),
        ("/v1/responses/resp_1/cancel", None),
        ("/v1/chat/completions/chatcmpl-1", None),
    ],
)
def test_what_is_billed_is_known_by_its_path(path: str, operation: str | None) -> None:
    endpoint = endpoint_of(path.encode())
    assert (None if endpoint is None else endpoint.operation) == operation


def asked(path: str, body: Any) -> Asked | None:
    endpoint = endpoint_of(path.encode())
    assert endpoint is not None
    return read_json(endpoint, path, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_model_messages_and_tools_are_read() -> None:
    told = asked("/v1/chat/completions", {"messages": [{}, {}], "tools": [{}], "model": "gpt-4o"})
    assert told is not None
    assert (told.model, told.counts) == ("gpt-4o", {"messages_count": 2, "tools_count": 1})
    for given, count in (("Hello", 1), ([{}, {}, {}], 3)):
        told = asked("/v1/responses", {"input": given, "model": "gpt-4.1"})
        assert told is not None
        assert told.counts == {"messages_count": count}


def test_the_format_of_a_spoken_answer_is_read() -> None:
    """By it the length of its audio is known, where it is cut off."""
    spoken: Any = {"model": "gpt-4o-audio-preview", "messages": [{}]}
    told = asked("/v1/chat/completions", spoken | {"audio": {"format": "pcm16"}})
    assert told is not None
    assert told.media == "pcm16"
    for audio in (None, {}, "pcm16"):
        told = asked("/v1/chat/completions", spoken | {"audio": audio})
        assert told is not None
        assert told.media == ""


def test_of_a_text_to_be_spoken_its_length_is_kept() -> None:
    told = asked("/v1/audio/speech", {"input": "Grüß Gott", "model": "tts-1", "response_format": "pcm"})
    assert told is not None
    assert (told.characters, told.media, told.counts) == (9, "pcm", {})


def test_a_deployment_stands_in_the_path_where_no_model_is_named() -> None:
    told = asked("/openai/deployments/ours/embeddings", {"input": "x"})
    assert told is not None
    assert told.model == "ours"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', {"input": "x"}, {"model": 7}, {"model": None}])
def test_what_names_no_model_is_not_of_this_protocol(body: Any) -> None:
    """An app's own `/responses` is nobody's bill."""
    assert asked("/forms/7/responses", body) is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/surveys/7/responses", {"answer": "yes"}),
        ("/v1/responses", {"messages": []}),
        ("/v1/chat/completions", {"input": "x"}),
        ("/v1/embeddings", {"texts": ["x"]}),
        ("/v1/audio/speech", {"text": "x"}),
    ],
)
def test_what_asks_for_nothing_of_this_protocol_is_not_of_it(path: str, body: Any) -> None:
    """Whatever else it calls its `model`."""
    assert asked(path, {"model": "T3"} | body) is None


@pytest.mark.parametrize("field", ["input", "prompt", "previous_response_id", "conversation"])
def test_a_response_may_be_asked_for_without_an_input_of_its_own(field: str) -> None:
    assert asked("/v1/responses", {"model": "gpt-4.1", field: "x"}) is not None


def test_a_form_tells_model_and_length_of_its_audio() -> None:
    endpoint = endpoint_of(b"/v1/audio/transcriptions")
    assert endpoint is not None
    told = read_form(endpoint, "", [Field("model", value="whisper-1"), Field("file", file=wav(1.25))])
    assert told is not None
    assert (told.model, told.audio_ms) == ("whisper-1", 1250)
    assert read_form(endpoint, "", [Field("model", value=b"whisper-1"), Field("file", file=object())]) is not None
    assert read_form(endpoint, "", [Field("prompt", value="x")]) is None
