"""`python -m benchmarks [--full] [NAME ...]`: each in a process of its own, so that none warms or burdens the next.

--full: also what takes minutes; all of it about 50, and 10 GB of disk, half of it PostgreSQL's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import MISSED, MISSING

HERE = Path(__file__).parent
SHARED = {"__init__", "__main__", "call", "job", "table", "year"}
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in SHARED)
KEEP = "FOLDER"
"""In its place stands a folder in which ledgers are kept for the next run, until all is over."""
FULL = {
    "stalls": [[], ["--long", "600"]],
    "size": [["--full", "--keep", KEEP], ["--full", "--postgres"]],
    "reports": [["--records", "10000000", "--keep", KEEP]],
    "loop_time": [["--turns", "20000"]],
    "start": [["--rounds", "25"]],
    "memory": [["--rounds", "9"]],
}
"""What those are given, one run after the other, whose full form is longer."""
SAID = {0: "met", MISSED: "MISSED", MISSING: "not measured here, see above"}


def main(words: list[str]) -> int:
    names = [word for word in words if word != "--full"]
    if strange := [name for name in names if name not in NAMES]:
        print(f"no benchmark {', '.join(strange)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    forms = FULL if "--full" in words else {}
    with tempfile.TemporaryDirectory() as folder:
        runs = [(name, given) for name in names or NAMES for given in forms.get(name, [[]])]
        codes = {" ".join([name, *given]): _run(name, given, folder) for name, given in runs}
    print()
    for name, code in codes.items():
        print(f"{name:<44} {SAID.get(code, f'FAILED with exit code {code}')}")
    return int(any(code not in (0, MISSING) for code in codes.values()))


def _run(name: str, given: list[str], folder: str) -> int:
    told = (folder if word == KEEP else word for word in given)
    command = [sys.executable, "-m", f"benchmarks.{name}", *told]
    return subprocess.run(command, cwd=HERE.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
