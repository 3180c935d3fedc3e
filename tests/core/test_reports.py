"""The reports' own rules, on a store in memory: SQL is tested in tests/store/test_queries.py."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from livekit_tokens.core.reports import Calls, Filters, Group, check_by, open_reports
from livekit_tokens.domain.errors import BadSetting, UnknownSession
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND, to_micros
from livekit_tokens.domain.totals import Totals

NOW = to_micros(datetime(2026, 11, 22, 12, tzinfo=UTC))


@dataclass
class Memory:
    """A store that answers what it was given, and remembers what it was asked."""

    groups: list[Group] = field(default_factory=list)
    parts_there: list[Part] = field(default_factory=list)
    asked: list = field(default_factory=list)
    sessions_there: int = 0
    call_time: int = 0
    whole: Period | None = None

    @asynccontextmanager
    async def reader(self):
        yield self

    async def extent(self, period):
        return self.whole

    async def grouped(self, question):
        self.asked.append(question)
        return self.groups

    async def calls(self, question, now):
        return Calls(self.sessions_there, self.call_time)

    async def parts(self, sessions, now):
        return [p for p in self.parts_there if p.session_id in sessions]

    async def stays(self, session):
        return []

    async def records(self, session):
        return []


def group(sessions: int = 1, requests: int = 1, **key: str | None) -> Group:
    return Group(key, sessions, Totals(requests=requests, units={"input_text": 10 * requests}))


def reports(store: Memory):
    return open_reports(store, now=lambda: NOW)


async def test_the_default_is_the_last_seven_days_by_service_and_model():
    """Half-open, up to now."""
    store = Memory()
    report = await reports(store).report()
    assert store.asked[0].by == ("service", "model")
    assert report.to_dict()["period"] == {
        "since": "2026-11-15T12:00:00.000000Z",
        "until": "2026-11-22T12:00:00.000000Z",
        "timezone": "UTC",
    }


async def test_sessions_of_groups_are_not_added_up():
    """One session with two services is one session; requests and units add up."""
    store = Memory([group(3, service="agent", model="m"), group(3, 2, service="tts", model="m")], sessions_there=3)
    report = await reports(store).report()
    assert (report.sessions, report.totals.requests, report.totals.input_tokens) == (3, 3, 30)


async def test_the_json_has_the_fields_of_the_contract_in_their_order():
    """`report --json`."""
    answer = (await reports(Memory([group(service="agent", model="m")])).report()).to_dict()
    totals = TOTALS.split()
    assert list(answer) == ["period", "totals", "groups", "call_seconds", "cost_per_minute_usd"]
    assert list(answer["totals"]) == totals
    assert list(answer["groups"][0]) == ["key", "avg_tokens_per_session", *totals]


async def test_a_period_without_anything_asks_for_no_hours():
    """Cutting is done where there is usage: a period from 1970 is not 500,000 hours."""
    store = Memory()
    report = await reports(store).report(datetime(1970, 1, 1, tzinfo=UTC), by=["hour"])
    assert (store.asked, report.groups) == ([], ())
    store.whole = Period(NOW - 3600 * SECOND, NOW)
    await reports(store).report(datetime(1970, 1, 1, tzinfo=UTC), by=["hour"])
    assert [c.key for c in store.asked[0].cuts] == ["2026-11-22T11:00+00:00"]


async def test_a_naive_time_is_refused():
    """Its zone would be a guess."""
    with pytest.raises(BadSetting, match="has no time zone"):
        await reports(Memory()).report(datetime(2026, 1, 1))  # noqa: DTZ001


async def test_an_unknown_zone_is_refused():
    """Where the reports are opened, and where one is asked."""
    with pytest.raises(BadSetting):
        open_reports(Memory(), now=lambda: NOW, timezone="Mars")
    with pytest.raises(BadSetting):
        await reports(Memory()).report(timezone="Mars")


async def test_an_unknown_session_is_an_error():
    """It names the id and the command that lists them."""
    with pytest.raises(UnknownSession, match="no session 'x' in the ledger; `livekit-tokens sessions` lists them"):
        await reports(Memory()).session("x")


async def test_a_line_of_a_session_ends_when_all_parts_that_used_it_have():
    """Two parts used the agent, one of them is open."""
    closed = Part("a1", "s", NOW - 9 * SECOND, status="closed", ended_at=NOW)
    going_on = Part("b2", "s", NOW - 5 * SECOND)
    key: Mapping[str, str] = {"service": "agent", "provider": "openai", "model": "m"}
    store = Memory(parts_there=[closed, going_on])
    store.groups = [
        Group({**key, "part": "a1"}, 1, Totals(requests=1)),
        Group({**key, "part": "b2"}, 1, Totals(requests=2)),
    ]
    (line,) = (await reports(store).session("s")).services
    assert (line.totals.requests, line.session_end) == (3, None)
    assert line.session_start == datetime(2026, 11, 22, 12, tzinfo=UTC) - timedelta(seconds=9)
    store.groups = store.groups[:1]
    (line,) = (await reports(store).session("s")).services
    assert line.session_end == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_grouping_may_be_one_name():
    """As text, or up to two in a list."""
    assert check_by("user") == ("user",)
    assert check_by(["tag:env", "day"]) == ("tag:env", "day")


def test_a_tag_that_sql_cannot_name_is_refused():
    """In a filter as in a grouping."""
    with pytest.raises(BadSetting):
        Filters(tags={'a"b': "c"})


TOTALS = (
    "sessions requests failed_requests unknown_requests input_tokens output_tokens total_tokens cached_tokens units "
    "informational_units audio_seconds characters input_cost_usd output_cost_usd cost_usd unpriced_requests "
    "estimated_requests estimated_tokens estimated_cost_usd"
)
