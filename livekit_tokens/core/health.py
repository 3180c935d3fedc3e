"""How the metering of a process fares: what a Tracking answers, and what `doctor` finds of a living process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from livekit_tokens.domain.times import Micros

_FILE = "faults.json"
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Health:
    """Of this process, since it began to track.

    `records` were recorded, of which `unkept` could be written neither to the disk nor into memory, and are lost;
    `waiting_bytes` of lines are in memory because the disk refuses them. `behind` records are in the spool and not in
    the ledger yet, the oldest of them for `lag_seconds`. `faults` are counted by kind; `last_error` is the last one's
    kind and reason. `ledger_error` is why the ledger cannot be written now.
    """

    records: int = 0
    unkept: int = 0
    waiting_bytes: int = 0
    behind: int = 0
    lag_seconds: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
    last_error: str | None = None
    ledger_error: str | None = None

    @property
    def failures(self) -> int:
        return sum(self.faults.values())

    @property
    def waits(self) -> str | None:
        """What is not in the ledger, and why, in one line; None: all is."""
        told = {
            f"records not in the ledger: {self.behind:,}, the oldest for {self.lag_seconds:.0f} s": self.behind,
            f"bytes in memory, as the spool's disk refuses them: {self.waiting_bytes:,}": self.waiting_bytes,
            f"records lost: {self.unkept:,}": self.unkept,
        }
        there = [text for text, amount in told.items() if amount]
        why = self.ledger_error or self.last_error
        return "; ".join([*there, f"last error: {why}"] if why else there) if there else None

    def to_dict(self) -> dict[str, object]:
        return {
            "records": self.records,
            "unkept": self.unkept,
            "waiting_bytes": self.waiting_bytes,
            "behind": self.behind,
            "lag_seconds": round(self.lag_seconds, 3),
            "failures": self.failures,
            "faults": dict(self.faults),
            "last_error": self.last_error,
            "ledger_error": self.ledger_error,
        }


@dataclass(frozen=True, slots=True)
class Faults:
    """What a process has left in its spool's folder about its own faults; `at` is when the last of them was new."""

    at: Micros
    counts: Mapping[str, int]
    last: str | None
    unkept: int = 0


def leave_faults(folder: Path, faults: Faults) -> None:
    """For `doctor`, which is another process. A disk that refuses it is no further fault."""
    told = {"at": faults.at, "counts": dict(faults.counts), "last": faults.last, "unkept": faults.unkept}
    with suppress(OSError):
        half = folder / f".{_FILE}"
        half.write_text(json.dumps(told), "utf-8")
        half.replace(folder / _FILE)


def faults_in(folder: Path) -> Faults | None:
    """None where there were none, or nothing that can be read."""
    try:
        with (folder / _FILE).open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
        counts = {str(kind): int(count) for kind, count in told["counts"].items()}
        last = None if told["last"] is None else str(told["last"])
        return Faults(int(told["at"]), counts, last, int(told["unkept"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
