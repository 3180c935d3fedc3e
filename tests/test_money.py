"""What a call costs, from the provider's event to the receipt and the ledger, by the published prices."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from livekit.rtc import EventEmitter

from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.reports import Reports, open_reports
from livekit_tokens.core.tally import Tally
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.runtime import new_key, now
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from tests.golden import GOLDEN


class Call:
    """A tracked call and its ledger, with one price book for both, as a process has it."""

    def __init__(self, folder: Path, url: str, prices: PriceBook | None = None) -> None:
        prices = prices or PriceBook()
        self.ledger = StoreLedger(url, pricing=prices.price)
        self.recorder = Recorder(folder, Source("s", "here", 1, 0), now, prices=prices)
        self.at = now()
        process = Process(self.recorder, self._flush, lambda: self.at, new_key)
        part = Part(new_key(), "room_1", self.at, room="room")
        self.live = LivePart(part, process, agent=lambda: None)

    async def _flush(self, _: float) -> bool:
        connection = await self.ledger.connect()
        await SpoolDrain(self.recorder.folder, self.recorder.source, connection).drain()
        await connection.aclose()
        return True

    def hears(self, model: str, usage: dict[str, Any]) -> None:
        """The provider's event of one response."""
        session: EventEmitter[str] = EventEmitter()
        RealtimeWitness(self.live, lambda: (model, "openai"), "r1").attach(session)
        response = {"id": "resp_1", "status": "completed", "usage": usage}
        session.emit("openai_server_event_received", {"type": "response.done", "response": response})

    @property
    def reports(self) -> Reports:
        return open_reports(StoredUsage(self.ledger), now=now)


@pytest.fixture
async def call(tmp_path: Path, database_url: str) -> AsyncIterator[Call]:
    folder = tmp_path / "spool"
    folder.mkdir()
    made = Call(folder, database_url)
    yield made
    await made.ledger.aclose()


async def test_the_golden_turn_costs_exactly_what_was_billed(call: Call) -> None:
    """$0.0042616: in the receipt, in the session's JSON, in the period's, and in `api_usage`."""
    call.hears("gpt-realtime", GOLDEN)
    call.at += 60_000_000
    call.live.fix("participant_disconnected")
    receipt = await call.live.settle()

    assert "1 request, 200 tokens, $0.004262, $0.004262 a minute" in str(receipt)
    assert receipt.totals.cost == 4_261_600
    stored = await call.reports.session("room_1", records=True)
    assert stored.totals == receipt.totals
    assert stored.to_dict()["records"][0]["cost_usd"] == "0.004261600"
    assert (stored.to_dict()["cost_per_minute_usd"], stored.to_dict()["call_seconds"]) == ("0.004261600", "60.000")
    async with call.ledger.reader() as conn:
        assert float((await conn.exec_driver_sql("SELECT cost_usd FROM api_usage")).scalar_one()) == 0.0042616


async def test_an_unknown_model_is_unpriced_and_says_so(call: Call) -> None:
    """NULL, counted, with the reason; never 0 and never another model's price."""
    call.hears("gpt-of-tomorrow", GOLDEN)
    call.live.fix("participant_disconnected")
    receipt = await call.live.settle()

    assert "200 tokens, unpriced" in str(receipt)
    (record,) = (await call.reports.session("room_1", records=True)).records or ()
    assert (record.price.input, record.price.output) == (None, None)
    assert "gpt-of-tomorrow" in (record.price.note or "")


async def test_one_billed_unit_without_a_price_makes_the_record_unpriced(call: Call) -> None:
    """And the note says which unit."""
    call.live.write(
        call.live.new_record(
            service="agent",
            provider="openai",
            model="gpt-4o-mini",
            operation="chat_completion",
            units={"input_text": 10, "output_audio": 5},
        )
    )
    await call._flush(1)

    (record,) = (await call.reports.session("room_1", records=True)).records or ()
    assert record.price.total is None
    assert "output_audio" in (record.price.note or "")


@pytest.mark.parametrize(
    ("at", "cost"),
    [(datetime(2025, 6, 9, 23, 59, 59, 999_999, tzinfo=UTC), 10_000), (datetime(2025, 6, 10, tzinfo=UTC), 2_000)],
    ids=["a microsecond before the change", "at midnight"],
)
async def test_a_price_that_changes_at_midnight_holds_for_what_was_used_from_then_on(
    call: Call, at: datetime, cost: int
) -> None:
    """o3 became cheaper on 2025-06-10: a record is priced by its own time, whenever it is drained."""
    call.at = to_micros(at)
    chat: Callable[..., Any] = call.live.new_record
    call.live.write(
        chat(service="agent", provider="openai", model="o3", operation="chat_completion", units={"input_text": 1})
    )
    await call._flush(1)

    (record,) = (await call.reports.session("room_1", records=True)).records or ()
    assert record.price.total == cost


