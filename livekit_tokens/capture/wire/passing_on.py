"""A request that only goes to a transport of the host's, which asks the same of the provider by a client of its own, as
gateways, caches and proxies within a process do: which of the two is recorded. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Outcome(NamedTuple):
    """What a request has come to: the status of its answer, or the class of the error that it ended by without one."""

    status: int | None
    error: str | None

    @property
    def answered(self) -> bool:
        return self.status is not None and self.status < 300


def is_passed_on(outer: Outcome | None, inner: Collection[Outcome | None]) -> bool | None:
    """Whether the inner ones, which ask alike and were sent while it was on its way, are recorded in its place; None
    while nobody knows. An outcome is None while its request is on its way.

    An inner one is the witness where it was answered, or failed as the outer one does: each of its attempts is one that
    the provider sees, also those that the transport repeats, and it goes by the name of the model that is billed. Where
    it failed and the outer one goes on, the transport may have sent that itself. Not a request of another kind, or
    about something else, that a hook of the host's sent meanwhile.
    """
    if any(one is not None and (one.answered or one == outer) for one in inner):
        return True
    return None if None in inner else False
