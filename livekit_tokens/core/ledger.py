"""The ledger as the drain sees it: a protocol that the store fulfils."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from livekit_tokens.core.lines import Late
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Entry


class Checkpoint(NamedTuple):
    """A place in a source's spool: all before it is in the database. `seq` is the last record's number before it."""

    segment: int
    offset: int
    seq: int


START = Checkpoint(segment=1, offset=0, seq=0)


@dataclass(frozen=True, slots=True)
class Source:
    """One process that writes: one spool, one lock, one checkpoint.

    `ledger` tells the ledger that it writes for from others (no password in it); empty: any.
    """

    id: str
    host: str
    pid: int
    started_at: Micros
    ledger: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction brings into the ledger.

    `parts` and `stays` are whole lines, the last one of a key counts. `records` come with their numbers,
    strictly increasing. `lost` counts records that the spool no longer held (a gap), to be added to the source's.
    `still_open`, where the spool has just said it, are keys of all parts that the source had open: others that the
    ledger believes to be open have ended in a gap. `late` are figures that came after their request was estimated.
    """

    source: Source
    before: Checkpoint | None
    after: Checkpoint
    parts: tuple[Part, ...]
    stays: tuple[Stay, ...]
    records: tuple[tuple[int, UsageRecord], ...]
    lost: int = 0
    still_open: frozenset[str] | None = None
    late: tuple[Late, ...] = ()


class LedgerConnection(Protocol):
    """One connection. Every method may raise LedgerUnavailable or LedgerTooNew; a connection that raised is closed."""

    async def checkpoint(self, source: str) -> Checkpoint | None:
        """Where the source's spool is drained to; None if the ledger does not know the source."""
        ...

    async def checkpoints(self, sources: Iterable[str]) -> Mapping[str, Checkpoint]:
        """The same for many sources at once; unknown ones are left out."""
        ...

    async def apply(self, batch: Batch) -> bool:
        """Write the batch and move the checkpoint from `before` to `after`, in one transaction.

        False: the checkpoint was not at `before` (another drain, a restored backup); nothing was written.
        """
        ...

    async def lacks(self, source: str, records: Sequence[tuple[int, UsageRecord]]) -> int:
        """How many of these numbered records of a source it does not have: under their number, or at all."""
        ...

    async def make_durable(self, source: str) -> None:
        """Bring what was applied of a source to the ledger's disk: from then on no power cut takes it."""
        ...

    def forgot(self, source: str) -> bool:
        """Whether something that was applied of this source told of people whom the ledger has forgotten."""
        ...

    async def entries(
        self, source: str, after: int, parts: Collection[str] | None, limit: int
    ) -> Sequence[tuple[int, Entry]]:
        """A source's records that are numbered above `after`, in their order, with their numbers and prices; only of
        these `parts`, where it is known that there are no others.
        """
        ...

    async def retain(self, days: int) -> bool:
        """Once a day, whoever asks first: remove a small batch of the records that are older than so many days.

        True: there may be more; ask again after a while.
        """
        ...

    async def roll_up(self, seconds: float) -> bool:
        """Add up days that are over once more, so that long reports are quick, for about so long. True: there is more
        to do, and it is gone on with.

        Reports are right with it and without it, and nobody waits for it.
        """
        ...

    @property
    def is_scarce(self) -> bool:
        """Whether its server has only so many connections: one that is kept idle is missing elsewhere."""
        ...

    def stale(self) -> bool:
        """The database behind this connection is gone or has been replaced; connect again. No I/O beyond a stat."""
        ...

    async def aclose(self) -> None: ...


class Ledger(Protocol):
    async def connect(self) -> LedgerConnection:
        """Connect, bring the schema up to date at first use, or raise LedgerUnavailable or LedgerTooNew."""
        ...
