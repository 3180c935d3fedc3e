"""What an AgentSession says of itself, by public names only. Seen on livekit-agents 1.8.9."""

from __future__ import annotations

from typing import Any

from livekit.agents import AgentSession, llm

from livekit_tokens.domain.providers import provider_of


def agent_of(session: AgentSession[Any] | None) -> str | None:
    try:
        return session.current_agent.id if session is not None else None
    except RuntimeError:  # not running
        return None


def is_running(session: AgentSession[Any]) -> bool:
    """Whether it goes on: one that was closed keeps its agent, and the agent has no session any more (1.8.9)."""
    try:
        return session.current_agent.session is session
    except RuntimeError:  # not started, or closed
        return False


def model_of(session: AgentSession[Any]) -> object:
    own = session.current_agent.llm
    return own if isinstance(own, llm.RealtimeModel) else session.llm


def realtime_session_of(session: AgentSession[Any]) -> Any:
    try:
        return session.current_agent.realtime_llm_session
    except RuntimeError:  # not running, or between two agents
        return None


def named(model: llm.RealtimeModel) -> tuple[str, str]:
    """Model and provider that serve now; a fallback adapter answers for the model behind it."""
    metadata = model.metrics_metadata
    return metadata["model_name"], provider_of(metadata["model_provider"])
