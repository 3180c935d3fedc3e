"""Periods are half-open; days, weeks and months are cut where the reader's clocks say so."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import (
    CUTTINGS,
    DAY,
    Period,
    between,
    calendar_period,
    cut,
    last_days,
    period_before,
    read_moment,
    read_zone,
    so_far_and_before,
    split,
)
from livekit_tokens.domain.times import QUARTER, SECOND, rfc3339, to_datetime, to_micros

BERLIN = read_zone("Europe/Berlin")
NOW = to_micros(datetime(2026, 11, 22, 15, 7, tzinfo=UTC))  # a Sunday


def moments(period: Period) -> tuple[str, str]:
    return rfc3339(period.since)[:19], rfc3339(period.until)[:19]


def in_berlin(text: str) -> int:
    return read_moment(text, BERLIN)


class TestSplit:
    @given(since=st.integers(0, 4 * QUARTER), length=st.integers(1, 6 * QUARTER))
    def test_the_three_pieces_are_the_period(self, since, length):
        """Head, whole and tail follow each other without gap or overlap; whole consists of whole buckets."""
        period = Period(since, since + length)
        found = split(period)
        pieces = [p for p in (found.head, found.whole, found.tail) if not p.empty]
        assert pieces[0].since == period.since
        assert pieces[-1].until == period.until
        assert all(a.until == b.since for a, b in itertools.pairwise(pieces))
        assert found.whole.empty or found.whole.since % QUARTER == found.whole.until % QUARTER == 0
        assert all(p.until - p.since < 2 * QUARTER for p in (found.head, found.tail))

    def test_whole_buckets_need_no_edges(self):
        """A period on bucket edges is all sums."""
        found = split(Period(QUARTER, 3 * QUARTER))
        assert found.head.empty
        assert found.tail.empty


class TestReadingAMoment:
    @pytest.mark.parametrize(
        ("text", "utc"),
        [
            ("2026-11-22", "2026-11-21T23:00:00.000000Z"),
            ("2026-11-22 15:00", "2026-11-22T14:00:00.000000Z"),
            ("2026-07-22T15:00:01", "2026-07-22T13:00:01.000000Z"),
            ("2026-11-22T15:00:00Z", "2026-11-22T15:00:00.000000Z"),
            ("2026-11-22t15:00:00.1234567z", "2026-11-22T15:00:00.123456Z"),
            ("2026-11-22T15:00:00+05:45", "2026-11-22T09:15:00.000000Z"),
            ("2026-11-22 15:00 -0330", "2026-11-22T18:30:00.000000Z"),
        ],
    )
    def test_a_time_without_an_offset_is_the_readers(self, text, utc):
        """RFC 3339, a date, or a date with hours and minutes."""
        assert rfc3339(read_moment(text, BERLIN)) == utc

    def test_a_time_that_comes_twice_is_the_first(self):
        """02:30 in the night when clocks go back."""
        assert rfc3339(in_berlin("2026-10-25 02:30"))[:16] == "2026-10-25T00:30"

    @pytest.mark.parametrize(
        "text", ["", "yesterday", "2026-13-01", "2026-11-22 25:00", "22.11.2026", "\u0662026-11-22"]
    )
    def test_what_cannot_be_read_is_one_line(self, text):
        """The value, and examples of what is accepted."""
        with pytest.raises(BadSetting, match=r"time '.*'.*accepted: 2026-11-22, 2026-11-22 15:00 or"):
            read_moment(text, UTC)

    @pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31 23:59"])
    def test_the_ends_of_the_calendar_do_no_harm(self, text):
        """They are a time or a BadSetting, in every zone."""
        for zone in (UTC, BERLIN, read_zone("America/St_Johns")):
            with contextlib.suppress(BadSetting):
                read_moment(text, zone)


class TestZones:
    @pytest.mark.parametrize("name", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/passwd", "a\0b"])
    def test_an_unknown_zone_is_one_line(self, name):
        """Whatever the file system makes of the name."""
        with pytest.raises(BadSetting, match="accepted: an IANA name such as Europe/Berlin"):
            read_zone(name)


class TestPresets:
    def test_the_last_days_are_24_hours_each(self):
        """Up to now, whatever the clocks did."""
        assert moments(last_days(7, NOW)) == ("2026-11-15T15:07:00", "2026-11-22T15:07:00")

    @pytest.mark.parametrize("days", [0, -1, 10**9])
    def test_days_have_bounds(self, days):
        """And they are said."""
        with pytest.raises(BadSetting, match="accepted: a whole number from 1 to 36500"):
            last_days(days, NOW)

    @pytest.mark.parametrize(
        ("name", "since", "until"),
        [
            ("today", "2026-11-21T23:00:00", "2026-11-22T23:00:00"),
            ("this-week", "2026-11-15T23:00:00", "2026-11-22T23:00:00"),
            ("this-month", "2026-10-31T23:00:00", "2026-11-30T23:00:00"),
        ],
    )
    def test_calendar_periods_are_the_readers(self, name, since, until):
        """The day, the week from Monday, the month."""
        assert moments(calendar_period(name, NOW, BERLIN)) == (since, until)

    def test_a_day_of_changed_clocks_is_longer(self):
        """25 hours in autumn."""
        day = calendar_period("today", in_berlin("2026-10-25 12:00"), BERLIN)
        assert day.until - day.since == DAY + 3600 * SECOND

    def test_between_fills_what_is_missing(self):
        """No end is now; no beginning is seven days before the end."""
        assert between(NOW - 5, None, NOW) == Period(NOW - 5, NOW)
        assert between(None, NOW - DAY, NOW) == Period(NOW - 8 * DAY, NOW - DAY)

    @pytest.mark.parametrize("text", ["1969-01-01", "3000-01-01", "9999-12-31"])
    def test_the_ends_of_the_calendar_are_out_of_range(self, text):
        """Nothing was tracked then, and their neighbours do not exist."""
        with pytest.raises(BadSetting, match="accepted: 1970 to 2999"):
            between(read_moment(text, UTC), None, NOW)

    def test_an_empty_period_is_refused(self):
        """Since must be before until."""
        with pytest.raises(BadSetting, match="is not before until"):
            between(NOW, NOW, NOW)


class TestCuts:
    def test_keys_are_those_of_the_design(self):
        """Hour with offset, day, ISO week, month."""
        period = Period(in_berlin("2026-11-22 15:30"), in_berlin("2026-11-22 15:45"))
        assert [cut(period, c, BERLIN)[0].key for c in CUTTINGS] == [
            "2026-11-22T15:00+01:00",
            "2026-11-22",
            "2026-W47",
            "2026-11",
        ]

    def test_an_iso_week_has_its_own_year(self):
        """1 January 2027 is in the last week of 2026."""
        period = Period(in_berlin("2027-01-01"), in_berlin("2027-01-05"))
        assert [c.key for c in cut(period, "week", BERLIN)] == ["2026-W53", "2027-W01"]

    def test_the_hour_that_comes_twice_is_cut_twice(self):
        """And the one that is skipped does not exist."""
        autumn = cut(Period(in_berlin("2026-10-25 02:00"), in_berlin("2026-10-25 04:00")), "hour", BERLIN)
        spring = cut(Period(in_berlin("2026-03-29 01:00"), in_berlin("2026-03-29 04:00")), "hour", BERLIN)
        assert [c.key[11:] for c in autumn] == ["02:00+02:00", "02:00+01:00", "03:00+01:00"]
        assert [c.key[11:] for c in spring] == ["01:00+01:00", "03:00+02:00"]

    def test_a_change_of_half_an_hour_cuts_an_hour_in_two(self):
        """Lord Howe Island's clocks go back from 02:00 to 01:30."""
        zone = read_zone("Australia/Lord_Howe")
        since, until = (read_moment(f"2026-04-05 {t}", zone) for t in ("01:00", "03:00"))
        found = cut(Period(since, until), "hour", zone)
        assert [(c.key[11:], (c.span.until - c.span.since) // (60 * SECOND)) for c in found] == [
            ("01:00+11:00", 60),
            ("01:00+10:30", 30),
            ("02:00+10:30", 60),
        ]

    def test_days_begin_at_the_readers_midnight(self):
        """Nepal is 5:45 ahead: its midnight is on a bucket's edge all the same."""
        zone = read_zone("Asia/Kathmandu")
        first, second = cut(Period(NOW, NOW + DAY), "day", zone)
        assert rfc3339(second.span.since) == "2026-11-22T18:15:00.000000Z"
        assert second.span.since % QUARTER == 0
        assert (first.key, second.key) == ("2026-11-22", "2026-11-23")

    def test_a_day_that_a_zone_left_out_is_left_out(self):
        """Samoa had no 30 December 2011."""
        zone = read_zone("Pacific/Apia")
        since, until = read_moment("2011-12-29", zone), read_moment("2012-01-01", zone)
        assert [c.key for c in cut(Period(since, until), "day", zone)] == ["2011-12-29", "2011-12-31"]

    @given(
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana"]),
        since=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
        hours=st.integers(1, 24 * 90),
        cutting=st.sampled_from(CUTTINGS),
    )
    def test_cuts_cover_the_period_once(self, zone, since, hours, cutting):
        """Without gap or overlap, in order, each with a key of its own."""
        begin = to_micros(since.replace(tzinfo=UTC))
        period = Period(begin, begin + hours * 3600 * SECOND)
        cuts = cut(period, cutting, read_zone(zone))
        assert cuts[0].span.since == period.since
        assert cuts[-1].span.until == period.until
        assert all(a.span.until == b.span.since for a, b in itertools.pairwise(cuts))
        assert len({c.key for c in cuts}) == len(cuts)

    def test_too_many_groups_are_refused(self):
        """Hours of a century."""
        with pytest.raises(BadSetting, match="more than 50000 groups"):
            cut(Period(0, to_micros(datetime(2026, 1, 1, tzinfo=UTC))), "hour", UTC)


def span_of(period: Period, zone: str) -> tuple[str, str]:
    ends = (to_datetime(at).astimezone(read_zone(zone)) for at in (period.since, period.until))
    first, last = (end.strftime("%m-%d %H:%M") for end in ends)
    return first, last


@pytest.mark.parametrize(
    ("name", "now", "zone", "before"),
    [
        ("today", "2026-11-22 15:30", "Asia/Kathmandu", ("11-21 00:00", "11-21 15:30")),
        ("this-week", "2026-11-25 09:00", "Europe/Berlin", ("11-16 00:00", "11-18 09:00")),
        ("this-month", "2026-11-22 15:30", "UTC", ("10-01 00:00", "10-22 15:30")),
        ("this-month", "2026-03-31 12:00", "UTC", ("02-01 00:00", "03-01 00:00")),
        # The night of 25 October 2026 had an hour more: by the clock, not by its length.
        ("today", "2026-10-26 12:00", "Europe/Berlin", ("10-25 00:00", "10-25 12:00")),
    ],
)
def test_the_day_week_or_month_before_goes_as_far_by_the_clock(name, now, zone, before):
    """What is set beside today until now is yesterday until the same time."""
    at = read_moment(now, read_zone(zone))
    so_far, then = so_far_and_before(name, at, read_zone(zone))
    assert so_far == Period(calendar_period(name, at, read_zone(zone)).since, at)
    assert span_of(then, zone) == before


def test_the_period_before_ends_where_this_one_begins():
    """As long as this one."""
    assert period_before(Period(100, 130)) == Period(70, 100)
