"""`python -m tests.soak [--short|--full|--size N] [--only NAME] [--seed N]`: break everything, and print what was lost.

Exit code 1 if any row is not met, 130 after Ctrl-C; no process is left behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from rich.console import Console

from tests.soak.experiments import EXPERIMENTS, named
from tests.soak.processes import kill_all
from tests.soak.table import print_table
from tests.soak.worlds import Worlds


def main() -> int:
    options = _options()
    chosen = named(options.only)
    if not chosen:
        print(f"no experiment has {options.only!r} in its name; there are: {', '.join(e.name for e in EXPERIMENTS)}")
        return 2
    console = Console(width=max(150, Console().width))
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    worlds, results, code = Worlds(), [], 0
    print(f"{'full' if options.full else 'short'} form, seed {options.seed}", file=sys.stderr)
    try:
        for experiment in chosen:
            say = _progress(experiment.name)
            size = options.size or (experiment.full if options.full else experiment.short)
            results.append(experiment.run(worlds, size, seed=options.seed, say=say))
            say("done" if results[-1].met else "NOT MET")
    except KeyboardInterrupt:
        code = 130
        print("\ninterrupted; the experiments until here:", file=sys.stderr)
    finally:
        # A second Ctrl-C must not leave half of them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_all()
        worlds.close()
    print_table(results, console)
    return code or int(not all(result.met for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="about two minutes (the default)")
    form.add_argument("--full", action="store_true", help="about half an hour")
    parser.add_argument("--only", metavar="NAME", help="experiments whose name holds this text")
    parser.add_argument("--size", type=int, help="in place of both forms: runs, records or seconds of each experiment")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), help="drawn, and printed, if absent")
    return parser.parse_args()


def _progress(name: str):
    """On a terminal one line that changes; elsewhere a line when something has happened, at most every 10 s."""
    began, tty = time.monotonic(), sys.stderr.isatty()
    said_at = -10.0

    def say(text: str) -> None:
        nonlocal said_at
        passed = time.monotonic() - began
        last = text in ("done", "NOT MET")
        if tty:
            print(f"\r\033[K{passed:6.1f} s  {name}: {text}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last or passed - said_at >= 10:
            said_at = passed
            print(f"{passed:6.1f} s  {name}: {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
