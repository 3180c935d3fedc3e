"""What a look at a machine finds, one line each, and how a look is kept from raising or hanging."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from livekit_tokens.core import faults

State = Literal["ok", "note", "fault"]

LOOK_SECONDS = 15.0
"""A look that has not ended by then is a fault: dead network file systems and databases do not answer at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `told` is what was seen of `subject`, `todo` what to do about it. Every fault has something to do."""

    state: State
    subject: str
    told: str
    todo: str = ""

    def __post_init__(self) -> None:
        assert self.todo or self.state != "fault"

    def to_dict(self) -> dict[str, object]:
        return {"state": self.state, "subject": self.subject, "told": self.told, "todo": self.todo or None}


@dataclass(frozen=True, slots=True)
class Check:
    """A look at one subject. `look` may raise or hang; `findings_of` does neither."""

    subject: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = LOOK_SECONDS


def findings_of(checks: Iterable[Check]) -> Iterator[Finding]:
    """What each check finds, in their order, as soon as it is known."""
    for check in checks:
        yield from _looked(check)


def _looked(check: Check) -> list[Finding]:
    """One check's findings: those up to its fault, if it raises, or up to its time limit, if it hangs."""
    found: list[Finding] = []

    def look() -> None:
        try:
            found.extend(check.look())
        except Exception as error:  # noqa: BLE001 - the other checks are to be seen
            told = f"could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
            found.append(Finding("fault", check.subject, told, "mend what it names, or report it as a fault of doctor"))

    # A daemon: a thread that hangs in the kernel must not keep the process from ending.
    thread = threading.Thread(target=look, name=f"look at {check.subject}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    if thread.is_alive():
        told = f"no answer in {check.seconds:g} s"
        return [*found, Finding("fault", check.subject, told, "see whether its disk or server still answers at all")]
    return found


def look_at_faults() -> Iterator[Finding]:
    """Our own faults, of the process that looks: every other process counts its own, and its log says them."""
    for kind, count in faults.counts().items():
        yield Finding("fault", "faults", f"{kind} ({count:,} times in this process)", "this process's log says more")
    if not faults.counts():
        yield Finding("ok", "faults", "none in this process (those of others are in their logs)")
