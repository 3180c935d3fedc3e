"""The outputs in these documents are real: this runs every `$ ...` line of their console blocks and puts them in.

    make docs                  # or some of them: DOCS="prices.md"

Over a year of generated traffic that ends at a fixed moment, so that a change in a document is a change of the program
(but for what `prune --older-than` finds, which is counted from today).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

PAGES = {"reports.md": 1_000_000, "keeping-house.md": 200_000, "prices.md": 20_000}
"""A document, and how many records its ledger has."""

END = "2026-11-22"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

_ROW = '{"timestamp": "2025-06-27T15:30Z", "user_id": "ada", "model": "gpt-4o", "input_tokens": 7, "output_tokens": 3}'
_FILES = {
    "old/token_usage_2025-06-27.jsonl": f"{_ROW}\n{_ROW[:40]}\n",
    "cosmos-export.json": f"[{_ROW.replace('ada', 'bob')}]\n",
    "killed.py": """\
import os, signal
from livekit_tokens import record_usage, usage_session

with usage_session("thread-7", user="ada"):
    record_usage(model="gpt-4o", input_tokens=1200, output_tokens=80)
    os.kill(os.getpid(), signal.SIGKILL)
""",
    "prices.toml": (Path(__file__).parents[1] / "examples" / "ops" / "prices.toml").read_text("utf-8"),
}
"""What the documents' commands read: files of other trackers, prices of one's own; a program that is killed."""


def main(*names: str) -> None:
    for name in names or PAGES:
        page = Path(__file__).with_name(name)
        with tempfile.TemporaryDirectory() as folder:
            mine = {"DATABASE_URL": f"sqlite:///{folder}/ledger.db", "SPOOL_DIR": f"{folder}/spool", "TIMEZONE": "UTC"}
            environment = os.environ | {f"LIVEKIT_TOKENS_{name}": value for name, value in mine.items()}
            # The commands of this checkout, whatever else is on the path.
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            (Path(folder) / "backups").mkdir()
            for path, text in _FILES.items():
                (Path(folder) / path).parent.mkdir(exist_ok=True)
                (Path(folder) / path).write_text(text, "utf-8")
            _run(f"livekit-tokens demo --records {PAGES[name]} --until {END}", folder, environment)
            text = _BLOCK.sub(partial(_filled, folder=folder, environment=environment), page.read_text("utf-8"))
            page.write_text(text, "utf-8")


def _filled(block: re.Match[str], folder: str, environment: dict[str, str]) -> str:
    commands = [line for line in block[1].splitlines() if line.startswith("$ ")]
    told = [f"{line}\n{_run(line.removeprefix('$ '), folder, environment)}" for line in commands]
    return f"```console\n{''.join(told)}```"


def _run(command: str, folder: str, environment: dict[str, str]) -> str:
    # A pipe's first command may be cut short by its last one (head): only what it says counts.
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S602 - the commands are this repository's own
    told = (done.stdout + done.stderr).replace(folder, "/srv")
    said = "\n".join(line.rstrip() for line in told.splitlines())
    if "livekit-tokens: unexpected " in said:
        raise SystemExit(f"{command}\n{said}")
    return f"{said}\n" if said else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
