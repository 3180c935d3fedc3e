"""A real PostgreSQL for the tests and benchmarks: a server of our own, or the one that the environment names."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

ENV = "LIVEKIT_TOKENS_TEST_POSTGRES"
"""The URL of a server whose user may create databases; unset: a server is started."""


class NoPostgres(Exception):
    """Neither a server's URL nor PostgreSQL's programs."""


class Server:
    """A PostgreSQL server. `stop` ends it if it is ours; it also ends with this process, however that dies."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None, folder: Path | None = None) -> None:
        self.url = url
        self._process = process
        self._folder = folder

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        return self.database(f"t_{uuid.uuid4().hex}")

    def database(self, name: str) -> str:
        """The URL of a database of this name, which is made if it is not there."""
        with contextlib.suppress(asyncpg.DuplicateDatabaseError):
            self.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        async def run() -> None:
            conn = await asyncpg.connect(self.url)
            try:
                await conn.execute(sql)
            finally:
                await conn.close()

        # In a thread: the caller may be inside a running loop.
        faults: list[BaseException] = []

        def in_thread() -> None:
            try:
                asyncio.run(run())
            except BaseException as fault:  # noqa: BLE001 - raised below, in the caller's thread
                faults.append(fault)

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def start() -> Server:
    """The server that the environment names, or one of our own in a temporary folder. Raises NoPostgres."""
    if url := os.environ.get(ENV):
        return Server(url)
    programs = _programs()
    if os.name != "posix":
        raise NoPostgres(f"{ENV} is not set, and a server of our own needs Unix")
    user = own_user()
    folder = Path(tempfile.mkdtemp(prefix="lkt-pg-"))
    if user:
        shutil.chown(folder, user)
    port = free_port()
    initdb = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        "tests",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "-N",
    ]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": folder,
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": 100,
        "log_min_messages": "fatal",
    }
    command = [programs / "postgres", "-D", folder / "data", *(f"--{name}={value}" for name, value in settings.items())]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        user=user,
        cwd="/",
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call
    )
    server = Server(f"postgresql://tests@127.0.0.1:{port}/postgres", process, folder)
    _await_start(server, folder / "log")
    return server


def own_user() -> str | None:
    """The server refuses to run as root; the user of the distribution's package is there for it."""
    return "postgres" if os.geteuid() == 0 else None


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if found:
        return found[-1]
    if (postgres := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(postgres).parent
    raise NoPostgres(f"{ENV} is not set, and no PostgreSQL is in /usr/lib/postgresql or on PATH")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent() -> None:
    # A test run that is killed leaves no server behind (Linux: PR_SET_PDEATHSIG = 1).
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _await_start(server: Server, log: Path) -> None:
    for _ in range(300):
        try:
            server.execute("SELECT 1")
        except Exception:  # noqa: BLE001 - whatever a server that is not ready says
            if server._process and server._process.poll() is not None:
                raise NoPostgres(f"the server ended at once: {log.read_text()[-500:]}") from None
            time.sleep(0.1)
        else:
            return
    server.stop()
    raise NoPostgres("the server did not answer within 30 s")
