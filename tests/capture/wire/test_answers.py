"""Bodies of answers, whole and cut off anywhere: the usage, and counts of what had come."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.capture.wire import sound
from livekit_tokens.capture.wire.answers import Pace, Reading
from livekit_tokens.capture.wire.outcome import pace_of
from livekit_tokens.capture.wire.requests import Kind
from tests.capture.wire.conftest import wav

SSE, JSON = "text/event-stream; charset=utf-8", "application/json"


def words(text: str) -> int:
    return len(text.split())


def read(kind: Kind, media: str, body: bytes, encoding: str = "", piece: int = 7) -> Reading:
    """A body as it comes from a socket, in pieces that know nothing of lines."""
    reading = Reading(kind, media, encoding, words)
    for at in range(0, len(body), piece):
        reading.feed(body[at : at + piece])
    reading.close()
    return reading


def events(*told: Any) -> bytes:
    return b"".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode() for one in told)


def chunk(usage: dict[str, int] | None = None, **delta: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": None}] if delta else []
    return {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": choices, "usage": usage}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
STREAM = events(chunk(content="one "), chunk(content="two "), chunk(content="three"), chunk(USAGE), "[DONE]")


def test_a_streams_usage_id_and_model_are_read() -> None:
    reading = read("chat", SSE, STREAM)
    assert (reading.usage, reading.request_id, reading.model) == (USAGE, "chatcmpl-1", "gpt-4o-2024-08-06")
    assert (reading.tokens, reading.finished) == (3, True)


def test_what_is_read_all_at_once_shows_no_pace() -> None:
    """As after a stall of the host: a cut a millisecond later must not count hundreds of words as on their way."""
    reading = read("chat", SSE, STREAM)
    assert pace_of(reading, 2.0, None).tokens == pytest.approx(2.5 / 2.0)
    assert pace_of(reading, 0.001, None) == pace_of(reading, 0.2, None) == Pace(pytest.approx(2.5 / 0.2), 0.0)
    assert pace_of(reading, 0.001, Pace(40.0, 0.0)) == Pace(40.0, 0.0)


def test_reasoning_that_is_streamed_is_output_whatever_it_is_called() -> None:
    """Providers that show it bill it as output; one that has both names says the same by both."""
    told = chunk(reasoning_content="a b "), chunk(reasoning="c "), chunk(reasoning="d ", reasoning_content="d ")
    assert read("chat", SSE, events(*told, chunk(content="e"))).tokens == 5


def test_usage_before_the_end_of_an_answer_is_no_bill() -> None:
    """Some servers tell it with every piece, or put zeros where they have not counted yet."""
    early = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    stream = events(chunk(early, content="one "), chunk(content="two "), chunk(zeros, content="three"))
    cut = read("chat", SSE, stream)
    assert (cut.usage, cut.so_far, cut.tokens) == (None, early, 3)
    assert read("chat", SSE, stream + events("[DONE]")).usage == early
    ended = {**chunk(USAGE), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert read("chat", SSE, stream + events(ended)).usage == USAGE
    assert read("chat", SSE, stream + events(chunk(USAGE))).usage == USAGE


@given(st.integers(0, len(STREAM)), st.integers(1, 64))
def test_a_stream_cut_anywhere_holds_what_had_come(cut: int, piece: int) -> None:
    """However the socket cuts it up: each whole event counts, half of one does not."""
    reading = read("chat", SSE, STREAM[:cut], piece=piece)
    whole = STREAM[:cut].count(b"}\n") + (STREAM[:cut].endswith(b"}") and STREAM[cut : cut + 1] == b"\n")
    assert reading.tokens == min(3, whole)
    assert (reading.usage is not None) == (whole >= 4)


@given(st.integers(0, 200))
def test_a_compressed_stream_cut_anywhere_never_raises(cut: int) -> None:
    body = gzip.compress(STREAM)
    reading = read("chat", SSE, body[:cut], "gzip")
    assert reading.tokens <= 3
    assert reading.usage is not None or cut < len(body)


def test_a_call_of_a_tool_counts_as_output() -> None:
    call = {"index": 0, "function": {"name": "look_up", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"city": "Paris"}'}}
    reading = read("chat", SSE, events(chunk(tool_calls=[call]), chunk(tool_calls=[more])))
    assert reading.tokens == 8 + words('look_up{"city": "Paris"}')


def test_an_error_within_a_stream_is_told_by_its_class_alone() -> None:
    reading = read("chat", SSE, events({"error": {"type": "server_error", "message": "the caller said"}}))
    assert (reading.error, reading.tokens, reading.begun) == ("server_error", 0, False)


def test_a_responses_events_are_read() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2}
    body = events(
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4.1", "usage": None}},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "go"}},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.output_text.delta", "delta": "one two"},
        {"type": "response.output_text.done", "text": "one two"},
        {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}},
    )
    reading = read("responses", SSE, body)
    assert (reading.usage, reading.request_id, reading.finished) == (usage, "resp_1", True)
    assert reading.tokens == 8 + words("go{}one two")
    cut = read("responses", SSE, body[: body.index(b'{"type": "response.completed"')])
    assert (cut.usage, cut.request_id, cut.finished) == (None, "resp_1", False)


def test_a_response_that_failed_tells_its_class() -> None:
    failed = {"type": "response.failed", "response": {"id": "r", "usage": None, "error": {"code": "rate_limit"}}}
    reading = read("responses", SSE, events(failed))
    assert (reading.error, reading.finished) == ("rate_limit", True)


def test_speech_as_events_is_measured_and_its_usage_read() -> None:
    piece = base64.b64encode(bytes(48_000)).decode()
    usage = {"input_tokens": 4, "output_tokens": 20}
    body = events({"type": "speech.audio.delta", "audio": piece}, {"type": "speech.audio.done", "usage": usage})
    reading = Reading("speech", SSE, "", words, "pcm")
    reading.feed(body)
    assert (reading.usage, reading.audio_ms) == (usage, 1000)


def test_a_whole_answer_is_read_and_only_looked_through_if_it_has_no_usage() -> None:
    message = {"role": "assistant", "content": "one two", "tool_calls": [{"function": {"name": "f", "arguments": "a"}}]}
    answer = {"id": "c", "model": "m", "choices": [{"message": message}]}
    assert read("chat", JSON, json.dumps(answer).encode()).tokens == 8 + words("one twofa")
    told = read("chat", JSON, json.dumps(answer | {"usage": USAGE}).encode())
    assert (told.usage, told.request_id, told.tokens) == (USAGE, "c", 0)


def test_a_transcript_is_counted_as_json_and_as_text() -> None:
    usage = {"type": "duration", "seconds": 3}
    body = json.dumps({"text": "one two three", "usage": usage}).encode()
    reading = read("transcription", JSON, body)
    assert (reading.usage, reading.tokens) == (usage, 3)
    verbose = json.dumps({"text": "one two three", "duration": 8.47, "segments": []}).encode()
    assert read("transcription", JSON, verbose).usage == {"type": "duration", "seconds": 8.47}
    assert read("transcription", "text/plain", b"one two three\n").tokens == 3
    stream = events(
        {"type": "transcript.text.delta", "delta": "one "}, {"type": "transcript.text.done", "text": "one "}
    )
    assert read("transcription", SSE, stream).tokens == 1


@given(st.integers(0, 400))
def test_a_whole_answer_cut_anywhere_never_raises(cut: int) -> None:
    body = json.dumps({"object": "list", "data": [{"embedding": "AAAA" * 60}], "usage": USAGE}).encode()
    reading = read("embedding", JSON, body[:cut])
    assert (reading.usage is not None) == (cut >= len(body) - 1)


def test_an_unknown_compression_is_said() -> None:
    with pytest.raises(LookupError):
        Reading("chat", SSE, "snappy", words)


def test_an_endless_stream_takes_no_more_memory_than_a_long_one() -> None:
    """What is counted is let go: 64 MB pass through."""
    piece = events(*[chunk(content=" word and another one")] * 512)
    reading = Reading("chat", SSE, "", words)
    reading.feed(piece)
    assert reading.tokens == 2048
    tracemalloc.start()
    fed = 0
    while fed < 64_000_000:
        reading.feed(piece)
        fed += len(piece)
        assert reading.tokens
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_endless_audio_is_only_measured() -> None:
    reading = Reading("speech", "audio/pcm", "", words)
    tracemalloc.start()
    for _ in range(1000):
        reading.feed(bytes(48_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reading.audio_ms, peak < 200_000) == (1_000_000, True)


def mp3(milliseconds: int, kbits: int = 160) -> bytes:
    """MPEG-2, layer III, 24 kHz mono, as OpenAI's voices are."""
    index = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160).index(kbits)
    head = bytes((0xFF, 0xF3, index << 4 | 0x4, 0xC4))
    return head + bytes(kbits * milliseconds // 8 - 4)


@pytest.mark.parametrize(
    ("body", "media", "expected"),
    [
        (wav(1.5), "audio/wav", 1500),
        (bytes(72_000), "audio/pcm", 1500),
        (mp3(1500), "audio/mpeg", 1500),
        (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + mp3(1500), "audio/mpeg", 1500),
        (b"OggS" + bytes(100), "audio/opus", None),
        (b"fLaC" + bytes(100), "audio/flac", None),
        (struct.pack("<4sI4s", b"RIFF", 4, b"WAVE"), "audio/wav", None),
        (b"", "audio/mpeg", None),
    ],
)
def test_audio_is_as_long_as_its_header_says(body: bytes, media: str, expected: int | None) -> None:
    assert sound.milliseconds(body[: sound.HEAD_BYTES], len(body), media) == expected


SEARCHED = [
    {"type": "web_search_call", "action": {"type": "search", "query": "what was asked"}},
    {"type": "web_search_call", "action": {"type": "open_page", "url": "https://a.example"}},
    {"type": "web_search_call", "status": "completed"},
    {"type": "file_search_call", "queries": ["what was asked"]},
    {"type": "image_generation_call", "result": "aGVsbG8="},
    {"type": "message", "content": [{"type": "output_text", "text": "hi"}]},
    {"type": "function_call", "name": "f", "arguments": "{}"},
]
CALLS = {"web_search_calls": 2, "file_search_calls": 1, "image_generation_calls": 1}
ANSWER = {"id": "resp_1", "status": "completed", "output": SEARCHED, "usage": {"input_tokens": 7, "output_tokens": 3}}


def test_calls_of_hosted_tools_are_counted() -> None:
    """Searches of the web, not the pages that were opened after them; nothing of what they were about."""
    assert read("responses", JSON, json.dumps(ANSWER).encode()).calls == CALLS
    for foreign in ({"a": 1}, ["text"], "text", [None]):
        assert not read("responses", JSON, json.dumps(ANSWER | {"output": foreign}).encode()).calls


@pytest.mark.parametrize("ended", [True, False])
def test_calls_of_hosted_tools_are_counted_as_they_come(ended: bool) -> None:
    """A stream that was cut off has made them, too; a picture's own item may be too long to be read."""
    done = [{"type": "response.output_item.done", "item": item} for item in SEARCHED]
    picture = {"type": "response.image_generation_call.completed", "item_id": "ig_1"}
    end = [{"type": "response.completed", "response": ANSWER}] if ended else []
    assert read("responses", SSE, events(*done, picture, *end)).calls == CALLS
