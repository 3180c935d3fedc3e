"""A summary says what a part or a session spent, and its receipt names nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.summary import RecordLine, ServiceLine, SessionSummary, summarize
from livekit_tokens.domain.times import SECOND, to_datetime, to_micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

BEGIN = to_micros(datetime(2026, 11, 22, 15, 0, tzinfo=UTC))
PART = Part(
    key="00" * 16,
    session_id="support_abc123def",
    started_at=BEGIN,
    room="support",
    job="AJ_1",
    agent_name="helpdesk",
    user="john-doe",
    user_name="John Doe",
    tenant="acme",
    tags={"env": "prod"},
)
CLOSED = Part(
    key="01" * 16,
    session_id="support_abc123def",
    started_at=BEGIN,
    room="support",
    status="closed",
    ended_at=BEGIN + 327 * SECOND,
    close_reason="user_initiated",
)


def line(service: str = "agent", model: str = "gpt-realtime", **totals: object) -> ServiceLine:
    return ServiceLine(service, "openai", model, to_datetime(BEGIN), None, Totals(**totals))


def test_the_receipt_has_a_line_per_service_and_model():
    """Units, tokens, cost, and what of it is estimated; transcriber first. Units that only inform have a tilde."""
    lines = [
        line(requests=3, units={"input_text": 1200, "output_audio": 300}, input_cost=4_800_000, output_cost=19_200_000),
        line(
            "transcriber",
            "whisper-1",
            requests=2,
            units={"audio_ms": 12_345},
            informational={"input_audio": 547},
            estimated_tokens=547,
            unpriced_requests=2,
        ),
    ]
    assert str(summarize([CLOSED], lines, now=BEGIN)).splitlines() == [
        (
            "support_abc123def closed after 327.0 s (user_initiated): 5 requests, 2,047 tokens, $0.024000 (2 unpriced)"
            ", estimated 0 of 5 requests and 547 of 2,047 tokens, $0.004404 a minute"
        ),
        (
            "  transcriber whisper-1: audio_ms 12,345, ~input_audio 547; 2 requests, 547 tokens, unpriced, "
            "estimated 0 of 2 requests and 547 of 547 tokens"
        ),
        "  agent gpt-realtime: input_text 1,200, output_audio 300; 3 requests, 1,500 tokens, $0.024000",
    ]


def test_the_receipt_names_nobody():
    """It goes to the log: neither the user's name nor identity, nor anyone who was in the room."""
    stays = [Stay(PART.key, "PA_1", "john-doe", "John Doe", BEGIN)]
    receipt = str(summarize([PART], [line(requests=1)], stays, now=BEGIN + SECOND))
    assert "so far after 1.0 s" in receipt
    for name in ("john", "John", "Doe", "acme"):
        assert name not in receipt


def test_one_part_alone_is_a_summary_too():
    """Capture makes it from the live tally: while it is open, the duration runs and nothing has ended."""
    summary = summarize([PART], [line(requests=1)], now=BEGIN + 5 * SECOND)
    assert (summary.status, summary.ended_at, summary.close_reason) == ("open", None, None)
    assert (summary.duration, summary.job, summary.user) == (timedelta(seconds=5), "AJ_1", "john-doe")
    assert summary.started_at == datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    assert summary.totals.requests == 1


def test_defaults_are_sensible():
    """A summary by hand needs an id and a start."""
    answer = SessionSummary("s", datetime(2026, 11, 22, tzinfo=UTC)).to_dict()
    assert (answer["status"], answer["parts"], answer["services"], answer["tags"]) == ("open", [], [], {})
    assert "records" not in answer


def test_a_session_is_open_while_any_part_is():
    """And it has the user of the part that knew them."""
    summary = summarize([CLOSED, PART], [], now=BEGIN + 400 * SECOND)
    assert (summary.status, summary.ended_at, summary.user) == ("open", None, "john-doe")


