"""What a test needs and this machine cannot have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def give_up(missing: object) -> NoReturn:
    """Skip the test for this reason; fail where skips are forbidden (LIVEKIT_TOKENS_NO_SKIPS=1)."""
    if os.environ.get("LIVEKIT_TOKENS_NO_SKIPS") == "1":
        pytest.fail(str(missing))
    pytest.skip(str(missing))
