"""`python -m tests.soak [--short|--full|--size N] [--only NAME] [--seed N]`: break everything, and print what was lost.

Exit code 1 if any row is not met, 130 after Ctrl-C; no process is left behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from tests.soak.experiments import EXPERIMENTS, Experiment, named
from tests.soak.processes import kill_all
from tests.soak.result import Result
from tests.soak.table import print_table
from tests.soak.worlds import Worlds

AT_ONCE = 3
"""Half of an experiment's time is waiting, for a fault to last or a process to end: others have the processors then.
Each has worlds of its own."""
SAY_EVERY_S = 10.0


def main() -> int:
    options = _options()
    chosen = list(named(options.only))
    if not chosen:
        print(f"no experiment has {options.only!r} in its name; there are: {', '.join(e.name for e in EXPERIMENTS)}")
        return 2
    form = f"size {options.size}" if options.size else "full form" if options.full else "short form"
    asked = f"{form}, seed {options.seed}"
    print(f"{len(chosen)} experiments, {asked}", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    results = _all_of(chosen, options)
    print_table(results, Console(width=max(150, Console().width)))
    print(_in_sum(results, asked, time.monotonic() - began))
    if len(results) < len(chosen):
        return 130
    return int(not all(result.met for result in results))


def _all_of(chosen: Iterable[Experiment], options: argparse.Namespace) -> list[Result]:
    """In their order; after Ctrl-C those that had come to their end."""
    worlds, stopping, progress = Worlds(), threading.Event(), _Progress()

    def run(experiment: Experiment) -> Result:
        def say(text: str) -> None:
            if stopping.is_set():
                raise InterruptedError
            progress.say(experiment.name, text)

        size = options.size or (experiment.full if options.full else experiment.short)
        result = experiment.run(worlds, size, seed=options.seed, say=say)
        if not stopping.is_set():
            progress.ended(experiment.name, result)
        return result

    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(run, experiment) for experiment in chosen]
        try:
            return [each.result() for each in running]
        except KeyboardInterrupt:
            ended = [each for each in running if each.done()]
            print("\ninterrupted; the experiments that had ended:", file=sys.stderr)
            return [each.result() for each in ended]
        finally:
            # A second Ctrl-C must not leave half of them.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stopping.set()
            kill_all(for_good=True)
            pool.shutdown(cancel_futures=True)
            worlds.close()


def _in_sum(results: Iterable[Result], asked: str, seconds: float) -> str:
    """How many rows say what, and with what it can be repeated."""
    results = list(results)
    names = ("acknowledged", "lost", "counted", "twice")
    total = {name: sum(getattr(result, name) for result in results) for name in names}
    skipped = sum(result.is_skipped for result in results)
    met = sum(result.met for result in results) - skipped
    rows = f"{met} rows met, {len(results) - met - skipped} not met, {skipped} skipped"
    told = "of {acknowledged:,} acknowledged {lost:,} were lost, {counted:,} are counted as lost; {twice:,} twice"
    return f"{rows}, in {seconds / 60:.1f} min ({asked}); {told.format(**total)}"


class _Progress:
    """A line when something has happened in an experiment, every 10 s at most, and one at its end."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said_at: dict[str, float] = {}
        self._saying = threading.Lock()

    def say(self, name: str, text: str) -> None:
        with self._saying:
            passed = time.monotonic() - self._began
            if passed - self._said_at.get(name, -SAY_EVERY_S) >= SAY_EVERY_S:
                self._print(name, text)

    def ended(self, name: str, result: Result) -> None:
        with self._saying:
            self._print(name, "skipped" if result.is_skipped else "met" if result.met else "NOT MET")

    def _print(self, name: str, text: str) -> None:
        self._said_at[name] = passed = time.monotonic() - self._began
        print(f"{passed:6.1f} s  {name}: {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="about two minutes (the default)")
    form.add_argument("--full", action="store_true", help="about a quarter of an hour")
    parser.add_argument("--only", metavar="NAME", help="experiments whose name holds this text")
    parser.add_argument("--size", type=int, help="in place of both forms: runs, records or seconds of each experiment")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), help="drawn, and printed, if absent")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
