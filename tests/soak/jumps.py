"""A wall clock that jumps when a signal says so: `time.time` and `time.time_ns` of this process."""

from __future__ import annotations

import signal
import time

BACK_AN_HOUR, FORWARD_A_DAY = -3600, 86_400
SIGNALS = {BACK_AN_HOUR: signal.SIGRTMIN + 1, FORWARD_A_DAY: signal.SIGRTMIN + 2}

_really_ns = time.time_ns


class _Clock:
    def __init__(self) -> None:
        self.offset_ns = 0

    def time_ns(self) -> int:
        return _really_ns() + self.offset_ns

    def time(self) -> float:
        return self.time_ns() / 1e9


def make_clock_jump() -> None:
    """From here on the clock is ours, and each signal moves it once more."""
    clock = _Clock()
    time.time_ns, time.time = clock.time_ns, clock.time
    for seconds, number in SIGNALS.items():

        def jump(*_: object, by: int = seconds) -> None:
            clock.offset_ns += by * 10**9

        signal.signal(number, jump)
