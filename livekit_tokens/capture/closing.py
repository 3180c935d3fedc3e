"""LiveKit discards what a realtime session brings while it closes: open responses are let bring their figures before.

Only when the whole AgentSession closes: at a handoff LiveKit drains by itself, and the caller is waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import faults

FINISH_SECONDS = 2.0
"""How long open responses may take to bring their figures when the whole AgentSession closes."""


def finish_before_closing(
    realtime: Any,
    witness: RealtimeWitness,
    is_current: Callable[[Any], bool],
    closed: Callable[[RealtimeWitness], None],
) -> None:
    """Let the `aclose` of a livekit RealtimeSession wait first, if that `is_current` by then; `closed` when it is."""
    close = realtime.aclose

    async def aclose() -> None:
        finished = False
        try:
            finished = await _let_finish(realtime, witness, is_current)
        finally:  # also when the waiting is cancelled
            try:
                await close()
            finally:
                witness.give_up(broken=not finished)
                closed(witness)

    realtime.aclose = aclose


async def _let_finish(realtime: Any, witness: RealtimeWitness, is_current: Callable[[Any], bool]) -> bool:
    """Whether all had time to arrive that the provider had sent."""
    try:
        if witness.awaited and is_current(realtime):
            realtime.interrupt()
            await witness.finish(FINISH_SECONDS)
            return True
    except Exception as error:  # noqa: BLE001 - closing goes on in any case
        faults.note("open responses could not be awaited", error)
    return False
