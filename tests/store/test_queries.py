"""What the reports read from a real database equals a plain sum over the records, at any moment, on both databases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.core.reports import Filters, Report, Reports, open_reports
from livekit_tokens.domain.errors import BadSetting, UnknownSession
from livekit_tokens.domain.periods import CUTTINGS, Period, read_zone
from livekit_tokens.domain.pricing import UNPRICED, Price
from livekit_tokens.domain.sessions import Part, Stay, call_time
from livekit_tokens.domain.times import QUARTER, SECOND, Micros, to_datetime, to_micros
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.domain.units import REGISTRY, TOKENS
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage

NOW = to_micros(datetime(2026, 11, 22, 12, 7, 31, tzinfo=UTC))
MINUTE = 60 * SECOND
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")


def price(record: UsageRecord) -> Price:
    """A price book with gaps: tts has no price at all, tools only for what goes in."""
    if record.service == "tts":
        return UNPRICED
    tokens = sum(record.units.get(name, 0) for name in TOKENS)
    return Price(tokens * 1_237, None if record.service == "tool" else tokens * 7)


@dataclass(frozen=True)
class World:
    parts: tuple[Part, ...] = ()
    records: tuple[UsageRecord, ...] = ()
    stays: tuple[Stay, ...] = ()

    def part_of(self, record: UsageRecord) -> Part:
        return next(part for part in self.parts if part.key == record.part)


async def write(ledger: StoreLedger, world: World) -> None:
    connection = await ledger.connect()
    source = Source("host-1", "host", 1, NOW)
    numbered = tuple(enumerate(world.records, start=1))
    batch = Batch(source, None, Checkpoint(1, 1, len(numbered)), world.parts, world.stays, numbered)
    assert await connection.apply(batch)
    await connection.aclose()


@asynccontextmanager
async def reports_over(url: str, world: World) -> AsyncIterator[Reports]:
    ledger = StoreLedger(url, pricing=price, clock=lambda: NOW)
    try:
        await write(ledger, world)
        yield open_reports(StoredUsage(ledger), now=lambda: NOW)
    finally:
        await ledger.aclose()


def part(number: int, **changes: object) -> Part:
    defaults = {"session_id": f"room_{number}", "started_at": NOW - 60 * MINUTE, "room": "room", "user": "u1"}
    return Part(key=f"{number:032x}", **{**defaults, **changes})


def record(of: Part, at: Micros = NOW - MINUTE, **changes: object) -> UsageRecord:
    defaults = {
        "service": "agent",
        "provider": "openai",
        "model": "gpt-realtime",
        "operation": "realtime_response",
        "units": {"input_text": 10, "output_text": 5},
    }
    return UsageRecord(part=of.key, at=at, **{**defaults, **changes})


# The plain sum


def truth(world: World, period: Period, by: tuple[str, ...], zone: str, wanted: Filters) -> dict[tuple, tuple]:
    """Groups as {key: (sessions, totals)} by going over every record: the reference that SQL must equal."""
    found: dict[tuple, tuple[set[str], Totals]] = {}
    for r in world.records:
        p = world.part_of(r)
        if not (period.since <= r.at < period.until) or not matches(p, r, wanted):
            continue
        key = tuple(label(p, r, name, zone) for name in by)
        sessions, totals = found.get(key, (set(), Totals()))
        found[key] = (sessions | {p.session_id}, totals + totals_of(r, price(r)))
    return {key: (len(sessions), totals) for key, (sessions, totals) in found.items()}


def call_time_of(world: World, period: Period, wanted: Filters) -> Micros:
    """Of the calls' parts with a matching record, what lies in the period; session by session."""
    asked = (r for r in world.records if period.since <= r.at < period.until and matches(world.part_of(r), r, wanted))
    used = {r.part for r in asked}
    of: dict[str, list[Part]] = {}
    for p in world.parts:
        if p.key in used and (p.room or p.job):
            ended_at = min(NOW if p.ended_at is None else p.ended_at, period.until)
            inside = replace(p, started_at=max(p.started_at, period.since), ended_at=ended_at)
            of.setdefault(p.session_id, []).append(inside)
    return sum(call_time(parts, NOW) for parts in of.values())


def spent_in_calls(world: World, period: Period, wanted: Filters) -> Totals:
    calls = tuple(r for r in world.records if world.part_of(r).room or world.part_of(r).job)
    found = truth(replace(world, records=calls), period, (), "UTC", wanted)
    return found[()][1] if found else Totals()


def matches(p: Part, r: UsageRecord, wanted: Filters) -> bool:
    of_record = ("service", "model", "provider", "operation", "feature", "agent")
    pairs = [(getattr(wanted, name), getattr(r, name)) for name in of_record]
    pairs += [(getattr(wanted, name), getattr(p, name)) for name in ("user", "room", "tenant")]
    pairs += [(value, p.tags.get(key)) for key, value in wanted.tags.items()]
    return all(asked is None or asked == value for asked, value in pairs)


