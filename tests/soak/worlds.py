"""A world for an experiment: a spool folder and an empty ledger of its own, on SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
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
    """Makes worlds, and a PostgreSQL server when the first one is asked for. `close` leaves nothing behind."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lkt-soak-"))
        self._folder.chmod(0o755)  # one experiment writes as another user
        self._server: postgres.Server | None = None
        self._made = 0

    @contextlib.contextmanager
    def new(self, kind: str = "sqlite") -> Iterator[World]:
        """Raises postgres.NoPostgres."""
        self._made += 1
        folder = self._folder / f"world{self._made}"
        (folder / "spool").mkdir(parents=True)
        url = self._postgres().new_database() if kind == "postgresql" else f"sqlite:///{folder / 'ledger.db'}"
        try:
            yield World(folder, url)
        finally:
            if kind == "postgresql":
                self._postgres().drop(url)
            shutil.rmtree(folder, ignore_errors=True)

    def _postgres(self) -> postgres.Server:
        if self._server is None:
            self._server = postgres.start()
        return self._server

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
