"""Requests that a witness sees and that their app records, too."""

from __future__ import annotations

from itertools import count
from typing import Any

from livekit_tokens.core.witnessed import Witnessed
from livekit_tokens.domain.usage import UsageRecord

SEEN = {"input_text": 388, "cached_input_text": 512, "output_text": 50, "output_reasoning": 30}

_numbers = count(1)


def record(units: dict[str, int], request_id: str | None = "chatcmpl-1", **fields: Any) -> UsageRecord:
    return UsageRecord("0" * 32, 0, "tool", "openai", "o4-mini", "o", units, request_id=request_id, **fields)


def see(witnessed: Witnessed, *records: UsageRecord, session: str = "a", also: str | None = None) -> list[UsageRecord]:
    """Those that were written."""
    written: list[UsageRecord] = []
    for one in records:
        ids = [name for name in (one.request_id, also) if name]
        witnessed.see(session, one, ids, f"w{next(_numbers)}", lambda one=one: written.append(one) or len(written))
    return written


class App:
    """Tells by hand, and keeps what was written for it, and what that ended."""

    def __init__(self, witnessed: Witnessed, session: str = "a") -> None:
        self.witnessed, self.session = witnessed, session
        self.written: list[UsageRecord] = []
        self.ended: list[str] = []

    def tell(self, told: UsageRecord) -> UsageRecord:
        def write(pending: str | None) -> None:
            self.written.append(told)
            self.ended += [pending] if pending else []

        return self.witnessed.tell(self.session, told, write)


def test_who_tells_the_sums_need_not_know_their_parts() -> None:
    """Cached tokens and reasoning are parts of what an app counts."""
    app = App(Witnessed())
    for told in (SEEN, {"input_text": 900, "output_text": 80}, {}):
        (seen,) = see(app.witnessed, record(SEEN))
        assert app.tell(record(told)) is seen
    assert app.written == []


def test_an_id_that_is_used_again_is_another_request() -> None:
    """By its size; requests without an id are never the same."""
    app = App(Witnessed())
    see(app.witnessed, record(SEEN), record(SEEN, request_id=None))
    told = [record({"input_text": 1}), record(SEEN, request_id=None)]
    assert [app.tell(one) for one in told] == app.written == told


def test_a_request_answers_once_for_each_of_its_ids() -> None:
    """A server of one's own gives the same id to every answer, mostly of the same size."""
    app = App(Witnessed())
    (seen,) = see(app.witnessed, record(SEEN), also="req_1")
    assert app.tell(record(SEEN)) is seen
    assert app.tell(record(SEEN, request_id="req_1")) is seen
    assert app.written == []
    again = [record(SEEN), record(SEEN, request_id="req_1")]
    assert [app.tell(one) for one in again] == app.written == again


def test_what_was_told_first_by_either_id_is_not_written_when_it_is_seen() -> None:
    """Once; what has its id later is another request. By its other id it is still known."""
    app, told = App(Witnessed()), record({"input_text": 900, "output_text": 80}, request_id="req_1")
    assert app.tell(told) is told
    seen = record(SEEN)
    assert see(app.witnessed, seen, also="req_1") == []
    assert app.tell(record(SEEN)) is told
    assert see(app.witnessed, seen, also="req_1") == [seen]


def test_another_sessions_request_of_that_id_is_another() -> None:
    """In either order."""
    app = App(Witnessed())
    see(app.witnessed, record(SEEN), session="b")
    told = record(SEEN)
    assert app.tell(told) is told
    assert app.written == [told]
    assert see(app.witnessed, told, session="b") == [told]


def test_neither_an_estimate_nor_what_was_told_without_figures_takes_the_place_of_figures() -> None:
    """What is known best is written."""
    app, estimate, seen = App(Witnessed()), record(SEEN, provenance="estimated"), record(SEEN)
    app.tell(record(SEEN))
    assert see(app.witnessed, estimate) == [estimate]
    app.tell(record({}, request_id="chatcmpl-2"))
    other = record(SEEN, request_id="chatcmpl-2")
    assert see(app.witnessed, seen, other) == [other]


def test_what_is_told_of_a_request_in_flight_ends_it() -> None:
    """The oldest one of its session and model: a process that is killed now leaves it once."""
    app = App(Witnessed())
    for pending, session, model in (("w1", "b", "o4-mini"), ("w2", "a", "gpt-4o"), ("w3", "a", "o4-mini")):
        assert app.witnessed.begin(session, pending, model)
    told = record(SEEN)
    app.tell(told)
    assert (app.written, app.ended) == ([told], ["w3"])
    assert not app.witnessed.begin("a", "w3", "o4-mini")  # its witness knows more of its prompt, too late
    assert app.witnessed.begin("a", "w2", "gpt-4o")
    assert app.witnessed.see("a", record(SEEN), ["chatcmpl-1"], "w3", lambda: 1) is None


def test_what_is_told_without_figures_of_a_request_in_flight_is_left_to_its_witness() -> None:
    """Its figures are about to come."""
    app, told = App(Witnessed()), record({}, provenance="unknown")
    app.witnessed.begin("a", "w1", "o4-mini")
    assert app.tell(told) is told
    assert app.written == []
    app.witnessed.end("w1")
    app.tell(told)
    assert app.written == [told]


def test_seconds_and_characters_are_compared_as_they_are() -> None:
    """Where there are no tokens."""
    app = App(Witnessed())
    (seen,) = see(app.witnessed, record({"audio_ms": 3000}))
    assert app.tell(record({"audio_ms": 4000})) is not seen
    assert app.tell(record({"audio_ms": 3000})) is seen


def test_only_the_latest_are_remembered() -> None:
    """Memory is bounded."""
    app = App(Witnessed(most=2))
    see(app.witnessed, *(record(SEEN, request_id=name) for name in "abc"))
    for name in "abc":
        app.tell(record(SEEN, request_id=name))
    assert [told.request_id for told in app.written] == ["a"]
