"""What installing the package adds to livekit-agents and its openai plugin: distributions and megabytes.

    python -m benchmarks.footprint

Two fresh virtual environments in a temporary folder, removed afterwards: one with livekit's two by name, one with them
and this checkout. Bytes as installed, without compiled .pyc files, pip and setuptools.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.table import MISSING, Line, Missing, show

GOAL_DISTRIBUTIONS = 15
BASE = ["livekit-agents>=1.8,<2", "livekit-plugins-openai>=1.8,<2"]
CHECKOUT = Path(__file__).parents[1]
MB = 1e6

_LIST = """
import json
from importlib.metadata import distributions
sizes = {}
for found in distributions():
    paths = {path.locate() for path in found.files or () if path.suffix != ".pyc"}
    sizes[found.metadata["Name"].lower()] = sum(path.stat().st_size for path in paths if path.exists())
print(json.dumps(sizes))
"""


def installed(folder: Path, *what: str) -> dict[str, int]:
    """Bytes of each distribution in a fresh environment with `what`."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *what]
    done = subprocess.run(pip, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Missing(f"pip could not install {', '.join(what)}: {done.stderr.strip().splitlines()[-1:]}")
    told = subprocess.run([str(python), "-I", "-c", _LIST], check=True, stdout=subprocess.PIPE)
    sizes: dict[str, int] = json.loads(told.stdout)
    return {name: size for name, size in sizes.items() if name not in ("pip", "setuptools")}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            without = installed(Path(folder) / "base", *BASE)
            whole = installed(Path(folder) / "whole", *BASE, str(CHECKOUT))
        except Missing as missing:
            print(f"footprint not measured: {missing}")
            return MISSING
    more = {name: size for name, size in whole.items() if name not in without}
    for name, size in sorted(more.items(), key=lambda found: -found[1]):
        print(f"    {name:<24}{size / MB:>8.2f} MB")
    lines = [
        Line("distributions more", len(more), "dists", GOAL_DISTRIBUTIONS, len(without)),
        Line("megabytes more", sum(more.values()) / MB, "MB", reference=sum(without.values()) / MB),
    ]
    return show("Footprint of the base install", lines, " and ".join(BASE))


if __name__ == "__main__":
    sys.exit(main())
