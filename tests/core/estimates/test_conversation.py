"""What a conversation holds for the next response to read."""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.core.estimates.conversation import (
    Conversation,
    Tokens,
    Trimming,
    message,
    trimmed,
    truncated,
    with_answer,
    with_item,
    without_items,
)


def ids(conversation: Conversation) -> list[str]:
    return list(conversation.items)


def held(conversation: Conversation) -> Tokens:
    return sum((item.tokens for item in conversation.items.values()), Tokens())


def test_an_item_is_framed_and_audio_is_a_token_per_100_ms() -> None:
    """OpenAI's guide for audio, recordings for the framing."""
    assert message("a", text=7, audio_ms=2_050).tokens == Tokens(text=5 + 7, audio=20)


def test_items_stand_where_the_server_put_them_and_once() -> None:
    """Behind another, first, or last; what is sent again after a reconnection is not added again."""
    conversation = Conversation()
    for name, after in (("b", None), ("a", "root"), ("c", "b"), ("ab", "a"), ("b", None), ("z", "unknown")):
        conversation = with_item(conversation, message(name), after)
    assert ids(conversation) == ["a", "ab", "b", "c", "z"]
    assert ids(without_items(conversation, ["ab", "there no more"])) == ["a", "b", "c", "z"]


def test_an_answer_is_read_again_without_part_of_its_framing() -> None:
    """Nor what was thought; and its items together hold it once."""
    conversation = with_item(with_item(Conversation(), message("said")), message("call"))
    kept = with_answer(conversation, ["said", "call"], {"output_text": 20, "output_audio": 60, "output_reasoning": 9})
    assert held(kept) == Tokens(text=20 - 6, audio=60)


def test_an_item_that_was_told_twice_holds_its_answer_once() -> None:
    """And all of it."""
    said = with_item(Conversation(), message("said"))
    assert held(with_answer(said, ["said", "said"], {"output_audio": 60})) == Tokens(audio=60)


def test_what_a_conversation_holds_is_the_sum_of_its_items() -> None:
    """It is carried on from change to change, and never added up again."""
    conversation = Conversation(trimming=Trimming(limit=400, keep=0.5))
    for name in "abcdef":
        conversation = with_item(conversation, message(name, text=30, audio_ms=2_000, images=1), "root")
        conversation = with_answer(conversation, [name], {"output_text": 20, "output_audio": 60})
    conversation = without_items(truncated(conversation, "b", 1_000), ["a"])
    assert (conversation.held, conversation.images) == (held(conversation), 5)
    assert trimmed(conversation).held == held(trimmed(conversation))


def test_an_answer_that_was_deleted_meanwhile_stays_away() -> None:
    """LiveKit deletes what nobody heard, before the figures come."""
    assert held(with_answer(Conversation(), ["said"], {"output_audio": 60})) == Tokens()


def test_of_a_truncated_answer_only_the_heard_audio_stays() -> None:
    """Its text is forgotten by the server; the same if the figures come after the truncation."""
    said = with_item(Conversation(), message("said"))
    output = {"output_text": 20, "output_audio": 60}
    assert held(truncated(with_answer(said, ["said"], output), "said", 1_000)) == Tokens(text=5, audio=20)
    assert held(with_answer(truncated(said, "said", 1_000), ["said"], output)) == Tokens(text=5, audio=20)


def test_a_conversation_that_outgrows_its_limit_loses_its_oldest_items() -> None:
    """Until the share that is kept remains, as the session's own `truncation` says."""
    conversation = Conversation(trimming=Trimming(limit=100, keep=0.5))
    for n in range(4):
        conversation = with_item(conversation, message(f"{n}", text=20))
    assert ids(trimmed(conversation)) == ["0", "1", "2", "3"]
    assert ids(trimmed(with_item(conversation, message("4", text=20)))) == ["3", "4"]


def test_a_limit_that_nobody_told_is_the_one_that_was_noticed() -> None:
    """What the session tells is truer."""
    conversation = Conversation()
    for n in range(5):
        conversation = with_item(conversation, message(f"{n}", text=20))
    noticed = Trimming(limit=100, keep=0.5)
    assert ids(trimmed(conversation, noticed)) == ["3", "4"]
    told = replace(conversation, trimming=Trimming(limit=200, keep=0.5))
    assert ids(trimmed(told, noticed)) == ["0", "1", "2", "3", "4"]
