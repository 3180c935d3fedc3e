"""Recording by hand, for this process: the functions that the package's face offers. None of them imports livekit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from livekit_tokens.bootstrap import recording
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.usage_session import UsageSession
from livekit_tokens.capture.wire import watch
from livekit_tokens.domain.usage import CACHE_SERVICE, UsageRecord

_Client = TypeVar("_Client")

record_usage = ByHand(recording).record_usage


def usage_session(
    session_id: str,
    *,
    user: str | None = None,
    user_name: str | None = None,
    tenant: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> UsageSession:
    """A session that is no call: `with usage_session("thread-123", user="ada"):`, or `async with`.

    The id is used as given, and may be entered again, here or in another process: each time is a part of its own. What
    is recorded inside belongs to it, by `record_usage` or a `metered` client; within a tracked call also what any
    client spends. Leaving closes the part, on disk; an exception that passes through is its close reason, by its
    class. Raises BadSetting for an empty id.
    """
    return UsageSession(recording, session_id, user=user, user_name=user_name, tenant=tenant, tags=tags)


def metered(client: _Client) -> _Client:
    """An OpenAI or AzureOpenAI client, sync or async, whose every billed call is recorded; returns the client.

    Chat completions, responses, transcriptions, speech and embeddings, by the provider's own figures, each attempt on
    its own; what is cut off is estimated. The session is that of the surrounding call or `usage_session`; without any
    it is kept under `unattributed_...`, with one warning. Copies by `with_options` are metered too. Idempotent.
    Raises BadSetting for what is no such client.
    """
    return watch.meter(client, ByHand(recording).spender)


async def track_usage(
    *,
    model: str,
    user_id: str | None = None,
    thread_id: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    agent_name: str | None = None,
    operation_type: str | None = None,
    request_metadata: Mapping[str, object] | None = None,
) -> UsageRecord:
    """`record_usage` by the names that other trackers have for it; nothing is awaited.

    `user_id` is the user of a thread that is not open in this process; one that is open has its own.
    """
    return ByHand(recording, user=user_id).record_usage(
        model=model,
        session_id=thread_id,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        agent=agent_name,
        operation=operation_type or "chat_completion",
        metadata=request_metadata,
    )


def record_cache_hit(
    *,
    operation: str = "chat_completion",
    layer: str = "cache",
    session_id: str | None = None,
    feature: str | None = None,
) -> UsageRecord:
    """Count a request that an application's own cache answered: it cost nothing, and no provider heard of it.

    It stands under the service `cache`, with `layer` for its model, so that it never adds to a provider's requests.
    The session is found as by `record_usage`.
    """
    return record_usage(
        model=layer,
        provider="application",
        service=CACHE_SERVICE,
        operation=operation,
        units={},
        session_id=session_id,
        feature=feature,
    )
