"""The text layouts that existing users know, line by line, with ours after the known ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from livekit_tokens.cli.text import plain, session_text, summary_text
from livekit_tokens.core.reports import Group, Report
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.summary import RecordLine, ServiceLine, SessionSummary
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

BEGIN = datetime(2025, 6, 27, 13, 30, 15, tzinfo=UTC)
END = datetime(2025, 6, 27, 13, 35, 42, tzinfo=UTC)
SUMMER = timezone(timedelta(hours=2))
PERIOD = Period(to_micros(BEGIN), to_micros(END))
WHISPER = Totals(
    requests=15,
    units={"audio_ms": 61_500},
    informational={"input_audio": 8200, "output_text": 3100},
    estimated_tokens=11_300,
    input_cost=6_000_000,
)
REALTIME = Totals(
    requests=40, failed_requests=1, unpriced_requests=40, units={"input_text": 4250, "output_audio": 5220}
)


def report(*groups: Group) -> Report:
    totals = sum((g.totals for g in groups), Totals())
    return Report(PERIOD, "Europe/Berlin", ("service", "model"), 15 if groups else 0, totals, groups)


def test_the_summary_is_the_known_layout():
    """`TOKEN USAGE SUMMARY`; services in the known order, models of one service one after the other."""
    text = summary_text(
        report(
            Group({"service": "transcriber", "model": "whisper"}, 15, WHISPER),
            Group({"service": "agent", "model": "gpt-4o-realtime"}, 15, REALTIME),
            Group({"service": "agent", "model": "mini"}, 1, Totals(requests=1)),
        ),
        SUMMER,
    )
    assert text == SUMMARY.strip("\n")


def test_an_empty_period_is_said():
    """The totals are zeros, and a clear line stands in place of the services."""
    text = summary_text(report(), SUMMER)
    assert text.splitlines()[3:7] == [
        "Total Sessions: 0",
        "Total Input Tokens: 0",
        "Total Output Tokens: 0",
        "Total Tokens: 0",
    ]
    assert text.endswith("BY SERVICE:\n----------------------------------------\n\nNo usage in this period.")


def test_a_session_is_the_known_layout():
    """`SESSION DETAILS`; times in the reader's zone, an end that has not come is `open`."""
    services = (
        ServiceLine("transcriber", "openai", "whisper", BEGIN, END, WHISPER),
        ServiceLine("agent", "openai", "gpt-4o-realtime", BEGIN, None, REALTIME),
    )
    session = SessionSummary(
        "support-room-john-doe_abc123def",
        BEGIN,
        user="john",
        user_name="John Doe",
        duration=END - BEGIN,
        call_time=timedelta(minutes=2),
        services=services,
        totals=WHISPER + REALTIME,
        records=(
            RecordLine(
                "r",
                UsageRecord("p", to_micros(BEGIN), "agent", "openai", "m", "chat", {"input_text": 3}),
                Price(1_000, 0, "fallback: gpt-4o"),
            ),
        ),
    )
    assert session_text(session, SUMMER) == SESSION.strip("\n")


def test_a_name_cannot_draw_on_the_terminal():
    """A caller chooses their own name: no escape codes, no lines of their own."""
    assert plain("Zoë\x1b[31m\nTotal Cost: $0") == "Zoë\ufffd[31m\ufffdTotal Cost: $0"
    assert plain(None) == "unknown"


SUMMARY = """
============================================================
TOKEN USAGE SUMMARY
============================================================
Total Sessions: 15
Total Input Tokens: 12,450
Total Output Tokens: 8,320
Total Tokens: 20,770
Total Requests: 56
Total Cost: $0.006000 (40 unpriced)
Total Audio Seconds: 61.500
Total Estimated Requests: 0 of 56
Total Estimated Tokens: 11,300 of 20,770
Total Failed Requests: 1
Period: 2025-06-27 15:30:15 to 2025-06-27 15:35:42 (Europe/Berlin)

BY SERVICE:
----------------------------------------

TRANSCRIBER SERVICE:
  Model: whisper
    Sessions: 15
    Input Tokens: 8,200
    Output Tokens: 3,100
    Total Tokens: 11,300
    Avg Tokens/Session: 753.33
    Requests: 15
    Cost: $0.006000
    Audio Seconds: 61.500
    Estimated Requests: 0 of 15
    Estimated Tokens: 11,300 of 11,300

AGENT SERVICE:
  Model: gpt-4o-realtime
    Sessions: 15
    Input Tokens: 4,250
    Output Tokens: 5,220
    Total Tokens: 9,470
    Avg Tokens/Session: 631.33
    Requests: 40
    Cost: unpriced
    Failed Requests: 1
  Model: mini
    Sessions: 1
    Input Tokens: 0
    Output Tokens: 0
    Total Tokens: 0
    Avg Tokens/Session: 0.00
    Requests: 1
    Cost: $0.000000
"""

SESSION = """
============================================================
SESSION DETAILS: support-room-john-doe_abc123def
============================================================

Service: TRANSCRIBER
Model: whisper
User: John Doe
Input Tokens: 8,200
Output Tokens: 3,100
Total Tokens: 11,300
Session Start: 2025-06-27 15:30:15
Session End: 2025-06-27 15:35:42
Provider: openai
Requests: 15
Cost: $0.006000
Audio Seconds: 61.500
Estimated Requests: 0 of 15
Estimated Tokens: 11,300 of 11,300

Service: AGENT
Model: gpt-4o-realtime
User: John Doe
Input Tokens: 4,250
Output Tokens: 5,220
Total Tokens: 9,470
Session Start: 2025-06-27 15:30:15
Session End: open
Provider: openai
Requests: 40
Cost: unpriced
Failed Requests: 1

SESSION TOTALS:
Total Input Tokens: 12,450
Total Output Tokens: 8,320
Total Tokens: 20,770
Total Requests: 55
Total Cost: $0.006000 (40 unpriced)
Total Audio Seconds: 61.500
Total Estimated Requests: 0 of 55
Total Estimated Tokens: 11,300 of 20,770
Total Failed Requests: 1
Cost per Minute of Call: $0.003000
Status: open
Duration: 327.000 s

RECORDS:
2025-06-27 15:30:15 agent m chat: input_text 3; $0.000001 (fallback: gpt-4o), reported
"""


def test_what_joins_letters_and_faces_stays_in_a_name():
    """And what would turn the line around or begin a new one does not."""
    family, persian = "👨‍👩‍👧", "علی‌رضا"
    assert (plain(family), plain(persian)) == (family, persian)
    assert plain("a\u202eb\nc\x1b[1m") == "a�b�c�[1m"
