"""Requests that a witness sees and that their app records, too."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from livekit_tokens.core import faults
from livekit_tokens.core.witnessed import Witnessed
from livekit_tokens.domain.usage import UsageRecord

SEEN = {"input_text": 388, "cached_input_text": 512, "output_text": 50, "output_reasoning": 30}

_numbers = count(1)


def record(units: dict[str, int], request_id: str | None = "chatcmpl-1", **fields: Any) -> UsageRecord:
    return UsageRecord("0" * 32, 0, "tool", "openai", "o4-mini", "o", units, request_id=request_id, **fields)


def see(
    witnessed: Witnessed, *records: UsageRecord, session: str = "a", also: str | None = None, late: Any = None
) -> list[UsageRecord]:
    """Those that were written; they are numbered from 1."""
    written: list[UsageRecord] = []

    def write(one: UsageRecord, _: str) -> int:
        written.append(one)
        return len(written)

    for one in records:
        witnessed.see(session, one, also, f"w{next(_numbers)}", write, late=late or (lambda *_: None))
    return written


class App:
    """Tells by hand, and keeps what was written for it, and what that ended."""

    def __init__(self, witnessed: Witnessed, session: str = "a") -> None:
        self.witnessed, self.session = witnessed, session
        self.written: list[UsageRecord] = []
        self.ended: list[str] = []
        self.late: list[tuple[int, Any]] = []

    def tell(self, told: UsageRecord) -> UsageRecord:
        def write(pending: str | None) -> int:
            self.written.append(told)
            self.ended += [pending] if pending else []
            return len(self.written)

        return self.witnessed.tell(self.session, told, write, self.comes_late)

    def comes_late(self, seq: int, units: Any) -> None:
        self.late.append((seq, units))


def test_who_tells_the_sums_need_not_know_their_parts() -> None:
    """Cached tokens and reasoning are parts of what an app counts."""
    app = App(Witnessed())
    for told in (SEEN, {"input_text": 900, "output_text": 80}, {}):
        (seen,) = see(app.witnessed, record(SEEN))
        assert app.tell(record(told)) is seen
    assert app.written == []


SAID: Any = [
    ({"input_text": 10, "output_text": 5}, {"input_text": 10}),
    ({"audio_ms": 9000}, {"audio_ms": 8470}),
    ({"input_audio": 90, "output_text": 12}, {"audio_ms": 8470}),
    ({"audio_ms": 400}, {"audio_ms": 1000}),
    (SEEN, {"input_text": 890, "output_text": 77}),
    (SEEN, {"input_text": 960, "output_text": 86}),
]
"""What a provider told, and what an app may know of the same request: a part of it, a length that is not rounded yet,
another measure, one that is rounded, a count of its own."""


@pytest.mark.parametrize(("seen", "told"), SAID)
def test_a_request_that_is_told_inexactly_counts_once(seen: dict[str, int], told: dict[str, int]) -> None:
    """Seen first, its witness's figures stand."""
    app = App(Witnessed())
    (witness,) = see(app.witnessed, record(seen))
    assert app.tell(record(told)) is witness
    assert (app.written, app.late) == ([], [])


@pytest.mark.parametrize(("seen", "told"), SAID)
def test_what_was_told_inexactly_first_stands_and_its_witnesss_figures_are_kept_beside_it(
    seen: dict[str, int], told: dict[str, int]
) -> None:
    """It is written already; where the sums agree nothing is left to be said."""
    app = App(Witnessed())
    first = app.tell(record({"input_text": 1}, request_id="chatcmpl-0"))
    second = app.tell(record(told))
    assert see(app.witnessed, record(seen), late=app.comes_late) == []
    assert app.written == [first, second]
    assert app.late == [(2, seen)]
    exact = record(seen, request_id="chatcmpl-2")
    app.tell(exact)
    assert see(app.witnessed, exact, late=app.comes_late) == []
    assert len(app.late) == 1


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"input_text": 1000, "output_text": 50}, {"input_text": 9000, "output_text": 900}),
        (SEEN, {"input_text": 900, "output_text": 100}),
        ({"input_text": 10}, {"input_text": 9, "output_text": 5}),
        ({"audio_ms": 3000}, {"audio_ms": 5000}),
        ({"characters": 40}, {"characters": 80, "audio_ms": 4000}),
    ],
)
def test_more_than_was_seen_is_of_another_request(seen: dict[str, int], told: dict[str, int]) -> None:
    """In either order: the server gives one id to all, and nobody saw who asked for this one. So may the next be."""
    app = App(Witnessed())
    see(app.witnessed, record(seen))
    other, early = record(told), record(told, request_id="chatcmpl-2")
    assert app.tell(other) is other
    app.tell(early)
    witness = record(seen, request_id="chatcmpl-2")
    assert see(app.witnessed, witness, late=app.comes_late) == [witness]
    assert (app.written, app.late) == ([other, early], [])
    larger = record({name: 3 * of for name, of in told.items()}, request_id="chatcmpl-2")
    assert see(app.witnessed, larger) == [larger]
    smaller = record(dict.fromkeys(seen, 1))
    assert app.tell(smaller) is smaller