def label(p: Part, r: UsageRecord, name: str, zone: str) -> str | None:
    if name in CUTTINGS:
        local = to_datetime(r.at).astimezone(read_zone(zone))
        year, week, _ = local.isocalendar()
        keys: dict[str, Callable[[], str]] = {
            "hour": lambda: local.strftime("%Y-%m-%dT%H:00") + local.isoformat()[-6:],
            "day": lambda: local.strftime("%Y-%m-%d"),
            "week": lambda: f"{year}-W{week:02d}",
            "month": lambda: local.strftime("%Y-%m"),
        }
        return keys[name]()
    if name.startswith("tag:"):
        return p.tags.get(name[4:])
    if name == "kind":
        return {"agent": "llm", "transcriber": "stt", "tts": "tts"}.get(r.service, "other")
    return getattr(p, name) if name in ("user", "tenant", "room") else getattr(r, name)


def groups_of(report: Report) -> dict[tuple, tuple]:
    return {tuple(g.key.values()): (g.sessions, g.totals) for g in report.groups}


# Random worlds


def random_world(seed: int) -> World:
    rnd = random.Random(seed)
    parts = tuple(
        part(
            n,
            session_id=f"room{n % 3}_{n % 4}",
            room=rnd.choice([None, "room0", "room1"]),
            user=rnd.choice([None, "u1", "u2"]),
            tenant=rnd.choice([None, "t1"]),
            tags=rnd.choice([{}, {"env": "prod"}, {"env": "test", "a b.c'": "é"}]),
            started_at=(started_at := NOW - rnd.randrange(40 * 24 * 60) * MINUTE),
            ended_at=rnd.choice([None, started_at + rnd.randrange(20 * 24 * 60) * MINUTE]),
        )
        for n in range(rnd.randrange(1, 7))
    )
    return World(parts, tuple(random_record(rnd, rnd.choice(parts)) for _ in range(rnd.randrange(60))))


def random_record(rnd: random.Random, of: Part) -> UsageRecord:
    span = rnd.choice([40 * MINUTE, 26 * 60 * MINUTE, 40 * 24 * 60 * MINUTE])
    at = NOW - rnd.randrange(span)
    # Times exactly on a bucket's edge are where a half-open period goes wrong.
    at = at - at % QUARTER + rnd.choice([0, QUARTER - 1]) if rnd.random() < 0.3 else at
    units = {name: rnd.choice([1, 5, 10**12]) for name in rnd.sample(sorted(REGISTRY), rnd.randrange(4))}
    provenance = rnd.choice(["reported", "reported", "estimated", "unknown"])
    return record(
        of,
        at,
        service=rnd.choice(["agent", "transcriber", "tts", "tool"]),
        provider=rnd.choice(["openai", "azure"]),
        model=rnd.choice(["a", "b"]),
        feature=rnd.choice(["unknown", "search"]),
        agent=rnd.choice([None, "Anna"]),
        units={} if provenance == "unknown" else units,
        informational=rnd.choice([{}, {}, {"input_audio": 3, "output_text": 4}]),
        provenance=provenance,
        success=rnd.random() < 0.8,
    )


BY = (*[(name,) for name in ("service", "kind", "user", "agent", "tag:env", "tag:a b.c'", *CUTTINGS)],)
BY = (*BY, ("service", "model"), ("provider", "operation"), ("tenant", "room"), ("feature", "day"), ("hour", "user"))
FILTERS = (
    {},
    {},
    {"service": "agent"},
    {"user": "u1", "model": "a"},
    {"provider": "azure", "feature": "search"},
    {"agent": "Anna", "operation": "realtime_response"},
    {"room": "room0", "tenant": "t1"},
    {"tags": {"env": "test", "a b.c'": "é"}},
)

questions = st.tuples(
    st.integers(0, 40 * 24 * 60 * MINUTE), st.integers(1, 40 * 24 * 60 * MINUTE), st.booleans(), st.sampled_from(BY)
)


class TestEveryReport:
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(
        seed=st.integers(0, 10**9),
        asked=st.lists(st.tuples(questions, st.sampled_from(ZONES), st.sampled_from(FILTERS)), min_size=8, max_size=16),
    )
    def test_equals_the_plain_sum_over_the_records(self, new_database_url, seed, asked):
        """Any period, grouping, zone and filter: every unit, cost, count and number of sessions is the records'."""
        world = random_world(seed)

        async def check() -> None:
            async with reports_over(new_database_url(), world) as reports:
                for (back, length, on_edges, by), zone, wanted in asked:
                    since = NOW - back
                    since -= since % QUARTER if on_edges else 0
                    period = Period(since, since + length)
                    moments = (to_datetime(period.since), to_datetime(period.until))
                    report = await reports.report(*moments, by=by, timezone=zone, **wanted)
                    filters = Filters(**wanted)
                    assert groups_of(report) == truth(world, period, by, zone, filters)
                    whole = truth(world, period, (), zone, filters).get((), (0, Totals()))
                    assert (report.sessions, report.totals) == whole
                    assert report.call_time == call_time_of(world, period, filters)
                    assert not report.call_time or report.in_calls == spent_in_calls(world, period, filters)

        asyncio.run(check())


