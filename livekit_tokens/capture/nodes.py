"""Agents' nodes: what they ask of a component is their call's, and in it their agent's.

Each node is called in a task of its own, so what it puts into a context variable holds for all that it asks. Measured
on livekit-agents 1.8.9. Of a streaming voice it also notes how much it was given to say (`utterances.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from livekit.agents import tts

from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Spending
from livekit_tokens.capture.utterances import Utterance
from livekit_tokens.core import faults

if TYPE_CHECKING:
    from livekit_tokens.capture.components import ComponentWitness

_NODES = ("stt_node", "llm_node", "tts_node")


@dataclass(frozen=True, slots=True)
class Reply:
    """For which reply of whose call this context works, and which utterance of it."""

    witness: ComponentWitness
    utterances: list[Utterance]
    utterance: Utterance | None = None


current: ContextVar[Reply | None] = ContextVar("livekit_tokens_reply", default=None)
"""The reply that the running code works for."""
_followed: WeakKeyDictionary[Any, ComponentWitness] = WeakKeyDictionary()
_following = threading.Lock()  # calls in threads of one process


def follow(agent: Any, witness: ComponentWitness) -> None:
    """From now on the agent's nodes spend this call's money, and a component that was swapped in is noticed."""
    with _following:
        _followed[agent] = witness
    for name in _NODES:
        node = getattr(agent, name)
        if not hasattr(node, "livekit_tokens_marks"):
            setattr(agent, name, _marking(agent, node, name))


def forget(witness: ComponentWitness) -> None:
    """The call is over."""
    with _following:
        for agent in [agent for agent, of in _followed.items() if of is witness]:
            del _followed[agent]


def _marking(agent: Any, node: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(node)
    def marked(given: Any, *args: Any, **kwargs: Any) -> Any:
        witness = _followed.get(agent)
        if witness is not None:
            try:
                witness.listen_to(agent)
                utterance = _begin(witness, agent, speaks=name == "tts_node")
                given = given if utterance is None else utterance.overhear(given)
            except Exception as error:  # noqa: BLE001 - the node runs in any case
                faults.note("an agent's components could not be listened to", error)
        return node(given, *args, **kwargs)

    marked.livekit_tokens_marks = True  # type: ignore[attr-defined]
    return marked


def _begin(witness: ComponentWitness, agent: Any, *, speaks: bool) -> Utterance | None:
    """A node of this agent begins, in a task of its own."""
    before = current.get()
    spending.spend(Spending(witness.payer, agent.id))
    if before is None or before.witness is not witness:
        current.set(None)
        return None
    utterance = None
    if speaks and (voice := _voice_of(agent)) is not None:
        utterance = Utterance(voice, agent.id)
        before.utterances.append(utterance)
    current.set(replace(before, utterance=utterance))
    return utterance


def _voice_of(agent: Any) -> tts.TTS[Any] | None:
    """The voice that streams what this agent says; one that is asked sentence by sentence tells of each, cut or not."""
    own = agent.tts
    voice = own if own is None or isinstance(own, tts.TTS) else agent.session.tts
    streams = isinstance(voice, tts.TTS) and voice.capabilities.streaming and not isinstance(voice, tts.StreamAdapter)
    return voice if streams else None
