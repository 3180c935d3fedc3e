"""Methods of other people's classes that ours are put around; each once, whichever threads ask at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Patches:
    """What was put in, so that it can be taken out again. Takes no lock: a fork finds nothing held."""

    def __init__(self) -> None:
        self._made: dict[tuple[type, str], tuple[Any, Any]] = {}
        """Class and name: our method, and the one that was there before."""

    def put(self, owner: type, name: str, around: Callable[[Any], Any]) -> None:
        """Put ours, which `around` makes of the one that is there, in its place; once."""
        if (owner, name) in self._made:
            return
        before = getattr(owner, name)
        ours = around(before)
        if self._made.setdefault((owner, name), (ours, before))[0] is ours:
            setattr(owner, name, ours)

    def take_out(self) -> None:
        """Put back what was there before, where the method is still ours: another one's patch on top of it stays."""
        while self._made:
            (owner, name), (ours, before) = self._made.popitem()
            if owner.__dict__.get(name) is ours:
                setattr(owner, name, before)
