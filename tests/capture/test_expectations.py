"""What is expected of a conversation's next response, whoever has worked that out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.capture import expectations
from livekit_tokens.capture.realtime import RealtimeWitness
from tests.capture.test_realtime import Paper
from tests.golden import GOLDEN

ASIDE = "the background comes round"
Event = dict[str, Any]
Turn = tuple[int, list[str]]
"""Text tokens that its response reads by the provider's figures, and what happens between that and the next one."""

moments = st.sampled_from(
    ["the caller speaks", "and is heard", "a text is sent", "and deleted", "the answer is truncated", ASIDE]
)


def happens(moment: str, turn: int) -> Iterator[Event]:
    heard = {"item_id": f"heard_{turn}"}
    match moment:
        case "the caller speaks":
            yield {"type": "input_audio_buffer.speech_started", "audio_start_ms": turn * 1000}
        case "and is heard":
            yield {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": turn * 1000 + 700, **heard}
            yield {"type": "input_audio_buffer.committed", **heard}
        case "a text is sent":
            item = {"id": f"sent_{turn}", "content": [{"text": "word " * 40}]}
            yield {"type": "conversation.item.create", "item": item}
        case "and deleted":
            yield {"type": "conversation.item.deleted", "item_id": f"sent_{turn}"}
        case "the answer is truncated":
            yield {"type": "conversation.item.truncated", "item_id": f"said_{turn}", "audio_end_ms": 100}


def answered(turn: int, text: int) -> Iterator[Event]:
    name, said = f"resp_{turn}", {"id": f"said_{turn}"}
    details = {"text_tokens": text, "audio_tokens": 0}
    usage = GOLDEN | {"input_token_details": details, "input_tokens": text}
    yield {"type": "response.created", "response": {"id": name}}
    yield {"type": "response.output_item.added", "item": said, "response_id": name}
    yield {"type": "conversation.item.added", "item": said}
    yield {"type": "response.done", "response": {"id": name, "status": "completed", "usage": usage}}


def expected(turns: list[Turn], *, aside: bool) -> list[object]:
    """What each response was expected to read and to be like; `aside`: the background does what is left to it."""
    paper = Paper()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", "openai"), "r1")
    detecting = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
    witness.on_event({"type": "session.created", "session": detecting})
    for turn, (text, between) in enumerate(turns):
        for event in answered(turn, text):
            witness.on_event(event)
        for moment in between:
            if moment == ASIDE and aside:
                while paper.left_to_do:
                    paper.left_to_do.pop()()
            for event in happens(moment, turn):
                witness.on_event(event)
                witness.on_client_event(event)
    return [(pend.input, pend.usual) for pend in paper.pending]


@given(st.lists(st.tuples(st.sampled_from([43, 80, 300, 900]), st.lists(moments, max_size=5)), min_size=2, max_size=6))
def test_what_is_expected_does_not_depend_on_when_the_background_comes_round(turns: list[Turn]) -> None:
    """Before the conversation goes on, after that, or never."""
    told = []
    for aside in (True, False):
        clock = itertools.count(0, 0.02)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", lambda clock=clock: next(clock))
            told.append(expected(turns, aside=aside))
    assert told[0] == told[1]


def test_what_was_worked_out_is_taken_before_the_conversation_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller says next would make it of no use."""
    worked: list[int] = []
    learned = expectations._learned
    monkeypatch.setattr(expectations, "_learned", lambda *given: worked.append(1) or learned(*given))
    spoken = [ASIDE, "the caller speaks", "and is heard"]
    expected([(43, spoken), (90, spoken), (140, [])], aside=True)
    assert len(worked) == 2
