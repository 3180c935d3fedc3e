"""`active_sessions()`: what is tracked in this process, from memory."""

from __future__ import annotations

from pathlib import Path

from tests.test_runtime import run

TRACKED = """
import asyncio, os
from livekit_tokens import active_sessions, track
async def main():
    print(active_sessions())
    one, two = track(None, user="ada"), track(None, user="bob")
    print([s.user for s in active_sessions()], active_sessions()[0].to_dict()["status"])
    await one.aclose()
    print([s.session_id for s in active_sessions()] == [two.session_id])
    if os.fork() == 0:
        print(active_sessions(), flush=True)
        os._exit(0)
    os.wait()
    await two.aclose()
asyncio.run(main())
"""


def test_they_are_those_that_have_begun_and_not_ended(tmp_path: Path) -> None:
    """Oldest first; none before the first, none in a forked child, whose calls are its own."""
    lines = run(tmp_path, TRACKED, PYTHONUNBUFFERED="1").stdout.splitlines()
    assert lines == ["[]", "['ada', 'bob'] open", "True", "[]"]


def test_none_when_tracking_is_off(tmp_path: Path) -> None:
    """A Tracking that does nothing is no session."""
    code = "from livekit_tokens import active_sessions, track; track(None); print(active_sessions())"
    assert run(tmp_path, code, LIVEKIT_TOKENS_ENABLED="false").stdout.strip() == "[]"
