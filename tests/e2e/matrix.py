"""What the lifecycle tests share: the ledger as its command line tells it, and the table of all cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from livekit_tokens.demo.bill import Billed
from livekit_tokens.demo.plan import Knobs
from livekit_tokens.demo.provider import Provider

# A greeting and a short answer, quickly.
SHORT = Knobs(script=(0.6, 0.6), speech=(0.6, 0.8), speed=(3.0, 4.0), silence_ms=300)
# A greeting, and an answer that is still under way when something happens.
LONG_ANSWER = Knobs(script=(0.6, 30.0), speed=(1.2, 1.5), silence_ms=300)
AT_ONCE_MS = 900
"""How late an end may be that is to be exact: the server's way to the agent, however busy the machine is; and less than
the second after which the room of a caller who has left is over, and its job with it."""


TOKENS = ("input_", "cached_input_", "output_")


class Ledger:
    """A ledger and a spool in one folder, asked through the command line as a user does."""

    def __init__(self, folder: Path) -> None:
        self.env = {
            "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}",
            "LIVEKIT_TOKENS_SPOOL_DIR": str(folder / "spool"),
        }

    def ask(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "livekit_tokens", *arguments, "--json"]
        env = {**os.environ, **self.env}
        told = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=60)
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    def session(self, session_id: str) -> dict[str, Any]:
        return self.ask("report", "--session", session_id, "--records")


@dataclass(frozen=True, slots=True)
class Row:
    """One case of the matrix."""

    case: str
    parts: str
    reason: str
    error_ms: str
    billed: str
    counted: str


@dataclass
class Matrix:
    """All rows of a run, printed at its end."""

    rows: list[Row] = field(default_factory=list)

    def add(self, case: str, session: dict[str, Any], provider: Provider, error_ms: list[float | None]) -> None:
        parts = session["parts"]
        totals = session["totals"]
        estimated = totals["estimated_requests"]
        self.rows.append(
            Row(
                case,
                str(len(parts)),
                ", ".join(dict.fromkeys(f"{part['status']}: {part['close_reason']}" for part in parts)),
                ", ".join("-" if error is None else f"{error:+.0f}" for error in error_ms),
                f"{len(provider.bill.entries)} / {_tokens_of(provider.billed_units()):,}",
                f"{totals['requests']} / {totals['total_tokens']:,}" + (f" ({estimated} est.)" if estimated else ""),
            )
        )

    def lines(self) -> list[str]:
        heads = Row("case", "parts", "how they ended", "end's error, ms", "billed: requests / tokens", "counted")
        cells = [[getattr(row, name) for name in Row.__slots__] for row in (heads, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _tokens_of(units: dict[str, int]) -> int:
    return sum(quantity for unit, quantity in units.items() if unit.startswith(TOKENS))


def seconds(text: str) -> float:
    """A time of the ledger's as the test's clock says it."""
    return datetime.fromisoformat(text).timestamp()


def milliseconds_late(text: str, true: float) -> float:
    return (seconds(text) - true) * 1000


def assert_equals_the_bill(records: list[dict[str, Any]], entries: list[Billed]) -> None:
    """Reported figures are the provider's own, each once; what it could not tell is there as an estimate."""
    told = {entry.id: entry.units for entry in entries if entry.delivered}
    reported = [record for record in records if record["provenance"] == "reported"]
    assert sorted(record["request_id"] for record in reported) == sorted(told)
    for record in reported:
        assert record["units"] == told[record["request_id"]]
    cut = [entry.id for entry in entries if not entry.delivered]
    assert sorted(r["request_id"] for r in records if r["provenance"] == "estimated") == sorted(cut)
    assert {record["provenance"] for record in records} <= {"reported", "estimated"}


async def talk(caller) -> None:
    """Be greeted, ask, be answered."""
    await caller.hear_out(quiet=0.3)
    await caller.say(0.6)
    await caller.hear_out(quiet=0.3)


async def transcribed(provider, count: int = 1) -> None:
    """The transcription's figures have come; what comes after the end of a call, nobody can count."""
    kind = "transcription"
    await provider.bill.until(lambda bill: sum(e.kind == kind and e.delivered for e in bill.entries) >= count)


async def leaves(caller) -> float:
    """Hang up; when that was."""
    left = time.time()
    await caller.leave()
    return left


async def said_at(room) -> float:
    """When the agent had said all, by its own clock, which is the test's."""
    return float((await room.line("says all ROOM")).split("at=")[1].split()[0])


def assert_at_once(text: str, true: float) -> float:
    late = milliseconds_late(text, true)
    assert -20 <= late <= AT_ONCE_MS
    return late


def identities(session) -> list[str]:
    return sorted(stay["identity"] for stay in session["participants"])
