"""The wall clock."""

from __future__ import annotations

import time

from livekit_tokens.domain.times import Micros


def now() -> Micros:
    """In UTC microseconds."""
    return time.time_ns() // 1000
