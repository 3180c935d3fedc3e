"""A real PgBouncer before the tests' PostgreSQL, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests import postgres
from tests.waiting import wait_until


class NoPgBouncer(Exception):
    """Its program is not installed."""


@contextmanager
def before(url: str) -> Iterator[str]:
    """The same database's URL by way of a PgBouncer in transaction mode with two connections. Raises NoPgBouncer."""
    program = shutil.which("pgbouncer")
    if program is None:
        raise NoPgBouncer("pgbouncer is not installed (apt-get install pgbouncer)")
    server, port = urlsplit(url), postgres.free_port()
    folder = Path(tempfile.mkdtemp(prefix="lkt-pgb-"))
    (folder / "users").write_text(f'"{server.username}" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder / 'users'}\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nserver_round_robin = 1\n"
    )
    user = postgres.own_user()  # it refuses to run as root, as the server does
    if user:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    process = subprocess.Popen(
        [program, "-q", folder / "ini"], user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _answers(port))
        yield server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()
    finally:
        process.kill()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