@pytest.mark.parametrize("name", ["o4-mini-2025-04-16", "openai/o4-mini", "my-deployment"])
def test_its_model_is_known_by_any_of_its_names(name: str) -> None:
    """With its date, by a gateway's name, and as an Azure deployment."""
    app = App(Witnessed())
    (witness,) = see(app.witnessed, record(SEEN, metadata={"deployment": "my-deployment"}))
    assert app.tell(replace(record({"input_text": 1}), model=name)) is witness
    (witness,) = see(app.witnessed, record(SEEN, request_id="chatcmpl-2"))
    other = replace(record({"input_text": 1}, request_id="chatcmpl-2"), model="o4")
    assert app.tell(other) is other


def test_an_id_that_is_given_to_two_is_another_request() -> None:
    """By its size; requests without an id are never the same."""
    app = App(Witnessed())
    see(app.witnessed, record({"input_text": 7}), record(SEEN), record(SEEN, request_id=None))
    told = [record({"input_text": 1}), record(SEEN, request_id=None)]
    assert [app.tell(one) for one in told] == app.written == told


def test_an_id_that_has_answered_is_another_request() -> None:
    """In either order: what comes later is known by its figures as well."""
    app = App(Witnessed())
    (witness,) = see(app.witnessed, record(SEEN))
    assert app.tell(record({"input_text": 1})) is witness
    see(app.witnessed, record(SEEN))
    other = record({"input_text": 1})
    assert app.tell(other) is other
    app.tell(record({"input_text": 2}, request_id="chatcmpl-2"))
    assert see(app.witnessed, record({"input_text": 3}, request_id="chatcmpl-2")) == []
    app.tell(record({"input_text": 2}, request_id="chatcmpl-2"))
    again = record({"input_text": 3}, request_id="chatcmpl-2")
    assert see(app.witnessed, again) == [again]


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


@pytest.mark.parametrize("provenance", ["estimated", "unknown"])
def test_figures_that_were_told_take_the_place_of_what_its_witness_could_only_estimate(provenance: Any) -> None:
    """By either id, and whatever the estimate's size: a stream that tells no figures, recorded before its end."""
    app, told = App(Witnessed()), record({"input_text": 12, "output_text": 5})
    app.tell(told)
    units = {"input_text": 9, "output_text": 6} if provenance == "estimated" else {}
    assert see(app.witnessed, record(units, request_id="req_1", provenance=provenance), also="chatcmpl-1") == []
    assert app.tell(record(told.units, request_id="req_1")) is told
    assert app.written == [told]


def test_figures_that_are_told_of_an_estimate_are_kept_beside_it() -> None:
    """It is written already, and is what counts; once."""
    app, estimate = App(Witnessed()), record({"input_text": 9, "output_text": 6}, provenance="estimated")
    see(app.witnessed, record(SEEN, request_id="chatcmpl-2"), estimate)
    assert app.tell(record({"input_text": 12, "output_text": 5})) is estimate
    assert (app.written, app.late) == ([], [(2, {"input_text": 12, "output_text": 5})])
    see(app.witnessed, estimate)
    assert app.tell(record({}, provenance="unknown")) is estimate
    assert len(app.late) == 1


def test_what_had_no_figures_takes_the_place_of_none() -> None:
    """In either order: what was spent is counted, whoever knows it."""
    app, figures = App(Witnessed()), record(SEEN, request_id="chatcmpl-2")
    see(app.witnessed, record({}, provenance="unknown"))
    app.tell(record(SEEN))
    app.tell(record({}, request_id="chatcmpl-2", provenance="unknown"))
    assert len(app.written) == 2
    assert see(app.witnessed, figures) == [figures]


def test_of_what_nobody_knows_the_size_one_record_is_enough() -> None:
    """In either order."""
    app, nothing, again = App(Witnessed()), record({}, provenance="unknown"), record({}, "2", provenance="unknown")
    app.tell(nothing)
    assert see(app.witnessed, nothing) == []
    see(app.witnessed, again)
    assert app.tell(record({}, "2", provenance="unknown")) is again
    assert app.written == [nothing]


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
    assert app.witnessed.see("a", record(SEEN), None, "w3", lambda *_: 1, late=app.comes_late) is None


def test_what_is_told_of_another_request_does_not_end_the_one_in_flight() -> None:
    """Another model's, though it begins like its name, and one of another id than the provider has given this one."""
    app = App(Witnessed())
    app.witnessed.begin("a", "w1", "o4")
    app.tell(record(SEEN))
    app.witnessed.begin("a", "w2", "o4-mini")
    assert not app.witnessed.name("w2", ["chatcmpl-2", "req_2"])
    app.tell(record(SEEN, request_id="chatcmpl-3"))
    assert app.ended == []
    app.tell(record(SEEN, request_id="req_2"))
    assert app.ended == ["w2"]


