"""Where the ledger is: the setting DATABASE_URL, read and checked. No message ever shows a password."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from livekit_tokens.domain.errors import BadSetting

ACCEPTED = "sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host:5432/database"

_SQLITE = {"sqlite", "sqlite+aiosqlite"}
_POSTGRES = {"postgresql", "postgres", "postgresql+asyncpg"}

_LIBPQ_ONLY = {
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
}
"""Options that providers put into the URLs they hand out (Neon: channel_binding) and that asyncpg would send
to the server as settings, which then refuses the connection."""


_POOLED = "pgbouncer"
"""`?pgbouncer=true`, as Prisma's users know it: see `engines.postgres_engine`."""


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """`dsn` holds the password: it goes to asyncpg and nowhere else; `shown` is for people.

    `pooled`: what answers there hands each transaction to another of the server's connections.
    """

    dsn: str
    shown: str
    pooled: bool = False

    def __repr__(self) -> str:
        return f"PostgresAddress({self.shown!r})"

    def __str__(self) -> str:
        return self.shown


Address = SqliteAddress | PostgresAddress


def address_of(database_url: str) -> Address:
    """Read DATABASE_URL; raises BadSetting with one line."""
    text = database_url.strip()
    scheme = text.partition(":")[0].lower()
    if not text:
        _refuse("is empty")
    if "://" not in text:
        _refuse("is not a URL")
    if scheme in _SQLITE:
        return SqliteAddress(_sqlite_path(text.partition("://")[2]))
    if scheme not in _POSTGRES:
        _refuse(f"begins with {scheme[:32]!r}, which livekit-tokens does not speak")
    return _postgres(text)


def ledger_id(database_url: str) -> str:
    """Tells one ledger from another: the same for the same host and database, whatever the user and password."""
    return hashlib.sha256(str(address_of(database_url)).encode()).hexdigest()[:12]


def _refuse(fault: str) -> NoReturn:
    raise BadSetting(f"DATABASE_URL {fault}; expected {ACCEPTED}")


def _sqlite_path(rest: str) -> Path:
    if rest and not rest.startswith("/"):
        _refuse("has two slashes before the path of a SQLite file, so its first folder reads as a host")
    path = rest.removeprefix("/")
    if path in ("", ":memory:"):
        _refuse("names no file: a database in memory cannot be shared between processes")
    if "?" in path or "\0" in path:
        _refuse("has options after the path of a SQLite file, and none are known")
    # Made absolute now: a later chdir of the agent must not make a second ledger.
    try:
        found = Path(path).expanduser().absolute()
        if path.endswith("/") or found.is_dir():
            _refuse(f"names a folder ({found}), not a file")
    except (OSError, RuntimeError) as fault:  # no right to look, a name too long, no such user
        _refuse(f"names a file that cannot be looked at ({fault})")
    return found


def _postgres(text: str) -> PostgresAddress:
    try:
        url = urlsplit(text)
        shown_hosts = _hosts(url)
    except ValueError:
        # The fault's own text may quote a piece of the password, which an unescaped character cut off.
        _refuse(
            "has a host or port that cannot be read (escape special characters in the password: @ as %40, / as %2F)"
        )
    if url.fragment:
        _refuse("has a bare '#' in it (in a password it is written %23)")
    if importlib.util.find_spec("asyncpg") is None:
        raise BadSetting(
            "DATABASE_URL names PostgreSQL, whose driver is not installed; pip install 'livekit-tokens[postgres]'"
        )
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    pooled = options.pop(_POOLED, "false").lower()
    if pooled not in ("true", "false"):
        _refuse(f"says {_POOLED}={pooled[:32]}, which is true or false")
    asyncpgs = {name: value for name, value in options.items() if name not in _LIBPQ_ONLY}
    dsn = url._replace(scheme="postgresql", query=urlencode(asyncpgs)).geturl()
    return PostgresAddress(
        dsn, f"postgresql://{shown_hosts}/{unquote(url.path.removeprefix('/'))}", pooled=pooled == "true"
    )


def _hosts(url: SplitResult) -> str:
    """`host:port,host:port` without user and password; a PostgreSQL URL may name several. ValueError for a bad port."""
    hosts = url.netloc.rpartition("@")[2]
    for host in hosts.split(","):
        _ = urlsplit(f"//{host}").port
    return hosts
