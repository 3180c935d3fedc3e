"""Listening to LiveKit's own EventEmitter."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.rtc import EventEmitter

from livekit_tokens.capture.listening import listener
from livekit_tokens.core import faults


@pytest.mark.parametrize(("place", "heard"), [(0, "which"), (1, "whose")])
def test_the_argument_that_matters_is_heard(place: int, heard: str) -> None:
    """Some events tell first which of many has changed, and then whose it is."""
    told: list[Any] = []
    emitter = EventEmitter[str]()
    emitter.on("changed", listener(told.append, "a change could not be read", place))

    emitter.emit("changed", "which", "whose")

    assert told == [heard]


def test_an_event_that_tells_nothing_disturbs_nobody() -> None:
    """LiveKit's emitter raises a TypeError of a handler's at whoever emits; an argument that is missing makes none."""
    told: list[Any] = []
    emitter = EventEmitter[str]()
    emitter.on("gone", listener(told.append, "an end that tells nothing"))
    emitter.on("gone", lambda: told.append("the next"))

    emitter.emit("gone")

    assert told == ["the next"]
    assert faults.counts()["an end that tells nothing"] == 1
