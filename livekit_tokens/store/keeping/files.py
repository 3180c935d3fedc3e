"""SQLite's files: copied and put in place through SQLite itself, looked at, and named once they are whole."""

from __future__ import annotations

import asyncio
import glob
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import quote

from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store.engines import BUSY_SECONDS, make_private
from livekit_tokens.store.schema import metadata

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BESIDE = ("-wal", "-shm", "-journal")

_GIVEN_UP_SECONDS = 3600.0
"""An unfinished file that nobody has written for so long has lost its process. Not told by its process id: that is
another one's in another container."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was looked at: its place, its size in bytes, the rows of each table."""

    place: str
    size: int
    revision: str
    rows: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        return {"place": self.place, "bytes": self.size, "revision": self.revision, "rows": dict(self.rows)}


async def to_the_end(work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """The work's answer, from a thread. Ctrl-C does not reach a thread: it is waited for, however often it is pressed,
    so that nothing is written behind the back of whoever cleans up. Then raises CancelledError: the work is done.
    """
    running = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **options))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as fault:
            cancelled = fault
    answer = running.result()
    if cancelled is not None:
        raise cancelled
    return answer


def copy_file(source: Path, target: Path) -> None:
    """All pages in one step: in pieces, it would begin anew whenever a call is written."""
    with closing(connected(source, "ro")) as one, closing(connected(target, "rw")) as other:
        one.backup(other)
        # One file, without -wal and -shm beside it.
        other.execute("PRAGMA journal_mode = DELETE")


def put_in_place(file: Path, path: Path) -> None:
    """SQLite itself writes over a ledger, under its own lock and through its -wal: processes that have it open see
    the backup from one transaction to the next. Only a damaged file is moved away first, with what is beside it.
    """
    if _has_bytes(path) and not _is_ours(path):
        _move_away(path)
    make_private(path)  # SQLite throws away a -wal that it finds beside an empty file
    with closing(connected(file, "ro")) as one, closing(connected(path, "rw")) as other:
        one.backup(other)


def _is_ours(path: Path) -> bool:
    """False for a damaged file; raises LedgerUnavailable for a whole one that is no ledger."""
    try:
        with closing(connected(path, "rw")) as conn:
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            whole = bool(conn.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as fault:
        if isinstance(fault, sqlite3.OperationalError):  # locked, no right to write
            raise
        return False
    if tables and not tables >= {"alembic_version", "sources", "records"}:
        raise LedgerUnavailable(f"{path} is another application's database; name another one in DATABASE_URL")
    return whole


def _move_away(path: Path) -> None:
    """The -wal first: beside another file of this name it would be taken for that one's."""
    aside = f".damaged-{time.time_ns() // 1_000_000_000}"
    for file in (*beside(path), path):
        if file.exists():
            file.rename(file.with_name(file.name + aside))


def beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + tail) for tail in _BESIDE]


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """Another name beside the file, its owner's alone, and gone at the end with what SQLite has put beside it."""
    _clear_left_over(file)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as fault:
        raise LedgerUnavailable(f"{file} cannot be written ({fault.strerror}); give another place") from fault
    try:
        yield part
    finally:
        for left_over in (*beside(part), part):
            left_over.unlink(missing_ok=True)


def _clear_left_over(file: Path) -> None:
    """What a killed process has left of this file: it may hold people who were erased since."""
    for part in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        left = [one for one in (*beside(part), part) if one.exists()]
        if time.time() - max((one.stat().st_mtime for one in left), default=0.0) > _GIVEN_UP_SECONDS:
            for one in left:
                one.unlink(missing_ok=True)


def looked_at(file: Path) -> Copied:
    """Raises LedgerUnavailable for a file that is not a whole ledger."""
    if not file.exists():
        raise LedgerUnavailable(f"there is no file {file}; give the backup that is to be restored")
    if not _has_bytes(file):
        raise LedgerUnavailable(f"{file} is no backup: there is nothing in it")
    try:
        with closing(connected(file, "ro")) as conn:
            said = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if said != "ok" or "alembic_version" not in tables:
                raise LedgerUnavailable(f"{file} is no whole ledger ({said.splitlines()[0]}); give another backup")
            (revision,) = conn.execute("SELECT version_num FROM alembic_version").fetchone()
            ours = sorted(tables & set(metadata.tables))
            rows = {name: conn.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ours}  # noqa: S608
    except sqlite3.DatabaseError as fault:
        raise LedgerUnavailable(f"{file} is no whole ledger ({fault}); give another backup") from fault
    return Copied(str(file), file.stat().st_size, revision, rows)


def kept_files(file: Path, keep: int) -> list[Path]:
    """FILE, FILE.1, FILE.2 and so on: the newest first."""
    return [file, *(file.with_name(f"{file.name}.{number}") for number in range(1, keep))]


def make_room(file: Path, keep: int) -> None:
    """FILE becomes FILE.1, that FILE.2; the oldest go."""
    if not file.exists():
        return
    kept = kept_files(file, keep)
    for older, newer in zip(reversed(kept[1:]), reversed(kept[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
