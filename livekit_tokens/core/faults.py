"""Our own faults: caught at the edge, counted, logged once per kind and minute. Metering that is broken is an alarm."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress

logger = logging.getLogger("livekit_tokens")

_QUIET_SECONDS = 60.0

_lock = threading.Lock()
_counts: Counter[str] = Counter()
_last_said: dict[str, float] = {}
_last: list[str] = []


def note(kind: str, error: BaseException | None = None, **fields: object) -> None:
    """Count a fault and say it, at most once per kind and minute. Never raises, never says what was said in a call."""
    said = f": {reason(error)}" if error is not None else ""
    with _lock:
        _counts[kind] += 1
        _last[:] = [f"{kind}{said}"]
        count = _counts[kind]
        now = time.monotonic()
        if now - _last_said.get(kind, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        _last_said[kind] = now
    with suppress(Exception):  # a filter or a handler of the host's may raise
        logger.warning("%s%s", kind, said, extra={"fault": kind, "count": count, **fields})
        if error is not None and logger.isEnabledFor(logging.DEBUG):
            # Where, but not the error's own words: another library's may quote what was said.
            logger.debug("%s came from:\n%s", kind, "".join(traceback.format_tb(error.__traceback__)))


def counts() -> dict[str, int]:
    """How often each kind of fault was met in this process."""
    with _lock:
        return dict(_counts)


def last() -> str | None:
    """The last one's kind and reason; None if there was none."""
    with _lock:
        return next(iter(_last), None)


def reason(error: BaseException) -> str:
    """What may be said of an error."""
    from livekit_tokens.domain.errors import LiveKitTokensError  # noqa: PLC0415 - only when something went wrong

    # Another library's message may quote what was said; its class does not.
    return str(error) if isinstance(error, (LiveKitTokensError, OSError)) else type(error).__name__


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent's may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
