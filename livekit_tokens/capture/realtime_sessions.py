"""The realtime sessions of a call: each is found as it is made, listened to, and let finish before it closes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession

from livekit_tokens.capture.agent_session import named, realtime_session_of
from livekit_tokens.capture.closing import finish_before_closing
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.handoffs import Asking
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.spending import Writer

_prefixes = itertools.count(1)


class RealtimeSessions:
    """Those of one AgentSession. `writer` answers what is written through now."""

    def __init__(
        self,
        session: Callable[[], AgentSession[Any] | None],
        writer: Callable[[], Writer],
        components: ComponentWitness,
    ) -> None:
        self._session = session
        self._writer = writer
        self._components = components
        self._witnesses: list[RealtimeWitness] = []
        self._asking = Asking(self.listen_to)

    def expect_from(self, model: object) -> None:
        """The agent that starts now uses this model."""
        self._asking.expect_from(model)

    def listen_to(self, realtime: Any) -> None:
        witness = RealtimeWitness(self._writer(), lambda: named(realtime.realtime_model), f"r{next(_prefixes)}")
        witness.attach(realtime)
        self._components.listen_to_realtime(realtime)
        self._witnesses.append(witness)
        finish_before_closing(realtime, witness, self._is_current, self._forget)

    def go_on(self) -> None:
        """The call goes on in a new part, with what is in flight."""
        for witness in self._witnesses:
            witness.write_to(self._writer())

    def give_up(self) -> None:
        """The call is over: nothing more comes of them."""
        for witness in self._witnesses:
            witness.give_up()
        self._witnesses = []

    def _is_current(self, realtime: Any) -> bool:
        # At a handoff, the session's current agent is the next one already.
        session = self._session()
        return session is not None and realtime_session_of(session) is realtime

    def _forget(self, witness: RealtimeWitness) -> None:
        if witness in self._witnesses:
            self._witnesses.remove(witness)
