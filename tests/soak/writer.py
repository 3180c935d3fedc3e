"""A process that writes, and is killed: a recorder and its background on a real ledger, without LiveKit."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the first use would import while the clock is running.
import alembic.command  # noqa: F401
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401

from livekit_tokens.core import background, faults, spool
from livekit_tokens.core.background import Background
from livekit_tokens.core.chores import Chores
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Use, to_bytes
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.store import revision
from livekit_tokens.store.connection import StoreLedger
from tests.soak.dying_ledger import Death, DyingLedger
from tests.soak.jumps import own_clock
from tests.soak.load import Load, now
from tests.soak.phases import Phases
from tests.soak.prices import price
from tests.soak.privileges import respect_file_modes
from tests.soak.told import Teller
from tests.soak.worlds import HOST, World

FLUSH_SECONDS = 60.0


@dataclass(frozen=True)
class Writing:
    """How a writer goes about it."""

    world: World
    seed: int
    records: int | None = None
    """Ends by itself after so many plain records; None: goes on until it is told to stop, or killed."""
    segment_bytes: int = 50_000
    """Small, so that rotation happens often; each one costs an fsync, which a busy disk makes dear."""
    gather_s: float = 0.02
    """Short, so that drains happen often; longer, so that they do not."""
    pause_s: float = 0.004
    phases: Path | None = None
    death: Death | None = None
    ends_s: float | None = None
    """Calls end (parts close, sync, flush) about so often."""
    replay_bytes: int | None = None
    """How much of what is in the ledger the spool keeps; None: as in production."""
    figures: bool = True
    """Some requests end by their figures, of which the background makes the record."""
    wait_for_go: bool = False
    """Open a first part, and begin to write only when the parent says so."""
    as_anybody: bool = False
    """Give up root's right to write what is read-only, if this is root."""
    behind_s: int = 0
    """What is written is late by so much."""
    tells_of_drains: bool = False
    """Say of each when it began, and how long it took."""


class _WatchedLedger(DyingLedger):
    """Tells when it connects, and marks what the process is doing."""

    def __init__(self, world: World, teller: Teller, phases: Phases | None, death: Death | None) -> None:
        super().__init__(StoreLedger(world.url, pricing=price), death)
        self._teller = teller
        self._phases = phases

    async def connect(self) -> Any:
        self._teller.moment("connecting")
        if self._phases is None:
            return await super().connect()
        with self._phases.during("connecting"):
            connection = await super().connect()
        apply = connection.apply

        async def watched(batch: Any) -> bool:
            with self._phases.during("draining"):
                return await apply(batch)

        connection.apply = watched
        return connection


class _TimedLedger(DyingLedger):
    """Tells of each drain."""

    def __init__(self, world: World, teller: Teller) -> None:
        super().__init__(StoreLedger(world.url, pricing=price), None)
        self._teller = teller

    async def connect(self) -> Any:
        connection = await super().connect()
        apply = connection.apply

        async def timed(batch: Any) -> bool:
            at, began = now(), time.perf_counter()
            done: bool = await apply(batch)
            self._teller.said(drained_at=at, drained_ms=(time.perf_counter() - began) * 1e3)
            return done

        connection.apply = timed
        return connection


