"""`python -m benchmarks [NAME ...]`: each in a process of its own, so that none warms or burdens the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.table import MISSED, MISSING

HERE = Path(__file__).parent
SHARED = {"__init__", "__main__", "call", "clock", "job", "table"}
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in SHARED)
SAID = {0: "met", MISSED: "MISSED", MISSING: "not measured here, see above"}


def main(names: list[str]) -> int:
    if strange := [name for name in names if name not in NAMES]:
        print(f"no benchmark {', '.join(strange)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    codes = {name: _run(name) for name in names or NAMES}
    print()
    for name, code in codes.items():
        print(f"{name:<12} {SAID.get(code, f'FAILED with exit code {code}')}")
    return int(any(code not in (0, MISSING) for code in codes.values()))


def _run(name: str) -> int:
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
