"""Every question's answer equals what plain Python makes of the records, on both databases."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from livekit_tokens.core.reports import KINDS, Question
from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.errors import UnknownName
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.times import SECOND, to_datetime, to_micros
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from tests.store.test_queries import MINUTE, NOW, World, label, part, price, random_world, record, reports_over

DAY = 24 * 60 * MINUTE
MONTH = (to_datetime(NOW - 30 * DAY - 7), to_datetime(NOW - 11))
"""Its edges fall into buckets, so that all three pieces of a period are asked."""


def measured_world(seed: int) -> World:
    """A random world whose requests took their time, failed, were scored or cut off."""
    rnd = random.Random(seed)
    world = random_world(seed)
    return replace(world, records=tuple(measured(rnd, r) for r in world.records))


def measured(rnd: random.Random, r: UsageRecord) -> UsageRecord:
    return replace(
        r,
        processing_ms=rnd.choice([None, 0, 40, 40, 900, 2**33]),
        first_output_ms=rnd.choice([None, 7, 300]),
        error=None if r.success else rnd.choice([None, "TimeoutError", "APIError"]),
        quality_score=rnd.choice([None, 0.25, 1.0]),
        safety_score=rnd.choice([None, None, 0.5]),
        metadata=rnd.choice([{}, {"status": "cancelled"}, {"status": "completed"}, {"cancelled": True}, {"n": 1}]),
    )


def inside(world: World) -> list[UsageRecord]:
    since, until = (to_micros(at) for at in MONTH)
    found = [r for r in world.records if since <= r.at < until]
    return sorted(found, key=lambda r: r.at)


def summed(records: list[UsageRecord]) -> Totals:
    return sum((totals_of(r, price(r)) for r in records), Totals())


SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("cutting", "zone"), [("day", "Asia/Kathmandu"), ("hour", "Europe/Berlin"), ("week", "UTC")])
async def test_a_series_has_every_hour_and_day_of_the_readers_zone(database_url, seed, cutting, zone):
    """Those without usage too; the points are those of plain Python, and the lines of its split add up to them."""
    world = measured_world(seed)
    since, until = MONTH if cutting != "hour" else (to_datetime(NOW - 2 * DAY - 9), MONTH[1])
    async with reports_over(database_url, world) as reports:
        series = await reports.series(since, until, cutting=cutting, per="model", lines=1, timezone=zone)
    found = {point.key: point.totals for point in series.points if point.totals != Totals()}
    expected: dict[str, Totals] = {}
    for r in inside(world):
        if r.at >= to_micros(since):
            key = label(world.part_of(r), r, cutting, zone)
            expected[key] = expected.get(key, Totals()) + totals_of(r, price(r))
    assert found == expected
    begins = [point.span.since for point in series.points]
    assert begins[0] == to_micros(since)
    assert [point.span.until for point in series.points] == [*begins[1:], to_micros(until)]
    for number, point in enumerate(series.points):
        assert sum((line.points[number].totals for line in series.lines), Totals()) == point.totals


async def test_a_series_over_a_changing_clock_has_both_hours(database_url):
    """Berlin, 25 October 2026: 02:00 comes twice; a day of 25 hours; nothing falls between them."""
    zone = ZoneInfo("Europe/Berlin")
    p = part(1)
    first, second = (to_micros(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1))
    async with reports_over(
        database_url, World((p,), (record(p, first), record(p, second), record(p, second)))
    ) as reports:
        day = (datetime(2026, 10, 25, tzinfo=zone), datetime(2026, 10, 26, tzinfo=zone))
        hours = await reports.series(*day, cutting="hour", timezone="Europe/Berlin")
        (whole,) = (await reports.series(*day, cutting="day", timezone="Europe/Berlin")).points
    assert len(hours.points) == 25
    assert {p.key: p.totals.requests for p in hours.points if p.totals.requests} == {
        "2026-10-25T02:00+02:00": 1,
        "2026-10-25T02:00+01:00": 2,
    }
    assert (whole.key, whole.totals.requests) == ("2026-10-25", 3)


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_dearest_stand_first(database_url, seed):
    """By cost, then by tokens; the totals are of all, also of those below the limit."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        tops = [await reports.top(kind, *MONTH, limit=2) for kind in KINDS if kind != "requests"]
    for top in tops:
        of: dict[str | None, list[UsageRecord]] = {}
        for r in inside(world):
            name, p = top.kind.removesuffix("s"), world.part_of(r)
            of.setdefault(p.session_id if name == "session" else label(p, r, name, "UTC"), []).append(r)
        sums = {name: summed(records) for name, records in of.items()}
        order = sorted(sums, key=lambda name: (-sums[name].cost, -sums[name].total_tokens, name is None, name or ""))
        sessions = {name: len({world.part_of(r).session_id for r in records}) for name, records in of.items()}
        assert [(next(iter(g.key.values())), g.sessions, g.totals) for g in top.groups] == [
            (name, sessions[name], sums[name]) for name in order[:2]
        ]
        assert (top.more, top.totals) == (len(order) > 2, summed(inside(world)))


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_page_that_asks_together_is_told_what_each_question_alone_is(database_url, seed):
    """An overview goes through the period once for several questions; every answer is that of the question's own."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        page = await reports.overview(*MONTH)
        assert set(page.tops) == {"users", "tenants", "operations", "features", "sessions"}
        for kind, top in page.tops.items():
            assert top == await reports.top(kind, *MONTH, limit=8)
        assert page.report == await reports.report(*MONTH)
        assert page.performance == await reports.performance(*MONTH)
        assert page.session_costs == await reports.session_costs(*MONTH)
        assert page.analysis == await reports.cost_analysis(*MONTH)


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_dearest_requests_stand_first(database_url, seed):
    """Each with whose it is."""
    world = measured_world(seed)

    def standing(r: UsageRecord) -> tuple[int, int]:
        told = totals_of(r, price(r))
        return -told.cost, -told.total_tokens

    async with reports_over(database_url, world) as reports:
        top = await reports.top_requests(*MONTH, limit=5)
    assert [standing(e.line.record) for e in top.entries] == sorted(map(standing, inside(world)))[:5]
    assert all(e.session_id == world.part_of(e.line.record).session_id for e in top.entries)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_comparison_holds_both_periods(database_url, seed):
    """What stands in one of them only was nothing in the other."""
    world = measured_world(seed)
    middle = to_datetime(NOW - 6 * DAY - 5)
    async with reports_over(database_url, world) as reports:
        answer = await reports.compare(middle, MONTH[1], before=(MONTH[0], middle), by=["model", "user"])
        now = await reports.report(middle, MONTH[1], by=["model", "user"])
        before = await reports.report(MONTH[0], middle, by=["model", "user"])
    assert (answer.whole.totals, answer.whole.before) == (now.totals, before.totals)
    assert (answer.whole.sessions, answer.whole.sessions_before) == (now.sessions, before.sessions)
    assert {tuple(c.key.values()): c.totals for c in answer.groups if c.totals != Totals()} == {
        tuple(g.key.values()): g.totals for g in now.groups
    }
    assert {tuple(c.key.values()): c.before for c in answer.groups if c.before != Totals()} == {
        tuple(g.key.values()): g.totals for g in before.groups
    }


async def test_what_came_and_what_went_are_both_compared(database_url):
    """Nothing before, or nothing now."""
    old, new = part(1, user="old"), part(2, user="new")
    world = World((old, new), (record(old, NOW - 3 * DAY), record(new, NOW - DAY), record(new, NOW - DAY)))
    async with reports_over(database_url, world) as reports:
        answer = await reports.compare(to_datetime(NOW - 2 * DAY), to_datetime(NOW), by="user")
    changes = {c.key["user"]: (c.before.requests, c.totals.requests) for c in answer.groups}
    assert changes == {"new": (0, 2), "old": (1, 0)}


async def test_among_requests_that_cost_the_same_the_one_with_most_tokens_is_dearest(database_url):
    """Also where nothing has a price."""
    p = part(1)
    spent = [record(p, service="tts", units={"input_text": n}) for n in (1, 4, 2, 3)]
    async with reports_over(database_url, World((p,), tuple(spent))) as reports:
        top = await reports.top_requests(limit=2)
    assert [e.line.record.units["input_text"] for e in top.entries] == [4, 3]
    assert top.more


@pytest.mark.parametrize("seed", SEEDS)
async def test_performance_is_that_of_the_records(database_url, seed):
    """Times beyond 32 bits, errors without a class, scores: by provider, model and operation, and of all."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        answer = await reports.performance(*MONTH, service="agent")
    agent = [r for r in inside(world) if r.service == "agent"]
    for line in (answer.whole, *answer.models):
        rs = [r for r in agent if all(getattr(r, name) == value for name, value in line.key.items())]
        assert (line.requests, line.failed_requests) == (len(rs), sum(not r.success for r in rs))
        assert line.errors == Counter(r.error or "unknown" for r in rs if not r.success)
        assert line.response_ms == Distribution(Counter(r.processing_ms for r in rs if r.processing_ms is not None))
        first = Counter(r.first_output_ms for r in rs if r.first_output_ms is not None)
        assert line.first_output_ms == Distribution(first)
        scored = [r.quality_score for r in rs if r.quality_score is not None]
        assert (line.scores.quality_sum, line.scores.quality_count) == (sum(scored), len(scored))


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_sessions_cost_is_counted_by_session(database_url, seed):
    """A session of several parts is one; one whose requests have no price cost nothing that is known."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        answer = await reports.session_costs(*MONTH)
    costs: Counter[str] = Counter()
    for r in inside(world):
        costs[world.part_of(r).session_id] += totals_of(r, price(r)).cost
    assert answer.costs == Distribution(Counter(costs.values()))
    assert answer.unpriced_requests == summed(inside(world)).unpriced_requests


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_records_come_all_in_order(database_url, seed):
    """Each once, oldest first, with whose it is; what a filter leaves out is left out."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        entries = [entry async for entry in reports.records(*MONTH)]
        of_user = [entry async for entry in reports.records(*MONTH, user="u1")]
    assert [e.line.record.at for e in entries] == [r.at for r in inside(world)]
    missing = inside(world)
    for entry in entries:
        missing.remove(entry.line.record)
    assert missing == []
    assert sum((totals_of(e.line.record, e.line.price) for e in entries), Totals()) == summed(inside(world))
    assert of_user == [e for e in entries if e.user == "u1"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_cut_off_requests_are_found_in_the_records(database_url, seed):
    """By a response's status or by the mark of other requests."""
    world = measured_world(seed)
    since, until = (to_micros(at) for at in MONTH)
    ledger = StoreLedger(database_url, pricing=price)
    async with reports_over(database_url, world), StoredUsage(ledger).reader() as reader:
        groups = await reader.grouped(Question(period=Period(since, until), cancelled=True))
    await ledger.aclose()
    cut = [r for r in inside(world) if r.metadata.get("status") == "cancelled" or r.metadata.get("cancelled")]
    assert sum((g.totals for g in groups), Totals()) == summed(cut)


@pytest.mark.parametrize("seed", SEEDS)
async def test_operations_cost_what_their_records_cost(database_url, seed):
    """The dearest first; a ratio is of the priced requests, and not given where tokens have no price."""
    world = measured_world(seed)
    async with reports_over(database_url, world) as reports:
        answer = await reports.cost_analysis(*MONTH)
    for line in answer.operations:
        assert line.totals == summed([r for r in inside(world) if r.operation == line.operation])
        priced = line.totals.requests - line.totals.unpriced_requests
        if line.totals.cost:
            assert abs(line.per_operation * priced - Decimal(line.totals.cost).scaleb(-9)) < Decimal("0.001")
    assert answer.whole.totals == summed(inside(world))
    costs = [line.totals.cost for line in answer.operations]
    assert costs == sorted(costs, reverse=True)


async def test_what_a_cache_answered_stands_beside_what_was_asked(database_url):
    """By layer; among the operations' costs it would make a request look cheaper than it is."""
    p = part(1)
    hits = [record(p, service="cache", provider="application", model=layer, units={}) for layer in "rrm"]
    async with reports_over(database_url, World((p,), (record(p), *hits))) as reports:
        (line,) = (await reports.cache_hits()).operations
        analysis = await reports.cost_analysis()
    assert (line.operation, line.layers, line.requests) == ("realtime_response", (("r", 2), ("m", 1)), 1)
    assert (analysis.cache_hits, analysis.whole.totals.requests) == ((line,), 1)


async def test_a_statement_is_of_one_user_alone(database_url):
    """Of their sessions the newest; who was never there is unknown, who spent nothing in the period is not."""
    mine = [part(n, user="ann, \u202eאבג\n=1+1", started_at=NOW - n * MINUTE) for n in range(1, 8)]
    other = part(99, user="bob")
    spent = tuple(record(p, NOW - MINUTE) for p in (*mine, other))
    async with reports_over(database_url, World((*mine, other), spent)) as reports:
        answer = await reports.statement("user", mine[0].user, limit=3)
        nothing = await reports.statement("user", "bob", MONTH[0], to_datetime(NOW - DAY))
        with pytest.raises(UnknownName, match="no session of user 'carl'"):
            await reports.statement("user", "carl")
    assert (answer.report.sessions, answer.report.totals.requests) == (7, 7)
    assert [line.session.session_id for line in answer.sessions.sessions] == ["room_1", "room_2", "room_3"]
    assert answer.sessions.more
    assert sum(p.totals.requests for p in answer.days.points) == 7
    assert len(answer.days.points) == 8
    assert nothing.report.totals == Totals()


MANY = 100_000


async def test_a_user_with_a_hundred_thousand_sessions(database_url):
    """All of them are counted, and the newest are listed; no statement names each of them."""
    many = [part(n, session_id=f"s{n:06d}", user="ann", started_at=NOW - n * SECOND) for n in range(1, MANY + 1)]
    spent = tuple(record(p, p.started_at) for p in many)
    async with reports_over(database_url, World((*many, part(0, user="bob")), spent)) as reports:
        answer = await reports.statement("user", "ann", limit=2)
        dearest = await reports.top("sessions", user="ann", limit=1)
        costs = await reports.session_costs(user="ann")
    assert (answer.report.sessions, dearest.sessions, costs.costs.count) == (MANY, MANY, MANY)
    assert [line.session.session_id for line in answer.sessions.sessions] == ["s000001", "s000002"]
    assert answer.report.totals.requests == MANY


async def test_nothing_is_answered_with_nothing(database_url):
    """An empty ledger: zeros and None, no error."""
    async with reports_over(database_url, World()) as reports:
        assert (await reports.top("users")).groups == ()
        assert (await reports.top_requests()).entries == ()
        assert (await reports.compare()).whole.totals == Totals()
        assert (await reports.performance()).whole.success_rate is None
        assert (await reports.session_costs()).to_dict()["average_cost_usd"] is None
        assert (await reports.shares()).to_dict()["totals"]["cached_input"] is None
        assert [p.totals for p in (await reports.series(cutting="day")).points] == [Totals()] * 8
        assert [entry async for entry in reports.records()] == []


async def test_records_on_the_edges_belong_to_one_period_only(database_url):
    """Half-open: the first moment belongs to it, the last does not."""
    p = part(1)
    since, until = NOW - 60 * MINUTE, NOW - 30 * MINUTE
    edges = (record(p, since - 1), record(p, since), record(p, until - 1), record(p, until))
    async with reports_over(database_url, World((p,), edges)) as reports:
        span = (to_datetime(since), to_datetime(until))
        assert [e.line.record.at async for e in reports.records(*span)] == [since, until - 1]
        assert (await reports.top("users", *span)).totals.requests == 2
        compared = (await reports.compare(*span)).whole
    assert (compared.totals.requests, compared.before.requests) == (2, 1)


async def test_two_periods_that_meet_hold_everything_once(database_url):
    """A day before and a day after any moment."""
    world = measured_world(7)
    at = to_datetime(NOW) - timedelta(minutes=11, microseconds=1)
    async with reports_over(database_url, world) as reports:
        halves = [await reports.shares(MONTH[0], at), await reports.shares(at, MONTH[1])]
        whole = await reports.shares(*MONTH)
    assert halves[0].report.totals + halves[1].report.totals == whole.report.totals
