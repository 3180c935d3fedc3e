"""The outputs in docs/reports.md are real: this runs every `$ ...` line of its console blocks and puts them in.

    python docs/refresh.py [--records 1000000]

Over a year of generated traffic that ends at a fixed moment, so that a change in a document is a change of the program.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("reports.md")
END = "2026-11-22"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--records", type=int, default=1_000_000)
    records = asked.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        mine = {"DATABASE_URL": f"sqlite:///{folder}/ledger.db", "SPOOL_DIR": f"{folder}/spool", "TIMEZONE": "UTC"}
        environment = os.environ | {f"LIVEKIT_TOKENS_{name}": value for name, value in mine.items()}
        # The commands of this checkout, whatever else is on the path.
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        _run(f"livekit-tokens demo --records {records} --until {END}", folder, environment)
        page = PAGE.read_text("utf-8")
        PAGE.write_text(_BLOCK.sub(lambda block: _filled(block[1], folder, environment), page), "utf-8")


def _filled(block: str, folder: str, environment: dict[str, str]) -> str:
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    told = [f"{line}\n{_run(line.removeprefix('$ '), folder, environment)}" for line in commands]
    return f"```console\n{''.join(told)}```"


def _run(command: str, folder: str, environment: dict[str, str]) -> str:
    # A pipe's first command may be cut short by its last one (head): only what it says counts.
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S602 - the commands are this repository's own
    said = "\n".join(line.rstrip() for line in (done.stdout + done.stderr).splitlines())
    return f"{said}\n" if said else ""


if __name__ == "__main__":
    main()