PER_MILLION = {
    "gpt-realtime": {
        "input_text": "4",
        "cached_input_text": "0.4",
        "output_text": "16",
        "input_audio": "32",
        "cached_input_audio": "0.4",
        "output_audio": "64",
    },
    "gpt-realtime-mini": {
        "input_text": "0.6",
        "cached_input_text": "0.06",
        "output_text": "2.4",
        "input_audio": "10",
        "cached_input_audio": "0.3",
        "output_audio": "20",
    },
    "gpt-4o-mini": {"input_text": "0.15", "cached_input_text": "0.075", "output_text": "0.6"},
    "text-embedding-3-small": {"input_text": "0.02"},
    "tts-1": {"characters": "15"},
    "gpt-of-tomorrow": {},
}
"""Dollars, by OpenAI's price page."""
DISCOUNT = '[[discount]]\nprovider = "openai"\nmodel = "*"\npercent = "12.3457"\n'
"""Makes nearly every record's cost a fraction of a nano-dollar."""


async def test_100_000_records_cost_their_exact_rational_sum_after_one_rounding_each(tmp_path: Path) -> None:
    """In the ledger and in the live sums; half-even, input and output adding up; what has no price is counted."""
    draw = random.Random(1)
    (tmp_path / "prices.toml").write_text(DISCOUNT)
    prices = PriceBook(tmp_path / "prices.toml")
    at = to_micros(datetime(2026, 11, 22, tzinfo=UTC))
    records = [
        UsageRecord(
            "0a" * 16,
            at + draw.randrange(86_400_000_000),
            "agent",
            "openai",
            model := draw.choice(list(PER_MILLION)),
            "chat_completion",
            {unit: draw.randrange(1, 100_000) for unit in PER_MILLION[model]} or {"input_text": 1},
        )
        for _ in range(100_000)
    ]
    exact = [exact_nanos(record) for record in records]
    assert sum(cost.denominator > 1 for cost in exact) > 70_000

    ledger = StoreLedger(f"sqlite:///{tmp_path / 'ledger.db'}", pricing=prices.price)
    connection = await ledger.connect()
    before = None
    for start in range(0, len(records), 5000):
        after = Checkpoint(1, start + 1, start + 5000)
        numbered = tuple(enumerate(records[start : start + 5000], start + 1))
        parts = (Part("0a" * 16, "room_1", at),)
        assert await connection.apply(Batch(Source("s", "h", 1, 0), before, after, parts, (), numbered))
        before = after
    await connection.aclose()
    tally = Tally(prices)
    for record in records:
        tally.add(record)

    totals = (await open_reports(StoredUsage(ledger), now=now).session("room_1")).totals
    await ledger.aclose()
    assert totals.cost == sum(map(round, exact))
    assert totals.unpriced_requests == sum(record.model == "gpt-of-tomorrow" for record in records)
    assert sum((line for _, line in tally.lines()), Totals()) == totals


def exact_nanos(record: UsageRecord) -> Fraction:
    rates = PER_MILLION[record.model]
    dollars = sum((Fraction(rates[unit]) * n for unit, n in record.units.items() if unit in rates), Fraction(0))
    return dollars * 1000 * (1 - Fraction("12.3457") / 100)


async def test_a_prices_file_that_changes_during_a_call_changes_receipt_and_ledger_alike(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is brought into the ledger from then on, and stands in the live sums, has the new prices in both."""
    monkeypatch.setattr("livekit_tokens.prices.prices_file.LOOK_SECONDS", 0)
    own = tmp_path / "prices.toml"
    own.write_text(DISCOUNT)
    call = Call(tmp_path, database_url, PriceBook(own))
    for percent in ("50.123", "7"):
        call.hears("gpt-realtime", GOLDEN)
        call.recorder.tend()
        await call._flush(1)
        assert call.live.summary().totals == (await call.reports.session("room_1")).totals
        own.write_text(DISCOUNT.replace("12.3457", percent))
    discounted = [round(4_261_600 * (100 - Fraction(percent)) / 100) for percent in ("12.3457", "50.123")]
    assert call.live.summary().totals.cost == sum(discounted)
    await call.ledger.aclose()


BY_THE_MINUTE = """
[[price]]
provider = "livekit"
model = "agent-minutes"
unit = "session_ms"
price = "0.01"
per = "minute"
"""


async def test_a_calls_own_minutes_are_in_its_receipt_where_a_price_for_them_is_given(
    tmp_path: Path, database_url: str
) -> None:
    """LiveKit's agent minutes of PRICES_FILE: a record when the part ends, estimated, priced by the millisecond."""
    (tmp_path / "prices.toml").write_text(BY_THE_MINUTE)
    prices = PriceBook(tmp_path / "prices.toml")
    prices.look()
    call = Call(tmp_path, database_url, prices)
    call.at += 90_000_000
    call.live.fix("participant_disconnected")
    receipt = await call.live.settle()

    assert "livekit agent-minutes: session_ms 90,000; 1 request, 0 tokens, $0.015000" in str(receipt)
    assert (receipt.totals.cost, receipt.totals.estimated_cost) == (15_000_000, 15_000_000)
    assert (await call.reports.session("room_1")).totals == receipt.totals
    await call.ledger.aclose()