@pytest.fixture
def new_database_url(database_url, request, tmp_path):
    """Makes the URL of one more empty database of the kind that the test runs on."""
    made = []

    def new() -> str:
        if database_url.startswith("sqlite"):
            made.append(f"sqlite:///{tmp_path / f'{len(made)}.db'}")
        else:
            made.append(request.getfixturevalue("postgres_server").new_database())
        return made[-1]

    yield new
    for url in made:
        if not url.startswith("sqlite"):
            request.getfixturevalue("postgres_server").drop(url)


class TestGroups:
    async def test_a_session_of_two_parts_is_counted_once(self, database_url):
        """The agent and the transcriber of one room are one session, in a group and in the totals."""
        agent, transcriber = part(1, session_id="room_x"), part(2, session_id="room_x")
        world = World((agent, transcriber), (record(agent), record(transcriber), record(transcriber, service="tts")))
        async with reports_over(database_url, world) as reports:
            report = await reports.report(by=["service"])
        assert [(g.key["service"], g.sessions) for g in report.groups] == [("agent", 1), ("tts", 1)]
        assert report.sessions == 1

    async def test_stand_in_the_known_order(self, database_url):
        """Transcriber, agent, the rest by name; what is not known comes last."""
        p, q = part(1), part(2, user=None)
        services = ("tts", "agent", "tool", "transcriber")
        world = World((p, q), (*(record(p, service=s) for s in services), record(q)))
        async with reports_over(database_url, world) as reports:
            by_service = await reports.report(by=["service"])
            by_user = await reports.report(by=["user", "service"])
            by_kind = await reports.report(by=["kind"])
        assert [g.key["service"] for g in by_service.groups] == ["transcriber", "agent", "tool", "tts"]
        assert [g.key["user"] for g in by_user.groups] == ["u1"] * 4 + [None]
        kinds = [(g.key["kind"], g.totals.requests) for g in by_kind.groups]
        assert kinds == [("stt", 1), ("llm", 2), ("tts", 1), ("other", 1)]

    async def test_an_hour_that_comes_twice_has_two_groups(self, database_url):
        """In the night when clocks go back, 02:00+02:00 and 02:00+01:00 are told apart."""
        p = part(1)
        hours = [to_micros(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1)]
        async with reports_over(database_url, World((p,), tuple(record(p, at) for at in hours))) as reports:
            since = datetime(2026, 10, 24, tzinfo=UTC)
            report = await reports.report(since, since + timedelta(days=3), by=["hour"], timezone="Europe/Berlin")
        assert [g.key["hour"] for g in report.groups] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]

    async def test_the_average_has_two_decimals(self, database_url):
        """Tokens per session as text, rounded half up."""
        parts = tuple(part(n) for n in range(3))
        records = tuple(record(p, units={"input_text": n}) for p, n in zip(parts, (8200, 3100, 0), strict=True))
        async with reports_over(database_url, World(parts, records)) as reports:
            (group,) = (await reports.report()).to_dict()["groups"]
        assert group["avg_tokens_per_session"] == "3766.67"

    async def test_a_record_without_a_price_is_unpriced_and_costs_nothing(self, database_url):
        """The total is the priced part; the unpriced request stands beside it."""
        p = part(1)
        world = World((p,), (record(p), record(p, service="tts", units={"characters": 9})))
        async with reports_over(database_url, world) as reports:
            totals = (await reports.report()).to_dict()["totals"]
        assert (totals["cost_usd"], totals["unpriced_requests"]) == ("0.000018660", 1)


class TestNothing:
    async def test_an_empty_ledger_answers_zeros(self, database_url):
        """No records: zero totals and no groups, whatever is asked."""
        async with reports_over(database_url, World()) as reports:
            for by in (["service"], ["hour"]):
                report = await reports.report(by=by)
                assert (report.sessions, report.totals, report.groups) == (0, Totals(), ())
            assert (await reports.sessions()).sessions == ()

    async def test_an_unknown_session_is_said(self, database_url):
        """The id is in the message."""
        async with reports_over(database_url, World()) as reports:
            with pytest.raises(UnknownSession, match="room_nowhere"):
                await reports.session("room_nowhere")

    @pytest.mark.parametrize(
        "by", [["colour"], [], ["user", "user"], ["day", "week"], ["a", "b", "c"], ["tag:"], ['tag:"']]
    )
    async def test_a_grouping_that_cannot_be_is_refused(self, sqlite_url, by):
        """One line, naming what is accepted."""
        async with reports_over(sqlite_url, World()) as reports:
            with pytest.raises(BadSetting, match=r"accepted: .+"):
                await reports.report(by=by)


