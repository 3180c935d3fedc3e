"""A machine for `doctor`: the real command in a process of its own, with a ledger and spools in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CALL = """
from livekit_tokens import runtime as process; process.EXIT_SECONDS = 30  # however busy the machine is
import os, sys
from livekit_tokens.runtime import new_key, now, runtime
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
own, key = runtime(), new_key()
own.recorder.put_part(Part(key=key, session_id="room_a", started_at=now(), user="ada"))
own.recorder.record(UsageRecord(part=key, at=now(), service="agent", provider="openai", model="gpt-realtime",
                                operation="realtime_response", units={"input_text": 7}))
"""
"""A process that has tracked a call, and ends by itself unless more is added."""


@dataclass
class Machine:
    """`setup` are shell commands that are run before, in a mount namespace of their own: `$HERE` is the folder."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    setup: str = ""

    @property
    def ledger(self) -> Path:
        return self.home / "data" / "ledger.db"

    @property
    def spool(self) -> Path:
        return self.home / "data" / "spool"

    def python(self, code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run(["-c", code], check=check)

    def start(self, code: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=self._environment(),
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def doctor(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run(["-m", "livekit_tokens", "doctor", *args], check=False)

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run(["-m", "livekit_tokens", *args], check=False)

    def look(self) -> dict[str, dict[str, dict[str, str]]]:
        """What doctor finds: by state and subject; the exit code tells of faults, and stderr is empty."""
        done = self.doctor("--json")
        assert done.stderr == ""
        answer = json.loads(done.stdout)
        found: dict[str, dict[str, dict[str, str]]] = {"ok": {}, "note": {}, "fault": {}}
        for finding in answer["findings"]:
            found[finding["state"]][finding["subject"]] = finding
        assert (done.returncode, answer["state"]) == ((1, "fault") if found["fault"] else (0, "ok"))
        assert all(fault["todo"] for fault in found["fault"].values())
        return found

    def faults(self) -> dict[str, dict[str, str]]:
        return self.look()["fault"]

    def _run(self, args: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *args]
        if self.setup:
            command = [*own_mounts(), "sh", "-ec", f'{self.setup}\nexec "$@"', "sh", *command]
        return subprocess.run(
            command, env=self._environment(), cwd=self.home, check=check, capture_output=True, text=True, timeout=120
        )

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_TOKENS_")}
        return {
            **clean,
            "HERE": str(self.home),
            "TMPDIR": str(self.home),
            "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{self.ledger}",
            "LIVEKIT_TOKENS_SPOOL_DIR": str(self.spool),
            **self.env,
        }


def own_mounts() -> list[str]:
    """How to run a command that mounts for itself alone, also without being root."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def can_mount() -> bool:
    try:
        tried = subprocess.run(
            [*own_mounts(), "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False, timeout=20
        )
    except OSError:
        return False
    return tried.returncode == 0
