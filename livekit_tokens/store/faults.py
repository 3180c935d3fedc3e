"""Faults of the database's drivers, told as one line to the person who can mend them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import TracebackType

from sqlalchemy import exc as sa_exc

from livekit_tokens.domain.errors import LedgerConflict, LedgerCrowded, LedgerUnavailable
from livekit_tokens.store.engines import ANSWER_SECONDS, CONNECT_SECONDS, LOCK_SECONDS

_HELD = (
    f"another transaction has held a table of it, or a row, for more than {LOCK_SECONDS:g} s; find it in "
    "pg_stat_activity and pg_locks, end it if it is stuck, and try again"
)
_SILENT = (
    f"a server has {CONNECT_SECONDS:g} s for a connection, {ANSWER_SECONDS:g} s for an answer: see that it runs and "
    "can be reached, and in pg_stat_activity what it is busy with; try again"
)
_ADVICE = (
    ("lock timeout", _HELD),
    ("did not answer", _SILENT),
    (
        "locked",
        "another process has been writing for long, as a repricing or a pruning does; try again when it is done",
    ),
    ("readonly", "it is read-only: check the owner and rights of the file and its folder"),
    ("read-only transaction", "the server is a read-only replica: name the primary"),
    ("disk is full", "the disk is full: free some space"),
    ("no space left", "the disk is full: free some space"),
    ("malformed", "the file is damaged: restore a backup, or move it away to begin a new ledger"),
    ("not a database", "the file is not a SQLite database: name another one, or move it away"),
    ("unable to open", "the file cannot be opened: check that its folder exists and may be written"),
    ("too many c", "the server has no connection left: raise max_connections, or put PgBouncer before it"),
    ("connection slots", "the server has no connection left: raise max_connections, or put PgBouncer before it"),
    ("password authentication failed", "check user and password in DATABASE_URL"),
)


class Unstorable(LedgerUnavailable):
    """A value of the batch cannot be stored as it is: a NUL in a text or a name longer than an index holds
    (PostgreSQL), half a surrogate pair (both)."""


@contextmanager
def told(where: object) -> Iterator[None]:
    """Turn whatever goes wrong in reaching the database into LedgerUnavailable: one line, the cause chained.

    Faults of ours (a wrong statement's ArgumentError, a TypeError) are left as they are.
    """
    try:
        with driver_told(where):
            yield
    except (OSError, TimeoutError, UnicodeError, OverflowError) as fault:
        raise _unavailable(where, fault) from fault


@contextmanager
def driver_told(where: object) -> Iterator[None]:
    """The same for the drivers' own errors only: around code of others, whose OSError may be its own affair."""
    try:
        yield
    except sa_exc.DBAPIError as fault:
        raise _unavailable(where, fault.orig or fault) from fault
    except (sa_exc.TimeoutError, sa_exc.PendingRollbackError, sa_exc.ResourceClosedError, sqlite3.Error) as fault:
        raise _unavailable(where, fault) from fault
    except Exception as fault:
        if not (_is_asyncpgs(fault) or (isinstance(fault, TimeoutError) and _was_asyncpgs(fault.__traceback__))):
            raise
        raise _unavailable(where, fault) from fault


def _unavailable(where: object, fault: BaseException) -> LedgerUnavailable | LedgerConflict:
    text = _first_line(fault)
    kind: type[LedgerUnavailable | LedgerConflict] = LedgerUnavailable
    if _is(fault, "IntegrityConstraintViolationError", "IntegrityError"):
        kind = LedgerConflict
    elif _is(fault, "TooManyConnectionsError"):
        kind = LedgerCrowded
    elif _is(fault, "DataError", "UnicodeError", "OverflowError", "ProgramLimitExceededError"):
        # The driver's words would quote the value, and a log never says what was said.
        kind, text = Unstorable, "a value of the batch cannot be stored"
    said = "has what its checkpoint says is missing" if kind is LedgerConflict else "is not available"
    return kind(f"the ledger at {where} {said}: {text}{_advice(text)}")


def _first_line(fault: BaseException) -> str:
    # SQLAlchemy's adapter writes "<class 'asyncpg...'>: text" before the driver's own words.
    while fault.__cause__ is not None and not isinstance(fault, (OSError, sqlite3.Error)):
        fault = fault.__cause__
    if isinstance(fault, TimeoutError) and not str(fault):
        return "it did not answer in time"
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def _advice(text: str) -> str:
    lowered = text.lower()
    return next((f" ({advice})" for sign, advice in _ADVICE if sign in lowered), "")


def _is(fault: BaseException | None, *names: str) -> bool:
    """Whether the fault, or what it was translated from, is of a class so named: asyncpg may not be installed."""
    while fault is not None:
        if any(base.__name__ in names for base in type(fault).__mro__):
            return True
        fault = fault.__cause__
    return False


def _is_asyncpgs(fault: BaseException) -> bool:
    return any(base.__module__.startswith("asyncpg.") for base in type(fault).__mro__)


def _was_asyncpgs(raised: TracebackType | None) -> bool:
    """Whether it came out of the driver: its commands end in a TimeoutError that is nobody's in particular."""
    return any(frame.f_globals["__name__"].startswith("asyncpg.") for frame, _ in walk_tb(raised))


def is_missing_table(fault: sa_exc.DBAPIError) -> bool:
    return getattr(fault.orig, "sqlstate", None) == "42P01" or "no such table" in str(fault.orig)
