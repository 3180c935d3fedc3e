"""DATABASE_URL: what is accepted, and what a wrong one is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.store.address import PostgresAddress, SqliteAddress, address_of


def test_a_sqlite_url_names_a_relative_or_an_absolute_path(monkeypatch, tmp_path):
    """Three slashes are relative to the folder of now, which is fixed at once; four are absolute."""
    monkeypatch.chdir(tmp_path)

    assert address_of("sqlite:///a/b.db") == SqliteAddress(tmp_path / "a/b.db")
    assert address_of("sqlite:////var/lib/x.db") == SqliteAddress(Path("/var/lib/x.db"))
    assert address_of("sqlite+aiosqlite:////x.db") == SqliteAddress(Path("/x.db"))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "PostgreSQL"])
def test_postgres_is_known_by_its_usual_names(scheme):
    """Providers hand out postgres:// and postgresql://; SQLAlchemy users write the driver too."""
    address = address_of(f"{scheme}://ann:s3cret@db.example:5433/usage?sslmode=require&channel_binding=require")

    assert address.dsn == "postgresql://ann:s3cret@db.example:5433/usage?sslmode=require"
    assert str(address) == "postgresql://db.example:5433/usage"
    assert "s3cret" not in repr(address)


def test_a_url_may_say_that_a_pooler_answers():
    """By the word that Prisma's users know; asyncpg is not told, who would tell it to the server."""
    address = address_of("postgresql://pooler:6432/usage?pgbouncer=true&application_name=x")

    assert (address.pooled, address.dsn) == (True, "postgresql://pooler:6432/usage?application_name=x")
    assert str(address) == "postgresql://pooler:6432/usage"
    assert not address_of("postgresql://pooler:6432/usage?pgbouncer=false").pooled


def test_a_postgres_url_may_name_several_hosts_or_a_socket():
    """As libpq reads them."""
    assert isinstance(address_of("postgresql://a:1,b:2/x?target_session_attrs=primary"), PostgresAddress)
    assert isinstance(address_of("postgresql:///x?host=/tmp"), PostgresAddress)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "is empty"),
        ("usage.db", "is not a URL"),
        ("mysql://u:s3cret@h/d", "'mysql'"),
        ("postgresql+psycopg://u:s3cret@h/d", "'postgresql+psycopg'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://usage.db", "two slashes"),
        ("sqlite:////tmp", "a folder"),
        ("sqlite:///x.db?mode=ro", "options"),
        ("postgresql://u:s3cret@h:port/d", "host or port"),
        ("postgresql://u:s3cret#x@h/d", "host or port"),
        ("postgresql://u@h/d#s3cret", "'#'"),
        ("postgresql://u:s3cret/x@h/d", "host or port"),
        ("postgresql://[u:s3cret@h/d", "host or port"),
        ("postgresql://u:s3cret@h/d?pgbouncer=1", "pgbouncer=1, which is true or false"),
    ],
)
def test_a_wrong_url_is_one_line_that_names_the_setting_and_the_fault(url, fault):
    """The line says what is accepted, and never shows a password, not even a piece of one."""
    with pytest.raises(BadSetting) as told:
        address_of(url)

    line = str(told.value)
    assert line.startswith("DATABASE_URL ")
    assert fault in line
    assert "expected sqlite:///" in line
    assert "s3cret" not in line
    assert "\n" not in line


def test_without_its_driver_postgres_names_the_extra(monkeypatch):
    """`pip install livekit-tokens` alone has no PostgreSQL."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(BadSetting, match=r"pip install 'livekit-tokens\[postgres\]'"):
        address_of("postgresql://h/d")
