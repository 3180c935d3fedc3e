"""What a process that writes has: one source, made at first use. Not at import, because LiveKit forks after that."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.capture.wire import counting
from livekit_tokens.core import faults, homes
from livekit_tokens.core.background import Background
from livekit_tokens.core.chores import Chores
from livekit_tokens.core.clock import now
from livekit_tokens.core.files import make_folder
from livekit_tokens.core.health import Health
from livekit_tokens.core.ledger import Ledger, LedgerConnection, Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.syncing import Syncing
from livekit_tokens.core.unrecorded import Recording, Unrecorded
from livekit_tokens.domain import sessions
from livekit_tokens.domain.pricing import Prices
from livekit_tokens.settings import Settings, load_settings
from livekit_tokens.store.address import ledger_id

if TYPE_CHECKING:
    from livekit_tokens.capture.part import Process
    from livekit_tokens.core.daily_logs import DailyLogs
    from livekit_tokens.domain.summary import SessionSummary
    from livekit_tokens.prices.book import PriceBook

logger = logging.getLogger("livekit_tokens")

_HOLD_SECONDS = 0.1
"""How long a fork may wait for the ledger to be let go; it may be a call's loop that forks."""
EXIT_SECONDS = 2.0
"""How long a process that ends by itself waits for the ledger; what is not there by then follows from the spool."""


