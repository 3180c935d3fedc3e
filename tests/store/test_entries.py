"""What the ledger answers about a source's records, to whoever follows it."""

from __future__ import annotations

from livekit_tokens.core.ledger import Source
from livekit_tokens.domain.pricing import Price
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.erasing import erase
from tests.store.batches import KEY, OTHER_KEY, SOURCE, START, batch, part, record

OTHERS = Source("source-2", "host", 8, START)


async def test_a_sources_records_come_in_their_order_above_a_number(connection):
    """Not another source's; at most so many; of some parts, where only these are asked about."""
    told = [record(), record(OTHER_KEY), record(), record(OTHER_KEY)]
    parts = [part(), part(OTHER_KEY, "shared_y", user="bob")]
    assert await connection.apply(batch(*told, parts=parts))
    assert await connection.apply(batch(record("0c" * 16), parts=[part("0c" * 16, "x_y")], source=OTHERS))
    found = await connection.entries(SOURCE.id, 1, None, 2)
    assert [(seq, entry.user, entry.session_id) for seq, entry in found] == [
        (2, "bob", "shared_y"),
        (3, "ann", "room_abc"),
    ]
    assert [seq for seq, _ in await connection.entries(SOURCE.id, 0, {OTHER_KEY}, 10)] == [2, 4]
    assert await connection.entries("nobody", 0, None, 10) == []


async def test_they_have_their_prices_and_not_who_was_forgotten(database_url):
    """As the ledger has them."""
    ledger = StoreLedger(database_url, pricing=lambda _record: Price(7, 8))
    try:
        connection = await ledger.connect()
        assert await connection.apply(batch(record(), parts=[part()]))
        await connection.aclose()
        await erase(ledger, frozenset({"ann"}), START + 1, all_rooms=False, dry_run=False)
        connection = await ledger.connect()
        ((_, entry),) = await connection.entries(SOURCE.id, 0, {KEY}, 10)
        assert (entry.line.price.total, entry.user) == (15, None)
        await connection.aclose()
    finally:
        await ledger.aclose()