def test_an_ended_session_ends_with_its_last_part():
    """Its reason is that part's."""
    other = Part("02" * 16, PART.session_id, BEGIN, status="abandoned", ended_at=BEGIN + SECOND, close_reason="killed")
    summary = summarize([other, CLOSED], [], now=BEGIN + 9999 * SECOND)
    assert (summary.status, summary.close_reason, summary.duration) == (
        "abandoned",
        "user_initiated",
        timedelta(seconds=327),
    )


def test_what_is_spent_afterwards_does_not_say_why_the_call_ended():
    """A shutdown callback's own request makes a part that is closed from the start; the call ended as it did."""
    later = replace(CLOSED, key="02" * 16, ended_at=CLOSED.ended_at + SECOND, close_reason="afterwards")
    summary = summarize([CLOSED, later], [], now=BEGIN)

    assert summary.close_reason == "user_initiated"
    assert summary.ended_at == to_datetime(CLOSED.ended_at + SECOND)


def test_a_participant_whom_two_parts_saw_is_told_once():
    """First join, last leave that anyone noticed; who comes back is told again."""
    stays = [
        Stay("a", "PA_1", "john", None, BEGIN + 5),
        Stay("b", "PA_1", "john", "John", BEGIN, BEGIN + 9),
        Stay("b", "PA_2", "john", "John", BEGIN + 20),
    ]
    told = summarize([PART], [], stays, now=BEGIN).to_dict()["participants"]
    assert [(t["name"], t["joined_at"][-8:], t["left_at"] and t["left_at"][-8:]) for t in told] == [
        ("John", ".000000Z", ".000009Z"),
        ("John", ".000020Z", None),
    ]


def test_an_unpriced_record_costs_null():
    """Never 0, and a half price is no price for the whole."""
    record = UsageRecord(PART.key, BEGIN, "agent", "openai", "m", "o", {"input_text": 3, "cached_input_text": 2})
    answer = RecordLine("id", record, Price(input=5)).to_dict()
    assert (answer["input_cost_usd"], answer["output_cost_usd"], answer["cost_usd"]) == ("0.000000005", None, None)
    assert answer["input_tokens"] == 5


def test_cost_is_decimal_dollars():
    """Exact to the nano-dollar."""
    summary = summarize([PART], [line(requests=1, input_cost=1, output_cost=2)], now=BEGIN)
    assert summary.cost == summary.services[0].cost == Decimal("0.000000003")


def test_the_cost_of_a_minute_is_of_the_calls_own_minutes():
    """Two parts of one call at a time are one minute; exact, rounded half-even, in JSON as text."""
    transcriber = replace(CLOSED, key="02" * 16, ended_at=BEGIN + 60 * SECOND)
    summary = summarize([CLOSED, transcriber], [line(requests=1, input_cost=1_000_000_000)], now=BEGIN)
    assert summary.cost_per_minute == Decimal("0.183486239")
    answer = summary.to_dict()
    assert (answer["call_seconds"], answer["cost_per_minute_usd"]) == ("327.000", "0.183486239")


def test_a_call_without_a_price_or_without_a_length_costs_nothing_that_can_be_said_a_minute():
    """Not 0: nobody knows."""
    unpriced = summarize([CLOSED], [line(requests=1, units={"input_text": 3}, unpriced_requests=1)], now=BEGIN)
    begun = summarize([PART], [line(requests=1, input_cost=5)], now=BEGIN)
    assert (unpriced.cost_per_minute, begun.cost_per_minute) == (None, None)
    assert unpriced.to_dict()["cost_per_minute_usd"] is None
    assert "a minute" not in str(unpriced)


def test_the_receipt_tells_the_estimated_share_of_the_cost():
    """Beside the estimated requests and tokens."""
    totals = {"requests": 2, "units": {"input_text": 9}, "estimated_requests": 1, "estimated_tokens": 4}
    receipt = str(summarize([CLOSED], [line(**totals, input_cost=9_000_000, estimated_cost=4_000_000)], now=BEGIN))
    assert "estimated 1 of 2 requests and 4 of 9 tokens, $0.004000 of $0.009000, $0.001651 a minute" in receipt
