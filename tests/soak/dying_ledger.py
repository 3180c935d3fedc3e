"""A ledger whose process dies around a commit: before it, inside its transaction, or when it has just returned."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, Literal

from livekit_tokens.core.ledger import Ledger
from livekit_tokens.store import ingest

Moment = Literal["before", "inside", "after"]


@dataclass(frozen=True)
class Death:
    """SIGKILL to itself around the n-th batch that brings records, counted from 1."""

    when: Moment
    batch: int = 1


class DyingLedger(Ledger):
    """Wraps a ledger; without a death it only passes on."""

    def __init__(self, inner: Ledger, death: Death | None) -> None:
        self._inner = inner
        self._death = death
        self._batches = 0

    async def connect(self) -> Any:
        connection: Any = await self._inner.connect()
        if self._death is None:
            return connection
        apply = connection.apply

        async def dying(batch: Any) -> bool:
            self._batches += bool(batch.records)
            due = self._death is not None and self._batches == self._death.batch
            if due and self._death.when == "before":
                die()
            if due and self._death.when == "inside":
                kill_inside_the_transaction()
            done: bool = await apply(batch)
            if due and self._death.when == "after":
                die()
            return done

        connection.apply = dying
        return connection


def kill_inside_the_transaction() -> None:
    """From here on, the first batch dies when its records and sums are written and not yet committed."""
    really_write = ingest._write

    async def write_and_die(*args: Any) -> None:
        await really_write(*args)
        die()

    ingest._write = write_and_die


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
