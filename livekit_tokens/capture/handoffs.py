"""Finding every realtime session of an AgentSession, by public names only.

LiveKit announces each agent, also the first, by an AgentHandoff item just before it starts; at that moment the
`session` method of that agent's realtime model is wrapped, and a context variable says for whom the next realtime
session is made: models are shared, and several calls may run in one process.
Measured complete on livekit-agents 1.8.9: own models, AgentTask, handoffs from tools, RealtimeModelFallbackAdapter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import WeakSet

from livekit.agents import llm

from livekit_tokens.core import faults

_asking: ContextVar[Asking | None] = ContextVar("livekit_tokens_asking", default=None)
_wrapped: WeakSet[llm.RealtimeModel] = WeakSet()


class Asking:
    """One AgentSession's request to be told of its next realtime session."""

    def __init__(self, attach: Callable[[Any], None]) -> None:
        self._attach = attach
        self._expecting = False

    def expect_from(self, model: object) -> None:
        """The agent that starts now uses this model."""
        if not isinstance(model, llm.RealtimeModel):
            return
        _wrap(model)
        self._expecting = True
        _asking.set(self)

    def made(self, realtime_session: Any) -> None:
        # Once: what else the same task makes later is somebody else's, unless another handoff says so.
        if self._expecting:
            self._expecting = False
            self._attach(realtime_session)


def _wrap(model: llm.RealtimeModel) -> None:
    if model in _wrapped:
        return
    make = model.session

    @wraps(make)
    def session(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        asking = _asking.get()
        if asking is not None:
            try:
                asking.made(made)
            except Exception as error:  # noqa: BLE001 - the call goes on, without our ears
                faults.note("a realtime session could not be listened to", error)
        return made

    model.session = session  # type: ignore[method-assign]
    _wrapped.add(model)
