"""A month of plausible traffic in both databases: the same records, each in the tables of its tracker."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice

from benchmarks.peers.environments import Tracker
from livekit_tokens.bootstrap import now
from livekit_tokens.core.ledger import Source
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import Call, traffic
from livekit_tokens.domain import units
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.store.connection import StoreLedger

MODALITIES = {"agent": "llm", "transcriber": "stt", "tts": "tts"}
_AT_ONCE = 5_000


def calls_of_a_month(records: int) -> Iterator[Call]:
    until = now()
    return traffic(Period(until - 30 * DAY, until), records, seed=1)


def fill_ours(ours: Tracker, records: int) -> None:
    """As the drain does; days that are over are rolled up, as it does when it has time."""

    async def work() -> None:
        ledger = StoreLedger(f"sqlite:///{ours.database}", pricing=PriceBook().price)
        connection = await ledger.connect()
        await fill(connection, Source("month", "bench", 1, now()), calls_of_a_month(records))
        while await connection.roll_up(5):
            pass
        await connection.aclose()
        await ledger.aclose()

    asyncio.run(work())


def fill_theirs(theirs: Tracker, records: int) -> None:
    """Into the tables that their own migrations have made, which `ask("month")` runs first."""
    theirs.ask("month", theirs.database)
    rows = chain.from_iterable(_rows(call) for call in calls_of_a_month(records))
    with closing(sqlite3.connect(theirs.database, isolation_level=None)) as conn:
        while some := list(islice(rows, _AT_ONCE)):
            names, marks = ", ".join(some[0]), ", ".join(f":{name}" for name in some[0])
            conn.execute("BEGIN")
            conn.executemany(f"INSERT INTO requests ({names}) VALUES ({marks})", some)
            conn.execute("COMMIT")


_BOOK = PriceBook()


def _rows(call: Call) -> Iterator[dict[str, object]]:
    for number, record in enumerate(call.records):
        yield _row(record, f"{record.part}-{number}", call.part.session_id)


def _row(record: UsageRecord, key: str, session: str) -> dict[str, object]:
    """As their capture writes it: minutes, tokens or characters."""
    price = _BOOK.price(record)
    minutes = record.units.get("audio_ms", 0) / 60_000
    return {
        "id": key,
        "timestamp": record.at / 1e6,
        "project": "default",
        "modality": MODALITIES.get(record.service, "llm"),
        "model_id": f"{record.provider}/{record.model}",
        "provider": record.provider,
        "input_units": units.input_tokens(record.units) or minutes or record.units.get("characters", 0),
        "output_units": units.output_tokens(record.units),
        "cost_usd": (price.total or 0) / 1e9,
        "pricing_source": "voice-prices@0.11.0",
        "ttfb_ms": record.first_output_ms,
        "total_latency_ms": record.processing_ms,
        "status": "success" if record.success else "error",
        "session_id": session,
        "agent_id": record.agent,
    }