def test_a_request_that_was_ended_by_what_was_told_of_another_is_in_flight_again() -> None:
    """Once its provider has given it its own id."""
    app = App(Witnessed())
    app.witnessed.begin("a", "w1", "o4-mini")
    app.tell(record(SEEN, request_id="chatcmpl-2"))
    assert app.ended == ["w1"]
    assert app.witnessed.name("w1", ["chatcmpl-1"])
    assert app.witnessed.begin("a", "w1", "o4-mini")
    app.witnessed.begin("a", "w2", "o4-mini")
    app.tell(record(SEEN, request_id="chatcmpl-4"))
    assert not app.witnessed.name("w2", ["chatcmpl-4"])
    assert not app.witnessed.begin("a", "w2", "o4-mini")
    assert not app.witnessed.name("w3", ["chatcmpl-5"])


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
    """Where there are no tokens, of an id that does not tell by itself."""
    app = App(Witnessed())
    _, seen = see(app.witnessed, record({"audio_ms": 3000}), record({"audio_ms": 3000}))
    assert app.tell(record({"audio_ms": 4000})) is not seen
    assert app.tell(record({"audio_ms": 3000})) is seen


def test_answers_that_are_told_when_many_have_come_count_once() -> None:
    """A batch that gathers thousands of answers and then records each; of the older ones only figures are known."""
    app, ids = App(Witnessed()), [str(number) for number in range(8192)]
    for name in ids:
        see(app.witnessed, record(SEEN, request_id=name), also=f"req_{name}")
    counted = [app.tell(record({"input_text": 900, "output_text": 80}, request_id=name)) for name in ids]
    assert app.written == []
    assert {tuple(one.units.items()) for one in counted} == {tuple(SEEN.items())}


def test_what_may_be_told_too_late_is_a_fault() -> None:
    """Memory is bounded: what is told of an id that is not remembered any more counts, and may count twice."""
    app = App(Witnessed(most_ids=2))
    other = App(app.witnessed, session="b")
    before = too_late()
    see(app.witnessed, *(record(SEEN, request_id=name) for name in "abc"))
    for name in "cb":
        app.tell(record(SEEN, request_id=name))
    other.tell(record(SEEN, request_id="a"))
    assert (app.written, too_late()) == ([], before)
    app.tell(record(SEEN, request_id="a"))
    assert [told.request_id for told in app.written] == ["a"]
    assert too_late() == before + 1


def test_what_has_answered_may_be_forgotten() -> None:
    """Its other id: nobody tells of one request by both, so it is no fault."""
    app = App(Witnessed(most_ids=2))
    before = too_late()
    for name in "abc":
        see(app.witnessed, record(SEEN, request_id=name), also=f"req_{name}")
        app.tell(record(SEEN, request_id=name))
    app.tell(record(SEEN, request_id="msg_of_another_provider"))
    assert too_late() == before


def too_late() -> int:
    return sum(times for kind, times in faults.counts().items() if "so long ago" in kind)


def keyed(key: str, at: int = 0) -> UsageRecord:
    return UsageRecord("0" * 32, at, "tool", "openai", "m", "o", {}, idempotency_key=key)


def test_the_first_of_a_key_counts_in_each_session() -> None:
    """A repetition is not written, and gets the record that counts."""
    app = App(Witnessed())
    elsewhere = App(app.witnessed, session="b")
    first, again, other = keyed("k", 1), keyed("k", 2), keyed("k", 3)
    assert app.tell(first) is app.tell(again) is first
    assert elsewhere.tell(other) is other
    assert (app.written, elsewhere.written) == ([first], [other])


def test_what_has_been_seen_counts_for_its_key_too() -> None:
    """Told again under its key alone, it is still what was seen."""
    app = App(Witnessed())
    (seen,) = see(app.witnessed, record(SEEN))
    assert app.tell(record(SEEN, idempotency_key="k")) is seen
    assert app.tell(keyed("k")) is seen
    assert app.written == []


def test_only_the_latest_keys_are_remembered() -> None:
    """Memory is bounded; the ledger decides for good."""
    app = App(Witnessed(most_keys=2))
    for key in ("a", "b", "a", "c", "a", "b"):
        app.tell(keyed(key))
    assert [told.idempotency_key for told in app.written] == ["a", "b", "c", "b"]


def test_threads_that_repeat_a_key_at_once_write_it_once() -> None:
    """And none of them goes on before it is written."""
    app = App(Witnessed())
    together = threading.Barrier(8)

    def repeat(number: int) -> bool:
        together.wait(timeout=60)
        app.tell(keyed("k", number))
        return len(app.written) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(repeat, range(8)))
