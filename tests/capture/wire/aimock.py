"""A provider that we did not write: npm's aimock, installed once into the user's cache folder and run on loopback.

`python -m tests.capture.wire.aimock` installs it, and says why where it cannot be had.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import platformdirs

from livekit_tokens.demo.processes import Child

PACKAGE, VERSION = "@copilotkit/aimock", "1.43.0"
INSTALL_SECONDS = 120
START_SECONDS = 20


class NoAimock(RuntimeError):
    """There is no aimock and none can be installed; the message says why in one line."""


def installed() -> Path:
    """Its program, installed on first use. Raises NoAimock."""
    folder = platformdirs.user_cache_path("livekit-tokens") / f"aimock-{VERSION}"
    program = folder / "node_modules" / PACKAGE / "dist" / "cli.js"
    if shutil.which("node") is None:
        raise NoAimock("no `node` found to run aimock with; install Node.js 20 or newer")
    if not program.exists():
        _install(folder)
    return program


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoAimock(f"no `npm` found to install {PACKAGE} with; install it beside Node.js")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="npm-", dir=folder.parent) as made:
        command = [npm, "install", "--prefix", made, "--no-fund", "--no-audit", "--ignore-scripts"]
        try:
            subprocess.run(
                [*command, f"{PACKAGE}@{VERSION}"], check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise NoAimock(f"installing {PACKAGE} took longer than {INSTALL_SECONDS} s") from None
        except subprocess.CalledProcessError as failed:
            told = (failed.stderr.strip().splitlines() or ["npm said nothing"])[0]
            raise NoAimock(f"{PACKAGE} {VERSION} could not be installed: {told}") from None
        shutil.rmtree(folder, ignore_errors=True)
        Path(made).replace(folder)
        Path(made).mkdir()  # for its own removal


@asynccontextmanager
async def running(fixtures: list[dict[str, Any]], folder: Path, *options: str) -> AsyncIterator[str]:
    """The address of one that answers by these fixtures, and by nothing else."""
    told = folder / "fixtures.json"
    told.write_text(json.dumps({"fixtures": fixtures}))
    command = ["node", str(installed()), "--port", "0", "--fixtures", str(told), "--strict", *options]
    child = Child("aimock", command)
    try:
        line = await child.line("listening on", within=START_SECONDS)
        yield line.rpartition(" ")[2] + "/v1"
    finally:
        child.kill()


if __name__ == "__main__":
    try:
        installed()
    except NoAimock as missing:
        print(f"set-up: {missing}; its tests are skipped")
