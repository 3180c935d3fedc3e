"""Without LiveKit: a backend or a batch that records what it spends, by its own sessions and users.

python examples/by_hand.py
livekit-tokens report --by user --by feature
"""

from datetime import UTC, datetime

from livekit_tokens import feature, record_usage, usage_session


def main() -> None:
    # A thread of a chat. It may be entered again, here or in another process; `async with` works too.
    with usage_session("thread-123", user="ada", user_name="Ada Lovelace", tags={"plan": "pro"}) as session:
        with feature("search"):
            record_usage(model="text-embedding-3-small", operation="query_embedding", input_tokens=12)
        answer = {
            "usage": {"prompt_tokens": 900, "prompt_tokens_details": {"cached_tokens": 512}, "completion_tokens": 80}
        }
        record_usage(model="gpt-4.1-mini", operation="rag_answer", usage=answer["usage"], metadata={"passages": 3})
        print(session.summary())

    # A job that may run twice: a key counts once a session, whoever repeats it.
    for number, seconds in enumerate((61.5, 44.0)):
        record_usage(
            model="whisper-1",
            service="transcriber",
            operation="transcription",
            audio_seconds=seconds,
            at=datetime(2026, 11, 22, 15, number, tzinfo=UTC),
            session_id="import-2026-11",
            idempotency_key=f"recording-{number}",
        )


if __name__ == "__main__":
    main()
