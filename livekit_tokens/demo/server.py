"""A LiveKit server for tests and the demo: found, or built once from its public Go module, and run on loopback.

`python -m livekit_tokens.demo.server --build` builds it and prints its path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import aiohttp
import platformdirs
from livekit import api

from livekit_tokens.demo.processes import Child, ChildFailed

VERSION = "1.11.0"
"""Newer versions pin modules that cannot be had (facts/livekit.md)."""
MODULE = "github.com/livekit/livekit-server"
API_KEY = "devkey"
API_SECRET = "a-secret-of-at-least-thirty-two-characters"  # noqa: S105
BUILD_SECONDS = 900
SAY_SECONDS = 5.0

Say = Callable[[str], object]


class NoLiveKitServer(RuntimeError):
    """There is no livekit-server and none can be built; the message says why in one line."""


def cached_path() -> Path:
    return platformdirs.user_cache_path("livekit-tokens") / f"livekit-server-{VERSION}"


def find_server() -> Path | None:
    """LIVEKIT_SERVER, else one on the PATH, else the one that was built before."""
    if named := os.environ.get("LIVEKIT_SERVER"):
        if not os.access(named, os.X_OK):
            raise NoLiveKitServer(
                f"LIVEKIT_SERVER is {named!r}, which cannot be run; name a livekit-server or unset it"
            )
        return Path(named)
    if on_path := shutil.which("livekit-server"):
        return Path(on_path)
    return cached_path() if os.access(cached_path(), os.X_OK) else None


def find_or_build(say: Say = print) -> Path:
    """Raises NoLiveKitServer when there is none and none can be built."""
    return find_server() or build_server(say)


def build_server(say: Say = print) -> Path:
    """Build livekit-server with `go` into the user's cache; two to five minutes, by load."""
    go = shutil.which("go")
    if go is None:
        raise NoLiveKitServer(
            f"no livekit-server found (LIVEKIT_SERVER, PATH, {cached_path()}) and no `go` to build one; install either"
        )
    cached_path().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cached_path().parent) as folder:
        say(f"building livekit-server {VERSION} with {go} (once; two to five minutes) ...")
        built = _go_build(go, Path(folder), say)
        built.replace(cached_path())
    say(f"built {cached_path()}")
    return cached_path()


def _go_build(go: str, folder: Path, say: Say) -> Path:
    go_mod = f"module demo\n\ngo 1.24\n\nrequire {MODULE} v{VERSION}\n\ntool {MODULE}/cmd/server\n"
    (folder / "go.mod").write_text(go_mod)
    built = folder / "livekit-server"
    command = [go, "build", "-v", "-o", str(built), f"{MODULE}/cmd/server"]
    env = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto")}
    build = Child("go build", command, env=env, cwd=folder, echo=_now_and_then(say))
    try:
        code = build.wait(BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoLiveKitServer(f"building livekit-server took longer than {BUILD_SECONDS} s") from None
    finally:
        build.kill()
    if code != 0:
        raise NoLiveKitServer(f"building livekit-server failed: {build.tail(1)}")
    return built


def _now_and_then(say: Say) -> Say:
    """Of the 900 lines of a build, one every few seconds shows that it goes on."""
    next_at = 0.0

    def heard(line: str) -> None:
        nonlocal next_at
        if (now := time.monotonic()) >= next_at:
            next_at = now + SAY_SECONDS
            say(f"  {line}")

    return heard


class LiveKitServer:
    """`async with LiveKitServer() as server:` then `server.url`, `server.env`."""

    def __init__(self, path: Path | None = None, say: Say = lambda _: None) -> None:
        self._path, self._say = path, say
        self.port, self._udp_port = _free_port(socket.SOCK_STREAM), _free_port(socket.SOCK_DGRAM)
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What an agent's worker reads."""
        return {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": API_KEY, "LIVEKIT_API_SECRET": API_SECRET}

    async def __aenter__(self) -> Self:
        path = self._path or await asyncio.to_thread(find_or_build, self._say)
        config = json.dumps(self._config())
        self.child = Child("livekit-server", [str(path), "--config-body", config])
        try:
            await self._answers(within=60)
        except BaseException:
            self.child.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.child:
            await asyncio.to_thread(self.child.kill)

    def _config(self) -> dict[str, object]:
        """Loopback only, and a room that ends a second after its last guest (facts/lifecycle.md)."""
        return {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "keys": {API_KEY: API_SECRET},
            "rtc": {
                "udp_port": self._udp_port,
                "tcp_port": 0,
                "node_ip": "127.0.0.1",
                "interfaces": {"includes": ["lo"]},
                "use_external_ip": False,
                "enable_loopback_candidate": True,
            },
            "room": {"empty_timeout": 5, "departure_timeout": 1},
            "logging": {"level": "info", "json": True},
        }

    async def _answers(self, within: float) -> None:
        assert self.child is not None
        async with asyncio.timeout(within), aiohttp.ClientSession() as http:
            while not await _ok(http, f"http://127.0.0.1:{self.port}/"):
                if not self.child.running:
                    raise ChildFailed(f"livekit-server ended at once:\n{self.child.tail()}")
                await asyncio.sleep(0.05)  # a port that is not open yet has no event to wait for


class Operator:
    """What is done to rooms from outside, by the server's API: `async with Operator(server) as operator:`."""

    def __init__(self, server: LiveKitServer) -> None:
        self._api = api.LiveKitAPI(server.url.replace("ws:", "http:"), API_KEY, API_SECRET)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.aclose()

    async def create_room(self, name: str, *, departure_seconds: int = 1) -> str:
        """The new room's SID. It ends so long after its last guest, and 20 s after nobody came."""
        request = api.CreateRoomRequest(name=name, empty_timeout=20, departure_timeout=departure_seconds)
        room = await self._api.room.create_room(request)
        return str(room.sid)

    async def send_agent(self, room: str, agent_name: str, metadata: str = "") -> None:
        """Dispatch a job to the workers of that name."""
        request = api.CreateAgentDispatchRequest(agent_name=agent_name, room=room, metadata=metadata)
        await self._api.agent_dispatch.create_dispatch(request)

    async def guests(self, room: str) -> list[str]:
        """The identities of who is in the room."""
        try:
            found = await self._api.room.list_participants(api.ListParticipantsRequest(room=room))
        except api.TwirpError as error:
            if error.code == api.TwirpErrorCode.NOT_FOUND:
                return []
            raise
        return [participant.identity for participant in found.participants]

    async def remove(self, room: str, identity: str) -> None:
        await self._api.room.remove_participant(api.RoomParticipantIdentity(room=room, identity=identity))

    async def delete_room(self, room: str) -> None:
        await self._api.room.delete_room(api.DeleteRoomRequest(room=room))


async def _ok(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(description="Find or build the LiveKit server that tests and the demo run.")
    parser.add_argument("--build", action="store_true", help="build it even if one is there")
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    try:
        print(build_server(say) if options.build else find_or_build(say))  # noqa: T201
    except NoLiveKitServer as reason:
        say(str(reason))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