class TestOneSession:
    async def test_tells_its_parts_services_participants_and_records(self, database_url):
        """The session's JSON: two parts of one session, merged; the caller whom both saw is named once."""
        begin = NOW - 60 * MINUTE
        agent = part(
            1,
            session_id="room_x",
            user_name="Ann",
            job="AJ_1",
            tags={"env": "prod"},
            status="closed",
            ended_at=begin + 5 * MINUTE,
            close_reason="user_initiated",
        )
        other = part(2, session_id="room_x", started_at=begin + SECOND, user_name="Ann", tags={"v": "1"})
        stays = tuple(Stay(p.key, "PA_1", "u1", "Ann", begin) for p in (agent, other))
        records = (
            record(agent, begin + 2 * SECOND, request_id="resp_1", metadata={"n": 1}, low={"input_text": 1}),
            record(other, begin + 3 * SECOND, service="transcriber", model="whisper-1", units={"audio_ms": 1500}),
        )
        async with reports_over(database_url, World((agent, other), records, stays)) as reports:
            answer = (await reports.session("room_x", records=True)).to_dict()
        assert list(answer) == SESSION_FIELDS
        assert (answer["status"], answer["ended_at"], answer["close_reason"]) == ("open", None, None)
        assert (answer["user"], answer["user_name"], answer["tags"]) == ("u1", "Ann", {"env": "prod", "v": "1"})
        assert answer["duration_seconds"] == "3600.000"
        assert [p["status"] for p in answer["parts"]] == ["closed", "open"]
        assert [(p["identity"], p["left_at"]) for p in answer["participants"]] == [("u1", None)]
        assert [(s["service"], s["session_end"]) for s in answer["services"]] == [
            ("transcriber", None),
            ("agent", "2026-11-22T11:12:31.000000Z"),
        ]
        assert (answer["totals"]["requests"], answer["totals"]["audio_seconds"]) == (2, "1.500")
        assert "sessions" not in answer["totals"]
        assert [list(r) for r in answer["records"]] == [RECORD_FIELDS] * 2
        assert (answer["records"][0]["request_id"], answer["records"][0]["metadata"]) == ("resp_1", {"n": 1})

    async def test_has_no_records_unless_asked(self, database_url):
        """Without `records=True` the field is missing."""
        p = part(1)
        async with reports_over(database_url, World((p,), (record(p),))) as reports:
            assert "records" not in (await reports.session(p.session_id)).to_dict()


class TestTheListOfSessions:
    async def test_is_newest_first_with_what_matched_in_the_period(self, database_url):
        """A session is listed by its start; its totals are of the matching records of the period."""
        old = part(1, started_at=NOW - 9 * 24 * 60 * MINUTE)
        new = part(2)
        world = World((old, new), (record(old), record(old, NOW - 8 * 24 * 60 * MINUTE), record(new), record(new)))
        async with reports_over(database_url, world) as reports:
            found = await reports.sessions()
        assert [(line.session.session_id, line.totals.requests) for line in found.sessions] == [
            ("room_2", 2),
            ("room_1", 1),
        ]
        assert not found.more

    async def test_has_a_call_that_spent_nothing_yet(self, database_url):
        """It began in the period; but who asks for a service or model sees only sessions that used it."""
        async with reports_over(database_url, World((part(1),))) as reports:
            assert [line.totals for line in (await reports.sessions()).sessions] == [Totals()]
            assert (await reports.sessions(user="nobody")).sessions == ()
            assert (await reports.sessions(service="agent")).sessions == ()

    async def test_says_that_there_are_more(self, database_url):
        """The limit keeps the newest."""
        parts = tuple(part(n, started_at=NOW - n * MINUTE) for n in (1, 2, 3))
        async with reports_over(database_url, World(parts)) as reports:
            found = await reports.sessions(limit=2)
        assert [line.session.session_id for line in found.sessions] == ["room_1", "room_2"]
        assert found.more


SESSION_FIELDS = """
    session_id status room user user_name tenant agent_name tags started_at ended_at duration_seconds close_reason
    parts participants services totals call_seconds cost_per_minute_usd records
""".split()  # noqa: SIM905 - read as lines
RECORD_FIELDS = """
    id time service provider model operation agent feature units informational_units input_tokens output_tokens
    provenance input_cost_usd output_cost_usd cost_usd processing_time_ms first_output_ms quality_score safety_score
    success error request_id metadata price_note
""".split()  # noqa: SIM905
