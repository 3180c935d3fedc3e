"""What could be cheaper: found only where the figures say so, with the saving that they give."""

from __future__ import annotations

from livekit_tokens.core.reports.advice import BY, Tariff, advise
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

NANOS = {"input_text": 100, "cached_input_text": 10, "output_text": 400, "output_audio": 1000}


def pricing(record: UsageRecord) -> Price:
    """A tenth for a mini; embeddings are not priced at all."""
    if record.model.startswith("text-embedding"):
        return Price()
    each = {unit: nanos // 10 if "mini" in record.model else nanos for unit, nanos in NANOS.items()}
    sides = [sum(n * each[unit] for unit, n in record.units.items() if unit.startswith(side)) for side in ("o", "")]
    return Price(sides[1] - sides[0], sides[0])


TARIFF = Tariff(pricing, at=0)


def group(requests: int, operation: str = "chat_completion", model: str = "m", **units: int) -> Group:
    key = dict(zip(BY, ("agent", "openai", model, operation), strict=True))
    price = pricing(UsageRecord("", 0, *key.values(), units))
    totals = Totals(requests, units=units, input_cost=price.input or 0, output_cost=price.output or 0)
    return Group(key, 1, totals)


def kinds(*groups: Group, cut: tuple[Group, ...] = ()) -> dict[str, int]:
    return {advice.kind: advice.saving for advice in advise(groups, cut, TARIFF)}


def test_long_prompts_that_are_hardly_cached_could_be():
    """2,000 tokens a request, a tenth of them cached; at a half, 800 of each cost 10 instead of 100."""
    assert kinds(group(10, input_text=18_000, cached_input_text=2_000)) == {"cache_share": 8_000 * 90}


def test_short_prompts_and_cached_ones_are_left_in_peace():
    """A provider does not cache below 1,024 tokens; half is enough."""
    assert kinds(group(10, input_text=9_000)) == {}
    assert kinds(group(10, input_text=15_000, cached_input_text=15_000)) == {}


def test_a_smaller_model_is_named_with_what_the_same_units_cost():
    """A dated name is the model's; the figures are in it."""
    (advice,) = advise([group(10, model="gpt-4o-2024-08-06", input_text=100, output_text=10)], (), TARIFF)
    assert (advice.kind, advice.saving) == ("model_choice", 14_000 - 1_400)
    assert advice.figures["cost_with_gpt-4o-mini_usd"] == "0.000001400"
    assert "gpt-4o-mini" in advice.text


def test_what_has_no_price_is_not_compared():
    """Never a saving out of a price that is not known."""
    assert kinds(group(10, model="text-embedding-3-large", input_text=10**6)) == {}


def test_answers_from_documents_could_send_less():
    """What goes beyond three passages; other operations may be as long as they like."""
    assert kinds(group(10, "rag_answer", input_text=19_000, cached_input_text=19_000)) == {"chunk_size": 9_000 * 100}
    assert kinds(group(10, "summary", input_text=19_000, cached_input_text=19_000)) == {}


def test_interrupted_speech_wastes_its_output():
    """Its input would have been billed anyway."""
    cut = group(3, "realtime_response", input_text=500, output_audio=70)
    assert kinds(group(9, output_audio=1_000), cut=(cut,)) == {"interruptions": 70_000}


def test_drafts_that_were_thrown_away_waste_all():
    """Both sides of the bill."""
    cut = group(3, input_text=500, output_text=10)
    assert kinds(group(9, input_text=3_000), cut=(cut,)) == {"preemptive_generation": 54_000}


def test_a_saving_that_is_hardly_any_is_not_told():
    """Less than half a per cent of the whole; the largest stands first."""
    small = group(1, output_text=1, input_text=1)
    assert kinds(group(9, input_text=2_000_000, cached_input_text=2_000_000), cut=(small,)) == {}
    both = advise([group(10, input_text=40_000), group(1, model="gpt-4o", output_text=100_000)], (), TARIFF)
    assert [advice.kind for advice in both] == ["model_choice", "cache_share"]
