"""What a context says by `with` blocks that stand one inside the other, and may each be left by another task.

A generator may be entered in one task and closed by another, whose own blocks go on: in its context a token of the
first one's would be refused, and the first one's context never hears that the block is over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Generic, Protocol, TypeVar


class Block(Protocol):
    """What is said inside, and whether it has been left, in whichever context."""

    @property
    def over(self) -> bool: ...


_B = TypeVar("_B", bound=Block)


class Nested(Generic[_B]):
    """The blocks that the running code is inside, by its context variable; tasks inherit them."""

    def __init__(self, name: str) -> None:
        self._blocks: ContextVar[tuple[_B, ...]] = ContextVar(name, default=())

    def innermost(self) -> _B | None:
        blocks = self._blocks.get()
        return blocks[-1] if blocks else None

    def only(self, block: _B | None) -> None:
        """From here on this context is inside of nothing else."""
        self._blocks.set(() if block is None else (block,))

    def enter(self, block: _B) -> None:
        """From here on this context is inside of that, too.

        One that is over stays until another that is over stands right inside it: a task goes on with what it was begun
        inside, and says it again when it leaves the new one; what is further out it would hold for nothing, and a
        context may live for weeks.
        """
        within = (*self._blocks.get(), block)
        self._blocks.set((*(outer for outer, inner in pairwise(within) if not (outer.over and inner.over)), block))

    def leave(self, is_left: Callable[[_B], bool]) -> _B | None:
        """Out of the innermost of these and of what is inside it; answers it, None where this context has none."""
        blocks = self._blocks.get()
        for depth in reversed(range(len(blocks))):
            if is_left(blocks[depth]):
                self._blocks.set(blocks[:depth])
                return blocks[depth]
        return None
