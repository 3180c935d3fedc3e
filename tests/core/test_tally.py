"""The live sums of a part, and their prices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core.tally import Tally
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.domain.usage import UsageRecord
from tests.core.cards import NANOS, Cards
from tests.core.makers import a_record


def total(tally: Tally) -> Totals:
    return sum((totals for _, totals in tally.lines()), Totals())


def priced(told: list[UsageRecord]) -> Totals:
    """The slow and obvious way."""
    return sum((totals_of(record, Cards().price(record)) for record in told), Totals())


usage_records = st.builds(
    a_record,
    model=st.sampled_from([*NANOS, "nobody-knows"]),
    units=st.dictionaries(st.sampled_from(["input_text", "output_audio", "audio_ms"]), st.integers(1, 10**6)),
    informational=st.dictionaries(st.just("output_text"), st.integers(1, 10**6)),
    provenance=st.sampled_from(["reported", "estimated", "unknown"]),
    success=st.booleans(),
)


@given(
    told=st.lists(usage_records, max_size=20),
    coming=st.sets(st.sampled_from(list(NANOS))),
    arrives_after=st.integers(0, 20),
)
def test_the_live_sums_are_what_totals_of_says_whenever_prices_come(
    told: list[UsageRecord], coming: set[str], arrives_after: int
) -> None:
    """Cost, estimated cost and unpriced requests included, also of records that came before their model's card."""
    cards = Cards(coming)
    tally = Tally(cards)
    for number, record in enumerate(told):
        if number == arrives_after:
            tally.sum_up()
            cards.coming.clear()
        tally.add(record)
    cards.coming.clear()
    assert total(tally) == priced(told)


def test_a_record_whose_price_is_not_at_hand_counts_as_unpriced_until_it_is() -> None:
    """Nothing waits for it: the next summary after its card has come has its cost."""
    cards = Cards(["gpt-realtime"])
    tally = Tally(cards)
    tally.add(a_record())
    assert (total(tally).cost, total(tally).unpriced_requests) == (0, 1)
    assert not cards.waited_for
    cards.coming.clear()
    assert (total(tally).cost, total(tally).unpriced_requests) == (675, 0)


def test_the_end_of_a_part_waits_for_prices_that_are_not_at_hand() -> None:
    """Each record once, and those that have a price are not asked for again."""
    cards = Cards(["gpt-realtime"])
    tally = Tally(cards)
    tally.add(waiting := a_record())
    tally.add(a_record(model="gpt-4o"))
    assert tally.waits
    tally.price_all()
    assert cards.waited_for == [waiting]
    assert not tally.waits
    assert total(tally) == priced([waiting, a_record(model="gpt-4o")])


def test_a_call_whose_prices_never_come_keeps_a_bounded_number_of_records() -> None:
    """They stay unpriced in the summary; the ledger prices them."""
    tally = Tally(Cards(["gpt-realtime"]))
    for _ in range(10_050):
        tally.add(a_record())
    tally.sum_up()
    assert len(tally._waiting) == 10_000
    assert total(tally).unpriced_requests == 10_050


def test_adding_prices_nothing_until_the_sums_are_asked_for_or_many_have_come() -> None:
    """A call's loop only keeps the record; what nobody asks for does not fill the memory either."""
    cards = Cards()
    tally = Tally(cards)
    for _ in range(255):
        tally.add(a_record())
    assert cards.asked == 0
    tally.add(a_record())
    assert cards.asked == 256
    tally.add(a_record())
    assert total(tally) == priced([a_record()] * 257)
