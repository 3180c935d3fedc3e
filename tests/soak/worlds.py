"""A world for an experiment: a spool folder and an empty ledger of its own, on SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import postgres

HOST = "soak"


@dataclass(frozen=True)
class World:
    folder: Path
    url: str

    @property
    def root(self) -> Path:
        """Where this host's sources are."""
        return self.folder / "spool" / HOST

    @property
    def database(self) -> Path:
        """SQLite's file."""
        return Path(self.url.removeprefix("sqlite:///"))


class Worlds:
    """Makes worlds, and a PostgreSQL server when the first one is asked for. For many threads.

    `close` leaves nothing behind.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lkt-soak-"))
        self._folder.chmod(0o755)  # one experiment writes as another user
        self._server: postgres.Server | None = None
        self._numbers = itertools.count(1)
        self._starting = threading.Lock()

    @contextlib.contextmanager
    def new(self, kind: str = "sqlite") -> Iterator[World]:
        """Raises postgres.NoPostgres."""
        folder = self._folder / f"world{next(self._numbers)}"
        (folder / "spool").mkdir(parents=True)
        url = self._postgres().new_database() if kind == "postgresql" else f"sqlite:///{folder / 'ledger.db'}"
        try:
            yield World(folder, url)
        finally:
            if kind == "postgresql":
                self._postgres().drop(url)
            shutil.rmtree(folder, ignore_errors=True)

    def prepare(self, kind: str) -> None:
        """Start what worlds of this kind need, for as long as the calling thread lives: the server dies with it.

        Raises postgres.NoPostgres.
        """
        if kind == "postgresql":
            self._postgres()

    def _postgres(self) -> postgres.Server:
        with self._starting:
            if self._server is None:
                self._server = postgres.start()
            return self._server

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
