"""What a response reads, calibrated by the conversation's own figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core.estimates.conversation import Conversation, Tokens, message, with_item, without_items
from livekit_tokens.core.estimates.prompt import (
    Figures,
    Prompt,
    Reading,
    estimate_of,
    on_a_new_connection,
    prompt_of,
    reading_of,
    real_input,
    taught,
)
from tests.core.estimates.talks import grown, talked, units_of


def whole(reading: Reading) -> Tokens:
    return real_input(units_of(reading))


def test_without_figures_everything_is_counted_and_nothing_is_cached() -> None:
    """Instructions, tools and items, each framed; bounds of 15%."""
    reading = reading_of(Figures(), prompt_of(grown(Conversation(instructions=100, tools=50), 1)))
    assert units_of(reading) == {"input_text": 105 + 55 + 25}
    assert (estimate_of(reading.expected).low, estimate_of(reading.expected).high) == (
        {},  # another call may have had the same instructions cached
        {"input_text": 213, "cached_input_text": 185},
    )


def test_the_last_real_figures_are_carried_on() -> None:
    """What the provider counts otherwise, it goes on counting otherwise."""
    figures, conversation = talked({1: {"input_text": 500}}, Conversation(instructions=100))
    assert whole(reading_of(figures, prompt_of(conversation))).text == 500
    assert whole(reading_of(figures, prompt_of(grown(conversation, 1)))).text == 525


def test_framing_is_learned_from_step_to_step() -> None:
    """This provider frames an item by 9, not by 5."""
    real = {turn: {"input_text": 105 + 29 * turn} for turn in (1, 2, 3)}
    figures, conversation = talked(real, Conversation(instructions=100))
    assert whole(reading_of(figures, prompt_of(grown(conversation, 2)))).text == 105 + 29 * 5


def test_instructions_of_its_own_replace_the_sessions() -> None:
    """And begin a prompt that nothing of can be cached."""
    figures, conversation = talked({1: {"input_text": 500}}, Conversation(instructions=100))
    reading = reading_of(figures, prompt_of(conversation, instructions=130))
    assert whole(reading).text == 530
    assert "cached_input_text" not in units_of(reading)


def test_what_was_read_before_comes_from_the_cache_in_whole_blocks() -> None:
    """As much of it as came from there before, of each modality."""
    prompt = prompt_of(grown(Conversation(instructions=495), 10, text=0, audio_ms=2_000))
    assert prompt.tokens == Tokens(text=550, audio=200)
    cached = {"input_text": 38, "cached_input_text": 512, "input_audio": 8, "cached_input_audio": 192}
    figures = Figures()
    for _ in range(3):
        figures = taught(figures, reading_of(figures, prompt, [prompt]), cached)
    assert units_of(reading_of(figures, prompt, [prompt])) == cached
    assert units_of(reading_of(figures, prompt)) == {"input_text": 550, "input_audio": 200}


def test_a_new_connection_keeps_what_was_learned_of_framing_alone() -> None:
    """The server's conversation begins anew; its instructions and tools cost what they did."""
    real = {turn: {"input_text": 105 + 40 + 29 * turn} for turn in (1, 2, 3)}
    figures, _ = talked(real, Conversation(instructions=100))
    again = reading_of(on_a_new_connection(figures), prompt_of(grown(Conversation(instructions=100), 1)))
    assert abs(whole(again).text - (105 + 40 + 29)) <= 4
    assert again.expected.stable == (0, 0, 0)


def test_images_are_bounded_before_figures_and_counted_after() -> None:
    """No rule is published for what a realtime model charges for one."""
    conversation = with_item(Conversation(instructions=100), message("seen", images=1))
    before = reading_of(Figures(), prompt_of(conversation))
    assert (before.expected.images, "input_image" in units_of(before)) == (1, False)
    assert estimate_of(before.expected).high["input_image"] >= 765
    figures = taught(Figures(), before, {"input_text": 110, "input_image": 255})
    after = reading_of(figures, prompt_of(with_item(conversation, message("seen too", images=1))))
    assert (after.expected.images, real_input(units_of(after)).image) == (0, 510)


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9_000)), min_size=1, max_size=6),
    st.integers(0, 900),
    st.floats(0, 1),
)
def test_an_estimate_lies_within_its_bounds(turns: list[tuple[int, int]], preamble: int, share: float) -> None:
    """Whatever was said, and however much of it was cached."""
    conversation, figures = Conversation(instructions=preamble), Figures()
    read: list[Prompt] = []
    for text, audio_ms in turns:
        conversation = grown(conversation, 1, text, audio_ms)
        reading = reading_of(figures, prompt_of(conversation), read)
        read.append(reading.prompt)
        estimate = estimate_of(reading.expected)
        for unit in {*estimate.units, *estimate.low, *estimate.high}:
            assert estimate.low.get(unit, 0) <= estimate.units.get(unit, 0) <= estimate.high.get(unit, 0)
        cached = int(reading.expected.stable[0] * share)
        real = {"input_text": reading.expected.tokens[0] - min(cached, reading.expected.tokens[0])}
        real |= {"cached_input_text": reading.expected.tokens[0] - real["input_text"]}
        figures = taught(figures, reading, real)


@given(
    st.lists(st.sampled_from(["add", "take the last away", "read", "expect"]), max_size=12),
    st.integers(0, 9),
)
def test_what_is_expected_does_not_depend_on_what_was_expected_before(steps: list[str], count: int) -> None:
    """It is only quicker to say where the conversation has gone on from there."""
    figures = Figures(seen=2, beyond=Tokens(30, 4), count=count, per_item=1.5, before_items=12.0)
    conversation = grown(Conversation(instructions=100), 3, audio_ms=700)
    read: list[Prompt] = []
    before = reading_of(figures, prompt_of(conversation), read)
    for step in steps:
        if step == "add":  # where one was taken away, the same one again
            conversation = grown(conversation, 1, audio_ms=700)
        elif step == "take the last away":
            conversation = without_items(conversation, list(conversation.items)[-1:])
        elif step == "read":  # what the provider has read teaches what is stable anew
            read.append(prompt_of(conversation))
            before = reading_of(figures, prompt_of(conversation), read)
        else:
            before = reading_of(figures, prompt_of(conversation), read, before)
        prompt = prompt_of(conversation)
        assert reading_of(figures, prompt, read, before) == reading_of(figures, prompt, read)
    assert reading_of(figures, prompt_of(conversation, 130), read, before) == reading_of(
        figures, prompt_of(conversation, 130), read
    )
