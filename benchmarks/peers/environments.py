"""The two environments: this one, and the peer's, made by package name; and what each has installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.table import Missing

PEER = "voicegateway[livekit]==0.27.0"
BASE = "livekit-agents>=1.8,<2"
_SUBJECT = Path(__file__).with_name("subject.py")
_PACKAGE = Path(__file__).parents[2] / "livekit_tokens"

_LIST = """
import json
from importlib.metadata import distributions
found = {}
for d in distributions():
    paths = {path.locate() for path in d.files or () if path.suffix != ".pyc"}
    found[d.metadata["Name"]] = [d.requires or [], sum(path.stat().st_size for path in paths if path.exists())]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Tracker:
    """One of the two at work: its name for subject.py, its python, and a folder of its own with its database."""

    which: str
    python: Path
    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def table(self) -> str:
        """Where a record is, in its database."""
        return "records" if self.which == "ours" else "requests"

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_TOKENS_")}
        mine = {
            "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{self.database}",
            "LIVEKIT_TOKENS_SPOOL_DIR": str(self.folder / "spool"),
        }
        theirs = {"VOICEGW_DB_PATH": str(self.database), "HOME": str(self.folder)}
        return clean | (theirs if self.which == "theirs" else mine)

    def start(self, what: str, *given: object) -> subprocess.Popen[bytes]:
        command = [str(self.python), str(_SUBJECT), self.which, what, *map(str, given)]
        return subprocess.Popen(
            command, env=self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, what: str, *given: object) -> dict[str, float]:
        """What it found; raises if it found nothing."""
        told, _ = self.start(what, *given).communicate(timeout=600)
        found: dict[str, float] = json.loads(told.splitlines()[-1])
        return found

    def command(self, name: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self.python.parent / name), *words], env=self.env, cwd=self.folder, check=True, capture_output=True
        )


def peers_python(folder: Path) -> Path:
    """The peer's environment in a folder, made if it is not there. Raises Missing, with pip's last word."""
    python, done = folder / "bin" / "python", folder / ".done"
    if done.exists() and done.read_text() == PEER:
        return python
    print(f"set-up: {PEER} in {folder} (once; about a minute)", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", BASE, PEER]
    made = subprocess.run(pip, check=False, stderr=subprocess.PIPE, text=True)
    if made.returncode:
        raise Missing(f"pip could not install {PEER}: {' '.join(made.stderr.strip().splitlines()[-1:])}")
    done.write_text(PEER)
    return python


@dataclass(frozen=True)
class Added:
    """What a package brings over livekit-agents."""

    distributions: int
    megabytes: float


def added_by(python: Path, package: str) -> Added:
    """By the requirements that the installed distributions state themselves."""
    told = subprocess.run([str(python), "-I", "-c", _LIST], check=True, stdout=subprocess.PIPE)
    installed = {canonicalize_name(name): found for name, found in json.loads(told.stdout).items()}
    requires = {name: found[0] for name, found in installed.items()}
    more = set(_needed(package, requires)) - set(_needed("livekit-agents", requires))
    size = sum(installed[name][1] for name in more)
    if package == "livekit-tokens":  # installed as this checkout, which no list of files has
        size += sum(path.stat().st_size for path in _PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return Added(len(more), size / 1e6)


def _needed(package: str, requires: dict[str, list[str]]) -> Iterator[str]:
    """The package and all that it needs, of what is installed; extras as they are asked for."""
    seen, waiting = set(), [Requirement(package)]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        for extra in ("", *sorted(asked.extras)):
            if name not in requires or (name, extra) in seen:
                continue
            seen.add((name, extra))
            needed = map(Requirement, requires[name])
            waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    yield from {name for name, _ in seen}
