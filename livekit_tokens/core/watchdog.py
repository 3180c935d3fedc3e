"""An alarm for a call that goes on while nothing is recorded of it: metering that is broken must not be silent."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE = 3
"""Turns without a record before it is said. One may be a fault of the provider's, two a very slow answer; and whatever
hears and answers three times was paid for. In silence there are no turns, and nothing is missed."""


class Watchdog:
    """Counts turns: something that the caller said, and something that the agent said after it."""

    def __init__(self, alarm: Callable[[int], None]) -> None:
        self._alarm = alarm
        self._turns = 0
        self._recorded = 0
        self._heard = False
        self._said = False

    def said(self, by_agent: bool, recorded: int) -> None:
        """Somebody has said something; `recorded` are the requests that are on record by now."""
        is_turn, self._heard = by_agent and self._heard, not by_agent
        if not is_turn:
            return
        self._turns = self._turns + 1 if recorded == self._recorded else 0
        self._recorded = recorded
        if self._turns >= PATIENCE and not self._said:
            self._said = True
            self._alarm(self._turns)
