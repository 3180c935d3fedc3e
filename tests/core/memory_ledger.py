"""A ledger in memory, strict about checkpoints and keys, that can fail on command."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from livekit_tokens.core.ledger import Batch, Checkpoint
from livekit_tokens.core.lines import Late
from livekit_tokens.core.reports import Entry
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.sessions import IN_A_GAP, Part, ended
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.usage import UsageRecord


class MemoryLedger:
    def __init__(self) -> None:
        self.at: dict[str, Checkpoint] = {}
        self.records: dict[tuple[str, int], UsageRecord] = {}
        self.parts: dict[str, Part] = {}
        self.late: list[Late] = []
        self.lost = 0
        self.batches = 0
        self.durable: dict[str, Checkpoint] = {}
        self.fail_next = 0

    async def connect(self) -> MemoryLedger:
        return self

    async def checkpoint(self, source: str) -> Checkpoint | None:
        return self.at.get(source)

    async def checkpoints(self, sources: Iterable[str]) -> Mapping[str, Checkpoint]:
        return {source: self.at[source] for source in sources if source in self.at}

    async def entries(
        self, source: str, after: int, parts: Collection[str] | None, limit: int
    ) -> Sequence[tuple[int, Entry]]:
        found = [
            (seq, record)
            for (of, seq), record in sorted(self.records.items())
            if of == source and seq > after and (parts is None or record.part in parts)
        ]
        return [(seq, self._entry(seq, record)) for seq, record in found[:limit]]

    def _entry(self, seq: int, record: UsageRecord) -> Entry:
        part = self.parts.get(record.part)
        whose = (None, None, None, None, {}) if part is None else (part.user, None, None, part.room, part.tags)
        return Entry(RecordLine(f"{record.part}-{seq}", record), part.session_id if part else "", *whose)

    async def apply(self, batch: Batch) -> bool:
        if self.fail_next:
            self.fail_next -= 1
            raise LedgerUnavailable("on command")
        if self.at.get(batch.source.id) != batch.before:
            return False
        for seq, record in batch.records:
            key = (batch.source.id, seq)
            assert key not in self.records, f"{key} would be counted twice"
            self.records[key] = record
        for part in batch.parts:
            self.parts[part.key] = part
        self.late += batch.late
        for key, part in self.parts.items():
            if batch.still_open is not None and part.status == "open" and key not in batch.still_open:
                self.parts[key] = ended(part, part.started_at, IN_A_GAP, abandoned=True)
        self.at[batch.source.id] = batch.after
        self.lost += batch.lost
        self.batches += 1
        return True

    async def lacks(self, source: str, records: Sequence[tuple[int, UsageRecord]]) -> int:
        return sum(self.records.get((source, seq)) != record for seq, record in records)

    async def make_durable(self, source: str) -> None:
        self.durable |= {source: self.at[source]} if source in self.at else {}

    def forgot(self, source: str) -> bool:
        return False

    async def roll_up(self, seconds: float) -> bool:
        return False

    @property
    def is_scarce(self) -> bool:
        return False

    def stale(self) -> bool:
        return False

    async def aclose(self) -> None: ...

    def seqs(self) -> list[int]:
        return sorted(seq for _, seq in self.records)
