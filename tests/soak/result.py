"""What an experiment found: one row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field

COUNTS = ("runs", "emitted", "acknowledged", "stored", "lost", "twice")
NOTHING_LOST = "0 lost, 0 twice"


@dataclass
class Result:
    """Counts over all runs of one experiment.

    `emitted` are records that somebody began to record, and requests that somebody began to announce.
    `acknowledged` are records whose `record()` had returned, and requests that were known to be in flight.
    `stored` are all records found in the ledger, also those that nobody had acknowledged.
    `counted` are the losses that the product itself owned up to; only where something was damaged on
    purpose, or where neither disk nor memory could hold it.
    """

    experiment: str
    runs: int = 0
    emitted: int = 0
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    goal: str = NOTHING_LOST
    counted: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None

    def add(self, other: Result) -> None:
        """What was found in another world of the same experiment."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counted += other.counted
        self.faults += other.faults
        self.notes += other.notes

    @property
    def met(self) -> bool:
        """Every loss is owned up to (none was expected unless something was damaged), and nothing else is wrong."""
        return self.lost == self.counted and self.twice == 0 and not self.faults and (self.runs > 0 or self.is_skipped)

    @property
    def is_skipped(self) -> bool:
        return self.skipped is not None
