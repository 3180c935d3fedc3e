"""What a process that writes does now and then, beside its own drain: it brings home what dead processes left, rolls up
days that are over, removes records that are older than they may be.

Each chore may fail, is noted then, and is tried again later. A connection that has raised has closed itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.core import elsewhere, faults, spool
from livekit_tokens.core.ledger import LedgerConnection, Source
from livekit_tokens.core.takeover import Terms, Turn, remove_left, take_over_in_turns
from livekit_tokens.domain.pricing import SessionCharges, no_charges

if TYPE_CHECKING:
    from livekit_tokens.core.daily_logs import DailyLogs

logger = logging.getLogger("livekit_tokens")

EVERY_SECONDS = 300.0
"""How often it is looked for spools of dead processes, and for days to be rolled up."""

_ROLL_SECONDS = 0.05
"""A day of 30,000 records takes about as long, once (benchmarks/size.py)."""
_RETAIN_EVERY_SECONDS = 3600.0
"""How often it is asked whether today's removal of old records is done; the ledger knows."""


class Chores:
    """Of the process whose source is `own`; `roots` answers the folders that it brings home as they are there now,
    `others` those of other hosts that it must leave alone.
    """

    def __init__(
        self,
        own: Source,
        roots: Callable[[], Iterable[Path]],
        *,
        others: Callable[[], Iterable[Path]] = list,
        session_charges: SessionCharges = no_charges,
        retention_days: int | None = None,
        logs: DailyLogs | None = None,
    ) -> None:
        self._own = own
        self._roots = roots
        self._others = others
        self._said_others = False
        self._terms = Terms(ledger_id=own.ledger, own=own.id, session_charges=session_charges, logs=logs)
        self._retention_days = retention_days
        self._done_at = -EVERY_SECONDS
        self._retained_at = -_RETAIN_EVERY_SECONDS

    def are_due(self) -> bool:
        """Asked and answered once for each time that they are."""
        due = time.monotonic() - self._done_at >= EVERY_SECONDS
        self._done_at = time.monotonic() if due else self._done_at
        return due

    def retention_is_due(self) -> bool:
        """The same, where a setting says how long records are kept."""
        due = self._retention_days is not None and time.monotonic() - self._retained_at >= _RETAIN_EVERY_SECONDS
        self._retained_at = time.monotonic() if due else self._retained_at
        return due

    async def take_over(self, turn: Turn, replay_seconds: float = spool.REPLAY_SECONDS) -> None:
        """Bring home what dead processes left, a batch a turn."""
        roots = list(self._roots())
        try:
            await take_over_in_turns(roots, turn, replace(self._terms, replay_seconds=replay_seconds))
        except Exception as error:  # noqa: BLE001 - whatever it is, the drain goes on
            faults.note("spools of dead processes could not be taken over", error)
        for root in roots:
            if root.name != self._own.host:
                remove_left(root)
        self._say_others()

    def _say_others(self) -> None:
        """Once a process: nobody else may be there to say it."""
        if not self._said_others and (told := elsewhere.told_of(self._others())):
            self._said_others = True
            logger.warning("%s", told)

    @staticmethod
    async def roll_up(connection: LedgerConnection) -> bool:
        """Roll up a piece of the days that are over; True: there is more."""
        try:
            return await connection.roll_up(_ROLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            faults.note("days that are over could not be rolled up; reports are slower, and right", error)
            return False

    async def retain(self, connection: LedgerConnection) -> bool:
        """Remove a batch of old records; True: there are more."""
        try:
            return self._retention_days is not None and await connection.retain(self._retention_days)
        except Exception as error:  # noqa: BLE001 - as above
            faults.note("old records could not be removed", error)
            return False
