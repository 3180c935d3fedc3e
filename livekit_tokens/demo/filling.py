"""Traffic that nobody has had, written into a ledger the way the drain writes: batches with a checkpoint, and sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from livekit_tokens.core.ledger import Batch, Checkpoint, LedgerConnection, Source
from livekit_tokens.demo.traffic import Call
from livekit_tokens.domain.errors import LedgerUnavailable

BATCH_RECORDS = 2_500
"""About what the drain reads at a time (benchmarks/ingest.py)."""


@dataclass(frozen=True, slots=True)
class Filled:
    calls: int = 0
    records: int = 0


async def fill(
    connection: LedgerConnection, source: Source, calls: Iterable[Call], say: Callable[[Filled], None] = lambda _: None
) -> Filled:
    """Write the calls as one source's; `say` hears after each batch how far it is.

    Raises LedgerUnavailable, also if the ledger has this source already.
    """
    filled = Filled()
    before = None
    for together in _gathered(calls):
        batch = _batch(source, before, together)
        if not await connection.apply(batch):
            raise LedgerUnavailable("the ledger has this demo traffic already, or somebody else writes it; see --seed")
        before = batch.after
        filled = Filled(filled.calls + len(together), filled.records + len(batch.records))
        say(filled)
    return filled


def _gathered(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """Whole calls, about BATCH_RECORDS at a time."""
    together: list[Call] = []
    records = 0
    for call in calls:
        together.append(call)
        records += len(call.records)
        if records >= BATCH_RECORDS:
            yield together
            together, records = [], 0
    if together:
        yield together


def _batch(source: Source, before: Checkpoint | None, calls: list[Call]) -> Batch:
    records = sorted(chain.from_iterable(call.records for call in calls), key=lambda record: record.at)
    seq = before.seq if before else 0
    return Batch(
        source=source,
        before=before,
        # There is no spool: the place only has to move on.
        after=Checkpoint(1, seq + len(records), seq + len(records)),
        parts=tuple(call.part for call in calls),
        stays=tuple(call.stay for call in calls),
        records=tuple(enumerate(records, seq + 1)),
    )