def new_key() -> str:
    """A part's key: 16 bytes in hex, six of time and ten random, so that a ledger grows at its end."""
    return (time.time_ns() // 1_000_000).to_bytes(6).hex() + secrets.token_hex(10)


class Runtime:
    """One source of this process: its recorder and its background."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if "log_level" in settings.model_fields_set:
            logger.setLevel(settings.log_level)
        self._process: Process | None = None
        self._said_disabled = False
        self._said_other = False
        self.background: Background | None = None
        self._syncing: Syncing | None = None
        # One book for the receipt and for the ledger: both have the same prices.
        prices = price_book(settings)
        self.recorder: Recording = Unrecorded(prices)
        if settings.enabled and (recorder := _recorder(settings, prices, self._written)) is not None:
            self.recorder = recorder
            ledger = UnopenedLedger(settings.database_url, prices)
            logs = daily_logs(settings)
            chores = Chores(
                recorder.source,
                partial(homes.within_reach, settings.spool_dir, recorder.source.host),
                others=partial(homes.out_of_reach, settings.spool_dir, recorder.source.host),
                session_charges=prices.session_charges,
                retention_days=settings.retention_days,
                logs=logs,
            )
            self.background = Background(recorder, ledger, chores, logs)
            if _may_open:
                self.background.start()
            if settings.durability == "power":
                self._syncing = Syncing(recorder.sync)
                self._syncing.start()
            atexit.register(self._leave)

    async def flush(self, seconds: float) -> bool:
        """Wait until all that is written now is in the ledger, at most so long."""
        return self.background is not None and await self.background.flush(seconds)

    def process(self) -> Process:
        """What capture needs of this process."""
        with _making:
            if self._process is None:
                self._process = self._made()
            return self._process

    def _made(self) -> Process:
        from livekit_tokens.capture.part import Process  # noqa: PLC0415 - a process that only reads needs none
        from livekit_tokens.capture.who import Naming  # noqa: PLC0415

        own = self.settings
        return Process(
            self.recorder,
            self.flush,
            now,
            new_key,
            naming=Naming(own.identities, own.user_from, own.tenant_from),
            rejoin_grace=own.rejoin_grace_seconds,
            tags=own.tags,
            waits_for_disk=own.durability == "power",
            health=self.health,
        )

    def health(self) -> Health:
        """How the metering of this process fares."""
        counts, last = faults.counts(), faults.last()
        recorder, background = self.recorder, self.background
        if not isinstance(recorder, Recorder) or background is None:
            unkept = recorder.unkept if self.settings.enabled and isinstance(recorder, Unrecorded) else 0
            return Health(records=unkept, unkept=unkept, faults=counts, last_error=last)
        return Health(
            records=recorder.records,
            unkept=recorder.unkept,
            waiting_bytes=recorder.waiting_bytes,
            behind=background.behind,
            lag_seconds=background.lag_seconds,
            faults=counts,
            last_error=last,
            ledger_error=background.last_error,
        )

    def open_sessions(self) -> list[SessionSummary]:
        return [] if self._process is None else self._process.open_parts.summaries()

    def say_disabled(self) -> None:
        """Once a process: who forgot that tracking is off must not believe in an empty ledger."""
        if not self._said_disabled:
            self._said_disabled = True
            logger.warning("tracking is off (ENABLED=false): calls are not counted")

    def say_other_settings(self) -> None:
        """Once a process, whose calls share one spool."""
        if not self._said_other:
            self._said_other = True
            logger.warning("settings of a later track() differ from those of the first one; the first count")

    def _written(self) -> None:
        if self._syncing is not None:
            self._syncing.written()
        if self.background is not None:
            self.background.written()

    def _leave(self) -> None:
        """The process ends by itself: close what is open and give the ledger a moment (job processes skip this)."""
        recorder = self.recorder
        if not isinstance(recorder, Recorder) or self.background is None:
            return
        counting.settle(None, counting.SETTLE_SECONDS)
        recorder.make_records()
        for part in recorder.open_parts():
            ended = sessions.ended(part, now(), "process_exit")
            for charge in recorder.charges(ended):
                recorder.record(charge)
            recorder.put_part(ended)
        recorder.sync()
        self.background.flush_blocking(EXIT_SECONDS)

    def disown(self) -> None:
        """In a forked child, which makes a source of its own at first use."""
        atexit.unregister(self._leave)
        if isinstance(self.recorder, Recorder):
            self.recorder.disown()


class UnopenedLedger(Ledger):
    """The store, imported in the background thread when it is first needed: a call must not pay for the import."""

    def __init__(self, database_url: str, prices: PriceBook) -> None:
        self._url = database_url
        self._prices = prices
        self._store: Ledger | None = None

    async def connect(self) -> LedgerConnection:
        self._prices.look()  # in this thread: a call that ends must know what its minutes are billed as
        if self._store is None:
            from livekit_tokens.store.connection import StoreLedger  # noqa: PLC0415 - see the class

            self._store = StoreLedger(self._url, pricing=self._prices.price)
        return await self._store.connect()


def _recorder(settings: Settings, prices: Prices, on_written: Callable[[], None]) -> Recorder | None:
    ledger = ledger_id(settings.database_url)
    source = Source(secrets.token_hex(16), homes.host(settings.spool_host), os.getpid(), now(), ledger)
    failed: list[tuple[Path, OSError]] = []
    recorder = None
    instead = "and no other"
    for home in homes.homes(settings.spool_dir):
        try:
            root = home / source.host
            make_folder(root)
            homes.check_home(home, settings.spool_dir)
            recorder = Recorder(root, source, now, on_written, prices=prices)
        except OSError as error:
            failed.append((home, error))
        else:
            instead = f"and {home} is taken"
            break
    for home, why in failed:
        faults.note(f"the spool folder {home} cannot be written, {instead}; set SPOOL_DIR to one that can", why)
    return recorder


_runtime: Runtime | None = None
_making = threading.Lock()


def runtime(settings: Settings | None = None) -> Runtime:
    """This process's Runtime; the settings of its first use count."""
    global _runtime  # noqa: PLW0603 - one a process, by design
    with _making:
        if _runtime is None:
            _runtime = Runtime(settings or _settings())
        elif settings is not None and settings != _runtime.settings:
            _runtime.say_other_settings()
        return _runtime


def running() -> Runtime | None:
    """This process's Runtime, where it has one."""
    return _runtime


def own_settings() -> Settings:
    """The settings of this process: those that its Runtime was made with, or else as they are found now."""
    return _runtime.settings if _runtime is not None else _settings()


def _settings() -> Settings:
    settings, warnings = load_settings()
    for warning in warnings:
        logger.warning("%s", warning)
    return settings


class _Fork(threading.local):
    """What a thread that forks tells itself, in the parent and in the child; others may fork at the same time."""

    is_held = False
    has_let_go = True


def _before_fork() -> None:
    _fork.is_held = _making.acquire(timeout=_HOLD_SECONDS)  # what is half made has files that nobody lets go of
    background = _runtime.background if _runtime is not None else None
    # Who has not the lock may meet another thread's fork, which goes on with the ledger when it is over.
    _fork.has_let_go = background is None or (_fork.is_held and background.hold(_HOLD_SECONDS))
    if not _fork.has_let_go:
        faults.note("the process forks while the ledger is being written; the child must not open it")


def _after_fork_in_parent() -> None:
    if not _fork.is_held:
        return
    if _runtime is not None and _runtime.background is not None:
        _runtime.background.go_on()  # before the next fork, whose hold this must not end
    _making.release()


def _after_fork_in_child() -> None:
    global _runtime, _making, _may_open  # noqa: PLW0603 - the child's own
    _making = threading.Lock()
    _may_open = _may_open and _fork.has_let_go
    parents, _runtime = _runtime, None
    if parents is not None:
        with suppress(OSError):
            parents.disown()


_fork = _Fork()
_may_open = True
"""False in a child that was forked while its parent had the ledger open, and in those that it forks itself: what they
record waits in their spools."""

os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def price_book(settings: Settings) -> PriceBook:
    """The prices that hold for these settings: the user's own of PRICES_FILE, over the published ones.

    Made without looking at a disk; what is slow waits for the first `price`.
    """
    from livekit_tokens.prices.book import PriceBook  # noqa: PLC0415 - a process that only reads may need none

    return PriceBook(settings.prices_file)


def daily_logs(settings: Settings) -> DailyLogs | None:
    """The daily log files of JSONL_DIR; None where they are not asked for."""
    if settings.jsonl_dir is None:
        return None
    from livekit_tokens.core.daily_logs import DailyLogs  # noqa: PLC0415 - most processes write none

    return DailyLogs(settings.jsonl_dir, now, settings.jsonl_keep_days)
