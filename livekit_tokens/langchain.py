"""LangChain: what its models spend, told by its callbacks. Needs the extra `livekit-tokens[langchain]`.

config = attach_token_tracking({"configurable": {"user_id": "ada", "thread_id": "t-1"}}, agent_name="planner")
await agent.ainvoke(question, config)
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from livekit_tokens.bootstrap import recording
from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.core import faults

try:
    from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, LLMResult
    from langchain_core.runnables import RunnableConfig
except ImportError as missing:
    raise ImportError("LangChain is not installed; pip install 'livekit-tokens[langchain]'") from missing

_WRITTEN = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
"""What a prompt wrote to the cache: the first, or by how long it is kept; then the first is 0.
Source: langchain-anthropic, `_create_usage_metadata`."""
_MOST_RUNS = 10_000
"""Runs that have begun and not ended: what is older has been dropped by LangChain without a word."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in flight: which model was asked, by whom, when by a monotonic clock in seconds."""

    model: str
    provider: str
    operation: str
    begun: float
    call: witnesses.Mark


class _Done:
    """What a callback answers: nothing to wait for, and it may be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


class TokenTrackingCallbackHandler(BaseCallbackHandler):
    """Records each request of a chat model or LLM as it ends, also one that failed; never raises into LangChain.

    Within a tracked call or a `usage_session` it is theirs, whatever the ids say; else it is `thread_id`'s, of
    `user_id`. What the wire has seen of the same request (a tracked call, a `metered` client) counts once. A request
    whose provider tells no usage, as some do when they stream, is recorded as `unknown`.
    """

    run_inline = True
    """In the context of the request itself, so that the wire's record of it is known to be the same one: with a loop or
    without. So its methods are no coroutine functions either, which LangChain runs elsewhere where there is no loop."""

    def __init__(
        self, *, user_id: str | None = None, thread_id: str | None = None, agent_name: str | None = None
    ) -> None:
        super().__init__()
        self.user_id = user_id
        self.thread_id = thread_id
        self.agent_name = agent_name
        self._runs: OrderedDict[UUID, _Asked] = OrderedDict()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],  # noqa: ARG002 - what was said is not looked at
        *,
        run_id: UUID,
        **told: Any,
    ) -> _Done:
        self._begin(serialized, run_id, told, "chat_completion")
        return _Done()

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],  # noqa: ARG002 - as above
        *,
        run_id: UUID,
        **told: Any,
    ) -> _Done:
        self._begin(serialized, run_id, told, "text_generation")
        return _Done()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_told: Any) -> _Done:
        self._record(run_id, response)
        return _Done()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> _Done:
        self._record(run_id, told.get("response"), error)
        return _Done()

    def _begin(
        self, serialized: Mapping[str, Any] | None, run_id: UUID, told: Mapping[str, Any], operation: str
    ) -> None:
        try:
            names, given = told.get("metadata") or {}, told.get("invocation_params") or {}
            model = names.get("ls_model_name") or given.get("model") or given.get("model_name")
            model = model or (serialized or {}).get("name") or "unknown"
            provider = names.get("ls_provider") or "unknown"
            call = witnesses.begin_call(told.get("parent_run_id"))
            self._runs[run_id] = _Asked(str(model), str(provider), operation, time.monotonic(), call)
            if len(self._runs) > _MOST_RUNS:
                _, dropped = self._runs.popitem(last=False)
                witnesses.end_call(dropped.call)
        except Exception as error:  # noqa: BLE001 - the agent goes on
            faults.note("a LangChain request could not be followed", error)

    def _record(self, run_id: UUID, response: LLMResult | None, error: BaseException | None = None) -> None:
        try:
            if (asked := self._runs.pop(run_id, None)) is not None:
                witnesses.end_call(asked.call)
                self._write(run_id, asked, response, error)
        except Exception as fault:  # noqa: BLE001 - the agent goes on
            faults.note("a LangChain request could not be recorded", fault)

    def _write(self, run_id: UUID, asked: _Asked, response: LLMResult | None, error: BaseException | None) -> None:
        message, answered = _message_of(response), _told_by(response)
        usage = usage_of(message, answered)
        if asked.call.has_seen(asked.operation, (asked.provider, asked.model), _tokens_of(usage)):
            return  # each attempt of it is recorded by the wire, also what was cut off
        # A tracked call or a usage_session goes first: what the wire sees of this request is theirs, too.
        session = self.thread_id if spending.whose() is None else None
        ByHand(recording, user=self.user_id).record_usage(
            model=str(answered.get("model_name") or asked.model),
            provider=asked.provider,
            operation=asked.operation,
            usage=usage,
            agent=self.agent_name,
            session_id=session,
            request_id=_id_of(message, answered),
            # A handler that is attached twice on the way down hears of one run twice.
            idempotency_key=f"langchain:{run_id}",
            processing_time_ms=(time.monotonic() - asked.begun) * 1000,
            success=error is None,
            error=error,
            metadata={"run_id": str(run_id), "generations": sum(map(len, response.generations)) if response else 0},
        )


def attach_token_tracking(config: RunnableConfig | None = None, *, agent_name: str | None = None) -> RunnableConfig:
    """A copy of a LangChain config whose models' requests are recorded; callbacks that are there stay.

    User and session are those of `config["configurable"]`: `user_id` and `thread_id`.
    """
    made = cast("RunnableConfig", dict(config or {}))
    ids = made.get("configurable") or {}
    user, thread = (None if ids.get(name) is None else str(ids[name]) for name in ("user_id", "thread_id"))
    handler = TokenTrackingCallbackHandler(user_id=user, thread_id=thread, agent_name=agent_name)
    there = made.get("callbacks")
    if isinstance(there, BaseCallbackManager):
        manager = there.copy()
        manager.add_handler(handler, inherit=True)
        made["callbacks"] = manager
    else:
        made["callbacks"] = [*(there or ()), handler]
    return made


def usage_of(message: AIMessage | None, answered: Mapping[str, Any]) -> dict[str, Any] | None:
    """What LangChain tells of a request, in the shape of OpenAI's chat usage; None where it tells nothing.

    Of several generations each one's message has the usage of the whole request.
    """
    usage = message.usage_metadata if message is not None else None
    if usage is None:
        found = answered.get("token_usage") or answered.get("usage")
        return dict(found) if found else None
    read: Mapping[str, Any] = usage.get("input_token_details") or {}
    made: Mapping[str, Any] = usage.get("output_token_details") or {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": read.get("cache_read") or 0,
            "cache_write_tokens": sum(read.get(name) or 0 for name in _WRITTEN),
            "audio_tokens": read.get("audio") or 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": made.get("reasoning") or 0,
            "audio_tokens": made.get("audio") or 0,
        },
    }


def _tokens_of(usage: Mapping[str, Any] | None) -> witnesses.Tokens:
    read, made = ((usage or {}).get(name) for name in ("prompt_tokens", "completion_tokens"))
    return (read, made) if isinstance(read, int) and isinstance(made, int) else (0, 0)


def _message_of(response: LLMResult | None) -> AIMessage | None:
    first = response.generations[0][0] if response and response.generations and response.generations[0] else None
    message = first.message if isinstance(first, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def _told_by(response: LLMResult | None) -> dict[str, Any]:
    """What the provider's answer says of itself, by whichever of LangChain's two ways."""
    message = _message_of(response)
    return {**((response.llm_output if response else None) or {}), **(message.response_metadata if message else {})}


def _id_of(message: AIMessage | None, answered: Mapping[str, Any]) -> str | None:
    """The provider's id of the answer. LangChain gives messages ids of its own where it knows none."""
    if answered.get("id"):
        return str(answered["id"])
    own = message.id if message is not None else None
    return None if own is None or own.startswith(("run-", "lc_")) else own
