"""Objects that come in pieces: read in time that grows with their size alone, and known by their ends if too long."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.pieces import Ends, Pieces, usage_near_the_end

MB = 1 << 20
RESPONSE_USAGE = {"input_tokens": 5, "output_tokens": 2}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def fed(reading: Reading, body: bytes, piece: int = 16_384) -> Reading:
    for at in range(0, len(body), piece):
        reading.feed(body[at : at + piece])
    reading.close()
    return reading


def event(told: Any) -> bytes:
    return f"data: {json.dumps(told)}\n\n".encode()


def words(text: str) -> int:
    return len(text.split())


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(2 * 8 + 1, 200))
def test_what_is_short_enough_is_whole_and_of_the_rest_both_ends_are_there(pieces: list[bytes], longest: int) -> None:
    with pytest.MonkeyPatch.context() as short:
        short.setattr("livekit_tokens.capture.wire.pieces.END", 8)
        gathered = Pieces(longest)
        for piece in pieces:
            gathered.add(piece)
        taken, body = gathered.take(), b"".join(pieces)
        if len(body) <= longest:
            assert taken == body
        else:
            assert taken == Ends(body[:8], body[-8:])
        assert gathered.take() == b""


@pytest.mark.parametrize("kind", ["responses", "chat"])
def test_a_body_in_many_pieces_is_read_in_time_that_grows_with_its_size(kind: Any) -> None:
    """Eight times as long takes some eight times as long, not 64 times."""

    def took(size: int) -> float:
        body = event({"type": "response.image_generation_call.partial_image", "partial_image_b64": "x" * size})
        best = float("inf")
        for _ in range(3):
            began = time.thread_time()
            fed(Reading(kind, "text/event-stream", "", words), body)
            best = min(best, time.thread_time() - began)
        return best

    assert took(8 * MB) < 24 * took(MB)


def test_an_event_that_is_too_long_is_skipped_and_those_around_it_are_read() -> None:
    """As one with an image in it; it takes no memory either."""
    body = (
        event({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5"}})
        + event({"type": "response.output_text.delta", "delta": "one two"})
        + event({"type": "response.output_item.done", "item": {"type": "x", "usage": USAGE, "result": "x" * 8 * MB}})
        + event({"type": "response.output_text.delta", "delta": " three"})
    )
    reading = Reading("responses", "text/event-stream", "", words)
    tracemalloc.start()
    fed(reading, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reading.tokens, reading.usage, reading.finished, reading.request_id) == (3, None, False, "resp_1")
    assert peak < 4 * MB


def test_the_end_of_a_response_that_holds_an_image_is_its_bill() -> None:
    output = [{"type": "image_generation_call", "id": "ig_1", "result": "x" * 8 * MB}]
    response = {"id": "resp_1", "model": "gpt-5", "output": output, "usage": RESPONSE_USAGE, "metadata": {}}
    reading = fed(Reading("responses", "text/event-stream", "", words), event(_completed(response)))
    assert (reading.usage, reading.request_id, reading.model) == (RESPONSE_USAGE, "resp_1", "gpt-5")
    assert reading.finished


def _completed(response: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.completed", "sequence_number": 9, "response": response}


def test_a_whole_answer_that_is_too_long_is_known_by_its_ends() -> None:
    """As one of thousands of embeddings."""
    answer = {"id": "e", "object": "list", "model": "m", "data": [{"embedding": "A" * 8 * MB}], "usage": USAGE}
    reading = fed(Reading("embedding", "application/json", "", words), json.dumps(answer).encode())
    assert (reading.usage, reading.request_id, reading.model) == (USAGE, "e", "m")


def test_audio_in_one_long_event_is_measured() -> None:
    """Some servers send all of it at once."""
    spoken = base64.b64encode(bytes(48_000 * 30)).decode()
    body = event({"type": "speech.audio.delta", "audio": spoken})
    assert fed(Reading("speech", "text/event-stream", "", words, "pcm"), body).audio_ms == 30_000


def test_usage_is_found_at_the_end_of_what_is_too_long_to_keep() -> None:
    assert usage_near_the_end(b'AAAA"}], "usage" : {"prompt_tokens": 7}, "x": 1}') == {"prompt_tokens": 7}
    assert usage_near_the_end(b'"usage": null') is None
    assert Ends(b'{"id": "c"', b'"usage": {"x": 1}}').usage == {"x": 1}
