"""What a server leaves out of a long conversation without a word."""

from __future__ import annotations

from livekit_tokens.core.estimates.conversation import Conversation
from livekit_tokens.core.estimates.left_out import left_out, left_out_too_many, trimming_of, without_oldest
from livekit_tokens.core.estimates.prompt import Figures, prompt_of, reading_of, real_input, taught
from tests.core.estimates.talks import grown, talked, units_of


def test_messages_that_were_left_out_unseen_are_noticed_by_the_figures() -> None:
    """A long conversation is trimmed by the server without a word; the next estimate knows."""
    figures, conversation = talked({1: {"input_text": 130}}, Conversation(instructions=100))
    conversation = grown(conversation, 9, text=45)
    reading = reading_of(figures, prompt_of(conversation))
    real = {"input_text": real_input(units_of(reading)).text - 25 - 3 * 50}
    assert left_out(reading, real) == 4
    figures = taught(figures, without_oldest(reading, 4), real)
    assert abs(figures.beyond.text) <= 1
    assert left_out(reading, units_of(reading)) == 0


def test_where_messages_were_left_out_once_a_limit_is_learned() -> None:
    """Between the most that was read whole (8 items of 50 tokens) and what they were left out of (9), down to what
    remained (5)."""
    less, before, now = (prompt_of(grown(Conversation(), items, text=45)) for items in (3, 8, 9))
    reading = reading_of(Figures(), now)
    learned = trimming_of(reading, 4, [less, before, now])
    assert (learned.limit, learned.limit * learned.keep) == (425, 275)
    assert trimming_of(reading, 4, [now]).limit == (250 + 450) // 2, "or above what remained, where nothing tells"
    assert trimming_of(reading, 9, []).limit == (0 + 450) // 2


def test_figures_above_an_estimate_say_that_too_many_were_left_out() -> None:
    """By more than estimates are off."""
    figures, conversation = talked({1: {"input_text": 130}}, Conversation(instructions=100))
    reading = reading_of(figures, prompt_of(grown(conversation, 9, text=45)))
    expected = real_input(units_of(reading)).text
    assert left_out_too_many(reading, {"input_text": expected + 100})
    assert not left_out_too_many(reading, {"input_text": expected + 30})
    assert not left_out_too_many(reading, {"input_text": expected - 100})