class Writer:
    """The child's side of a `Writing`."""

    def __init__(self, teller: Teller, writing: Writing) -> None:
        self._teller = teller
        self._writing = writing
        self._stopping = False
        self._others: Callable[[], None] = lambda: None
        signal.signal(signal.SIGTERM, self._stop)
        self.clock = own_clock()
        # Before the background's thread is born, which would take it otherwise.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        self._memory_mb = _memory_mb()
        spool.SEGMENT_BYTES = writing.segment_bytes
        if writing.replay_bytes is not None:
            spool.REPLAY_BYTES = writing.replay_bytes
        background.GATHER_SECONDS = writing.gather_s
        # 30 s in production; what is looked at here is what arrives, not how late.
        background._LAST_RETRY_SECONDS = 1.0
        if writing.as_anybody:
            respect_file_modes()
        self._phases = Phases(writing.phases) if writing.phases else None
        world = writing.world
        self._recorder = Recorder(
            world.root, Source(secrets.token_hex(8), HOST, os.getpid(), now()), now, self._written
        )
        if self._phases is not None:
            self._watch(self._recorder, self._phases)
            revision._upgrade = _during(self._phases, "migrating", revision._upgrade)
        ledger = (
            _TimedLedger(world, teller)
            if writing.tells_of_drains
            else _WatchedLedger(world, teller, self._phases, writing.death)
        )
        self._background = Background(self._recorder, ledger, Chores(self._recorder.source, lambda: [world.root]))
        self._background.start()
        self.load = Load(
            self._recorder, teller, writing.seed, writing.pause_s, writing.behind_s, figures=writing.figures
        )

    def sync(self) -> bool:
        return self._recorder.sync()

    def on_written(self, written: Callable[[], None]) -> None:
        """Somebody else wants to hear of it, too."""
        self._others = written

    @property
    def folder(self) -> Path:
        return self._recorder.folder

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _written(self) -> None:
        self._others()
        if hasattr(self, "_background"):
            self._background.written()

    @staticmethod
    def _watch(recorder: Recorder, phases: Phases) -> None:
        for owner, name, phase in ((recorder, "record", "recording"), (recorder._writer, "_rotate", "rotating")):
            setattr(owner, name, _during(phases, phase, getattr(owner, name)))

    def go_on(self) -> None:
        """Until the count is reached or somebody says stop."""
        self._teller.moment("writing")
        if self._writing.wait_for_go:
            self.load.record()
            signal.sigwait({signal.SIGUSR1})
        end_at = time.monotonic() + (self._writing.ends_s or float("inf"))
        while not self._stopping and (self._writing.records is None or self.load.written < self._writing.records):
            if self._writing.records is None:
                self.load.step()
            else:
                self.load.record()
            if time.monotonic() > end_at:
                self.end_calls(2.0)
                end_at = time.monotonic() + (self._writing.ends_s or float("inf"))
        self._teller.moment("written")

    def end_calls(self, seconds: float) -> bool:
        self._teller.moment("ending")
        if self._phases is None:
            return self._end_calls(seconds)
        with self._phases.during("ending a part"):
            return self._end_calls(seconds)

    def _end_calls(self, seconds: float) -> bool:
        self.load.end()
        self._recorder.sync()
        return self._background.flush_blocking(seconds)

    def end(self) -> None:
        """Everything into the ledger, and a last word."""
        until = time.monotonic() + FLUSH_SECONDS
        done = self.end_calls(10)
        while not done and time.monotonic() < until:
            time.sleep(0.2)
            done = self._background.flush_blocking(10)
        self._teller.said(
            drained=done,
            error=self._background.last_error,
            longest_ms=round(self.load.longest_s * 1000, 2),
            unkept=self._recorder.unkept,
            grown_mb=_memory_mb() - self._memory_mb,
            noted=faults.counts(),
        )

    # -- a disk that takes only part of a line -----------------------------------------------------------------------

    def write_cut(self, cuts: int) -> None:
        """Records whose line meets the limit of the file's size at every kind of place, then the limit is lifted."""
        for number in range(cuts):
            for _ in range(3):
                self.load.record()
            record = self.load.next_record()
            raw = to_bytes(Use(self._recorder._seq + 1, record))
            with _file_size_limit(self._newest_size() + _cut_place(number, len(raw))):
                self.load.write(record)
                self.load.record()
            time.sleep(0.002)
            self._recorder.tend()

    def _newest_size(self) -> int:
        newest = spool.segments_of(self._recorder.folder)[-1]
        return spool.segment_path(self._recorder.folder, newest).stat().st_size


def _memory_mb() -> int:
    """The most that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _during(phases: Phases, phase: str, method: Any) -> Any:
    def watched(*args: Any, **given: Any) -> Any:
        with phases.during(phase):
            return method(*args, **given)

    return watched


def _cut_place(number: int, length: int) -> int:
    """How much of a line is written: all but its newline, all but a byte, one byte, nothing, ..."""
    places = (length - 1, length - 2, 1, 0, length // 2, 8, 9, length)
    return places[number % len(places)] if number % 3 else number * 7 % length


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does by itself: the write says EFBIG instead
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def write(teller: Teller, writing: Writing) -> None:
    """A child's work: write until the end, whoever brings it."""
    writer = Writer(teller, writing)
    writer.go_on()
    writer.end()


def hold_calls(teller: Teller, writing: Writing, calls: tuple[tuple[int, int], ...]) -> None:
    """A child's work: calls of so many simulated seconds, one after the other, with a record every so many."""
    writer = Writer(teller, writing)
    bytes_written = 0
    for length_s, every_s in calls:
        for _ in range(length_s // every_s):
            bytes_written += len(to_bytes(Use(1, writer.load.record())))
            writer.clock.move(every_s)
            if writer.load.written % 100 == 0:
                time.sleep(0.02)  # for the drain: a day is over in a second here
        writer.end_calls(20)
    kept = sum(path.stat().st_size for path in writer.folder.glob("*.jsonl"))
    teller.said(written=bytes_written, kept=kept)
    writer.end()


def die_with_many(teller: Teller, writing: Writing, sources: int, ended: bool) -> None:
    """A child's work: several sources, each with calls that go on, or have all `ended`; nothing is drained; then be
    ready to be killed.
    """
    for number in range(sources):
        source = Source(secrets.token_hex(8), HOST, os.getpid(), now())
        load = Load(Recorder(writing.world.root, source, now), teller, writing.seed + number, 0.0)
        while load.written < 20:
            load.step()
        if ended:
            load.end()
    teller.moment("all written")
    time.sleep(60)


def write_with_short_writes(teller: Teller, writing: Writing, cuts: int) -> None:
    """A child's work: write on a disk that cuts lines; then be ready to be killed."""
    writer = Writer(teller, writing)
    writer.write_cut(cuts)
    writer._recorder.sync()
    teller.moment("cut")
    time.sleep(60)
