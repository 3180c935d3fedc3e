"""The setting JSONL_DIR: what is in the ledger is also appended to a log file a day, as records arrive.

The lines are made of what the ledger has just been told, with its prices and without whom it has forgotten: the same
that `export --jsonl` would write. How far a source's records are in the files stands beside its spool.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from livekit_tokens.core import faults
from livekit_tokens.core.known_formats import day_of, log_line
from livekit_tokens.core.ledger import LedgerConnection
from livekit_tokens.core.log_folder import LogFolder, name_of, place_at, set_place
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.times import Micros, rfc3339

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Entry

_T = TypeVar("_T")

AT_ONCE = 1000
"""Records in memory at once."""

_PLACE = "logged"
_MOST_PARTS = 500
"""More of them are not worth naming to a database."""
_TRIES, _PAUSE_SECONDS = 50, 0.01


class DailyLogs:
    """The folder as a process has it: for its own source, and for those that it takes over."""

    def __init__(self, folder: Path, now: Callable[[], Micros], keep_days: int | None = None) -> None:
        self._files = LogFolder(folder)
        self._now = now
        self._keep_days = keep_days
        self._swept = ""

    def of(self, spool: Path, source: str, ledger: LedgerConnection) -> Followed:
        """A source, followed over one connection to the ledger."""
        return Followed(self, spool / _PLACE, source, ledger)

    async def append(self, entries: Iterable[Entry], place: Path, since: int, number: int) -> bool:
        """All of these, and the number at `place`, or nothing; False where the place is no longer at `since`.

        Raises OSError where the files cannot be written.
        """
        lines: defaultdict[str, list[str]] = defaultdict(list)
        for entry in entries:
            lines[name_of(day_of(entry))].append(f"{log_line(entry)}\n")
        texts = {name: "".join(told).encode() for name, told in lines.items()}
        return await when_free(lambda: self._files.append(texts, place, since, number))

    async def sweep(self) -> None:
        """Once a day: remove the files that are older than they may be."""
        today = _day(self._now())
        if self._keep_days is not None and today != self._swept:
            first = _day(self._now() - self._keep_days * DAY)
            await when_free(lambda: self._files.remove_before(first))
            self._swept = today

    async def forget(self, identities: Collection[str], *, dry_run: bool = False) -> tuple[int, int]:
        """Take these users from the lines; answers how many files were looked at and how many lines were theirs."""
        return await when_free(lambda: self._files.rewrite(_Without(identities), dry_run=dry_run))


class Followed:
    """One source whose records are appended as the ledger has them."""

    def __init__(self, logs: DailyLogs, place: Path, source: str, ledger: LedgerConnection) -> None:
        self._logs = logs
        self._place = place
        self._source = source
        self._ledger = ledger
        self._parts: set[str] | None = set()  # with records that are not in the files yet; None: any of the source's
        self._is_due = False

    def begin(self, in_ledger: int) -> None:
        """At the ledger's checkpoint. What was there before anybody followed the source is not told afterwards; what a
        process did not come to, because it was killed or its disk was full, is.
        """
        with _noted(self._source):
            if (at := place_at(self._place)) is None:
                set_place(self._place, in_ledger)
            elif at < in_ledger:
                self._parts, self._is_due = None, True

    def brought(self, parts: Iterable[str]) -> None:
        """Records of these parts are in the ledger now."""
        if self._parts is not None:
            self._parts.update(parts)
            self._parts = self._parts if len(self._parts) <= _MOST_PARTS else None
        self._is_due = True

    async def catch_up(self) -> None:
        """Append what the files do not have. A disk that refuses it is noted, and is no reason to stop a drain: it is
        tried again with what comes next. Raises what the ledger raises.
        """
        if not self._is_due:
            return
        with _noted(self._source):
            while found := await self._ledger.entries(self._source, at := self._at(), self._parts, AT_ONCE):
                told = await self._logs.append((entry for _, entry in found), self._place, at, found[-1][0])
                if told and (len(found) < AT_ONCE or self._at() == at):  # the latter: its spool is gone
                    break
            self._parts, self._is_due = set(), False
            await self._logs.sweep()

    def _at(self) -> int:
        return place_at(self._place) or 0


async def when_free(work: Callable[[], _T]) -> _T:
    """Other processes are quickly done with the folder; one that was stopped over it is not waited for."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            return work()
        await asyncio.sleep(_PAUSE_SECONDS)
    return work()


@contextmanager
def _noted(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        faults.note("the daily log files cannot be written; the ledger has it all", error, source=source)


class _Without:
    """A line of a log file, without these users."""

    def __init__(self, identities: Collection[str]) -> None:
        self._sought = [msgspec.json.encode(identity)[1:-1] for identity in identities]
        self._identities = identities

    def __call__(self, line: bytes) -> bytes:
        if not any(text in line for text in self._sought):
            return line
        try:
            told = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            whose = msgspec.json.decode(told.get("user_id", b"null"))
        except msgspec.MsgspecError:
            return line
        if whose not in self._identities:
            return line
        return msgspec.json.encode({**told, "user_id": None}) + b"\n"


def _day(at: Micros) -> str:
    return (rfc3339(at) or "")[:10]
