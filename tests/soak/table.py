"""The results as one table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from tests.soak.result import COUNTS, Result

_MOST_FAULTS = 8


def print_table(results: Iterable[Result], console: Console) -> None:
    """The table, and below it what was wrong and what is worth knowing of each experiment."""
    results = list(results)
    table = Table(title="Faults, and what was lost")
    table.add_column("experiment", no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("goal", "met"):
        table.add_column(name, no_wrap=True)
    for result in results:
        met = "skipped" if result.is_skipped else "yes" if result.met else "NO"
        table.add_row(result.experiment, *(f"{getattr(result, name):,}" for name in COUNTS), result.goal, met)
    console.print(table)
    for result in results:
        _print_remarks(result, console)


def _print_remarks(result: Result, console: Console) -> None:
    if result.skipped is not None:
        console.print(f"{result.experiment}: skipped: {result.skipped}", markup=False, highlight=False)
    for note in result.notes:
        console.print(f"{result.experiment}: {note}", markup=False, highlight=False)
    for fault in result.faults[:_MOST_FAULTS]:
        console.print(f"{result.experiment}: WRONG: {fault}", markup=False, highlight=False)
    if len(result.faults) > _MOST_FAULTS:
        console.print(f"{result.experiment}: WRONG: and {len(result.faults) - _MOST_FAULTS} more")
