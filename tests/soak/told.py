"""What a child process tells before it dies: one short line a fact, written to its own pipe *after* the fact.

A pipe keeps what was written although the writer is killed, so whatever arrived here had been promised: `record()`
had returned. Lines are shorter than PIPE_BUF: one `os.write` each, never torn.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

SYNCING, SYNCED = "syncing", "synced"


class Teller:
    """The child's end."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe  # kept: closing it would end the telling

    def close(self) -> None:
        """Nothing more is told: the parent waits for no other end."""
        self._pipe.close()

    def emitted(self, request: str) -> None:
        """The one fact that is told before: somebody is about to record it, or to say that it is in flight."""
        self._write("E", request)

    def recorded(self, request: str) -> None:
        self._write("R", request)

    def in_flight(self, request: str) -> None:
        self._write("F", request)

    def part_opened(self, key: str) -> None:
        self._write("P", key)

    def part_closed(self, key: str) -> None:
        self._write("C", key)

    def moment(self, name: str) -> None:
        """Something is about to happen that the parent may want to hit."""
        self._write("M", name)

    def said(self, **facts: Any) -> None:
        self._write("J", json.dumps(facts)[:3500])

    def _write(self, kind: str, text: str) -> None:
        os.write(self._pipe.fileno(), f"{kind} {text}\n".encode())


@dataclass
class Told:
    """Everything that children had told, added up."""

    emitted: set[str] = field(default_factory=set)
    records: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    synced: set[str] = field(default_factory=set)
    """Records that had been told when a sync began which has ended well."""
    said: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Told) -> None:
        self.emitted |= other.emitted
        self.records |= other.records
        self.in_flight |= other.in_flight
        self.opened |= other.opened
        self.closed |= other.closed
        self.said += other.said

    @property
    def faults(self) -> list[str]:
        """What went wrong with a child, by its own word or by the parent's."""
        return [said["fault"] for said in self.said if said.get("fault")]

    @property
    def acknowledged(self) -> int:
        return len(self.records | self.in_flight)


class Listener:
    """The parent's end: a thread that reads until the child is dead, however fast the child writes."""

    def __init__(self, pipe: Connection) -> None:
        self.told = Told()
        self._pipe = pipe
        self._moments: dict[str, int] = {}
        self._syncing: set[str] = set()
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def wait_for(self, moment: str, within: float, times: int = 1) -> bool:
        """Whether the child has told of that moment so many times; False when it is dead or has taken too long."""
        until = time.monotonic() + within
        with self._news:
            while self._moments.get(moment, 0) < times and not self._ended:
                if not self._news.wait(max(0.0, until - time.monotonic())):
                    break
            return self._moments.get(moment, 0) >= times

    def all_told(self) -> Told:
        """What was told in all; waits for the child's end of the pipe to be closed."""
        self._thread.join(30)
        return self.told

    def _listen(self) -> None:
        rest = b""
        while raw := os.read(self._pipe.fileno(), 1 << 16):
            *lines, rest = (rest + raw).split(b"\n")
            with self._news:
                for line in lines:
                    self._take(line.decode())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._pipe.close()

    def _take(self, line: str) -> None:
        kind, _, text = line.partition(" ")
        match kind:
            case "E":
                self.told.emitted.add(text)
            case "R":
                self.told.records.add(text)
            case "F":
                self.told.in_flight.add(text)
            case "P":
                self.told.opened.add(text)
            case "C":
                self.told.closed.add(text)
            case "M":
                self._moments[text] = self._moments.get(text, 0) + 1
                if text == SYNCING:
                    self._syncing = set(self.told.records)
                elif text == SYNCED:
                    self.told.synced = self._syncing
            case "J":
                self.told.said.append(json.loads(text))
