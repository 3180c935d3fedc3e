"""Traffic that nobody has had: what is plausible about it, and that it is the same for a seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from livekit_tokens.demo.rhythm import Rhythm
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, HOUR, Period
from livekit_tokens.domain.units import make_units

END = 1_795_000_000_000_000
YEAR = Period(END - 365 * DAY, END)


def test_traffic_is_the_same_for_a_seed_and_differs_between_seeds():
    """Whoever measures a ledger can make the same one again."""
    assert list(traffic(YEAR, 300, seed=7)) == list(traffic(YEAR, 300, seed=7))
    assert list(traffic(YEAR, 300, seed=7)) != list(traffic(YEAR, 300, seed=8))


def test_there_are_exactly_as_many_records_as_were_asked_for():
    """The last call is cut short; one record is a call, too."""
    for records in (1, 2, 777):
        assert sum(len(call.records) for call in traffic(YEAR, records, seed=1)) == records


def test_calls_come_in_order_and_lie_inside_the_period():
    """Parts, stays and records: nothing before the year, nothing after its end, in a call everything in order."""
    calls = list(traffic(YEAR, 5_000, seed=1))
    assert all(a.part.started_at <= b.part.started_at for a, b in pairwise(calls))
    for call in calls:
        times = [call.part.started_at, *(record.at for record in call.records), call.part.ended_at]
        assert times == sorted(times)
        assert times[0] >= YEAR.since
        assert times[-1] < YEAR.until
        assert (call.stay.joined_at, call.stay.left_at) == (call.part.started_at, call.part.ended_at)
    assert calls[0].part.started_at < YEAR.since + 5 * DAY
    assert calls[-1].part.started_at > YEAR.until - 5 * DAY


def test_units_are_possible_and_estimates_lie_within_their_bounds():
    """What is drawn is what a provider could have billed."""
    for call in traffic(YEAR, 5_000, seed=1):
        for record in call.records:
            assert make_units(record.units) == record.units
            for unit, quantity in record.units.items():
                if record.provenance == "estimated":
                    assert record.low[unit] <= quantity <= record.high[unit]


def test_everything_that_a_report_tells_apart_is_in_it():
    """Several of each label, and requests that failed, were estimated, and of which nothing is known."""
    calls = list(traffic(YEAR, 20_000, seed=1))
    records = [record for call in calls for record in call.records]
    for label, at_least in (("service", 4), ("provider", 3), ("model", 8), ("operation", 5), ("agent", 3)):
        assert len({getattr(record, label) for record in records}) >= at_least
    assert len({record.feature for record in records}) >= 4
    assert {record.provenance for record in records} == {"reported", "estimated", "unknown"}
    assert any(not record.success for record in records)
    assert {call.part.status for call in calls} == {"closed", "abandoned"}
    assert len({call.part.tenant for call in calls}) >= 10
    assert Counter(call.part.user for call in calls).most_common(1)[0][1] > 5
    assert len({call.part.session_id for call in calls}) == len(calls)


def test_a_working_morning_has_many_times_the_calls_of_a_night():
    """The daily rhythm, and the weekly one."""
    rhythm = Rhythm(YEAR)
    hours = Counter(rhythm.at(share / 5_000) // HOUR % 24 for share in range(5_000))
    assert hours[10] > 10 * max(1, hours[3])
    days = Counter((rhythm.at(share / 5_000) // DAY + 3) % 7 for share in range(5_000))
    assert days[1] > 2 * days[6]
