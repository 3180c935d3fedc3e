"""What no stream shows and is billed: a model's thinking, an answer in one piece. Cut before its figures came."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import MOST_UNSHOWN_A_SECOND, Seen, settled
from livekit_tokens.capture.wire.requests import Asked, endpoint_of, read_json
from livekit_tokens.domain.usage import UsageRecord

PROMPT = {"input_text": 20}
SECONDS = 10.0


def seen(model: str = "gpt-5", *, said: str = "", **told: Any) -> Seen:
    """A chat that was cut after ten seconds, in which so much text had come, from the sixth on."""
    endpoint = endpoint_of(b"/v1/chat/completions")
    assert endpoint is not None
    record = UsageRecord("0" * 32, 1, "agent", "openai", model, "chat_completion", dict(PROMPT), "estimated")
    record = replace(record, low=dict(PROMPT), high=dict(PROMPT))
    reading = None
    if said:
        reading = Reading("chat", "text/event-stream", "", lambda text: len(text.split()))
        reading.said(said)
    asked = Asked(endpoint, model, streamed=True, most_output=told.pop("most_output", None))
    given: dict[str, Any] = {
        "record": record,
        "asked": asked,
        "status": 200 if said else None,
        "headers": {},
        "reading": reading,
        "ending": "closed",
        "error": None,
        "began": 100.0,
        "first": 106.0 if said else None,
        "ended": 100.0 + SECONDS,
        "spoke": 106.0 if said else None,
        "round_trip": 0.0,
        "usual": None,
        "thinks": None,
    }
    return Seen(**given | told)


def high(record: UsageRecord, unit: str) -> int:
    assert record.high is not None
    return record.high.get(unit, 0)


def test_a_model_that_was_cut_while_it_thought_may_have_thought_all_the_time() -> None:
    record = settled(seen())
    assert (record.units, record.provenance, record.low) == (PROMPT, "estimated", {})
    assert high(record, "output_reasoning") == SECONDS * MOST_UNSHOWN_A_SECOND


def test_it_has_thought_no_more_than_it_was_allowed_to_say() -> None:
    assert high(settled(seen(most_output=500)), "output_reasoning") == 500
    record = settled(seen(most_output=500, thinks=80.0))
    assert record.units == PROMPT | {"output_reasoning": 500}


def test_its_last_bill_tells_how_much_it_most_likely_has_thought() -> None:
    record = settled(seen(thinks=200.0))
    assert record.units == PROMPT | {"output_reasoning": 2000}
    assert high(record, "output_reasoning") == 4000


def test_it_thinks_until_it_speaks() -> None:
    record = settled(seen(said="one two three", thinks=50.0))
    assert record.units["output_reasoning"] == 300
    assert record.units["output_text"] >= 3
    assert high(record, "output_reasoning") == 6 * MOST_UNSHOWN_A_SECOND
    assert record.low == PROMPT | {"output_text": 3}


def test_also_where_its_answer_came_whole_and_told_no_figures() -> None:
    record = settled(seen(said="one two three", thinks=50.0, ending="whole"))
    assert record.units == PROMPT | {"output_text": 3, "output_reasoning": 300}


def test_a_model_that_does_not_think_shows_all_of_it() -> None:
    record = settled(seen("gpt-4.1", thinks=50.0))
    assert (record.units, high(record, "output_reasoning")) == (PROMPT, 0)
    assert high(record, "output_text") < SECONDS * MOST_UNSHOWN_A_SECOND


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_in_one_piece_may_have_been_nearly_there(streamed: bool) -> None:
    cut = seen("gpt-4.1")
    record = settled(cut._replace(asked=replace(cut.asked, streamed=streamed)))
    assert record.units == PROMPT
    assert (high(record, "output_text") >= SECONDS * MOST_UNSHOWN_A_SECOND) is not streamed


@pytest.mark.parametrize(("told", "most"), [(-1, None), (0, None), (True, None), (7.5, None), (300, 300)])
def test_a_limit_that_is_none_is_none(told: object, most: int | None) -> None:
    """Local servers are told -1."""
    endpoint = endpoint_of(b"/v1/chat/completions")
    assert endpoint is not None
    body = json.dumps({"model": "gpt-5", "messages": [{}], "max_tokens": told}).encode()
    read = read_json(endpoint, "", body)
    assert read is not None
    assert read.most_output == most
