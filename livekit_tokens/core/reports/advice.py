"""What could be cheaper, each with the figures behind it and the saving estimated. Pure.

Savings are estimates from what was spent in the period, at the prices of its end; they overlap and do not add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from livekit_tokens.core.reports.groups import Group
from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import Nanos, dollars_shown, dollars_text
from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.domain.shares import share
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import UsageRecord

BY = ("service", "provider", "model", "operation")
"""What the groups that are looked at are made by."""

CACHEABLE_TOKENS = 1024
"""OpenAI caches prompts of this many tokens or more. Source: OpenAI's guide on prompt caching."""

CACHE_GOAL = 50
"""Per cent of the input; conversations whose beginning stays the same reach more. Ours, to be on the safe side."""

PASSAGES_TOKENS = 1000
"""Uncached input of one answer from documents: three passages of 300 tokens and the question. Ours."""

LEAST_SHARE = 200
"""A saving below a two-hundredth of the whole is not worth a person's time."""

_WITH_DOCUMENTS = frozenset({"rag_input", "rag_answer", "rag_streaming"})
_CACHED_PAIRS = (("input_text", "cached_input_text"), ("input_audio", "cached_input_audio"))

SMALLER: Mapping[str, str] = {
    "gpt-realtime": "gpt-realtime-mini",
    "gpt-4o-realtime-preview": "gpt-4o-mini-realtime-preview",
    "gpt-4o": "gpt-4o-mini",
    "gpt-4.1": "gpt-4.1-mini",
    "gpt-4.1-mini": "gpt-4.1-nano",
    "gpt-4": "gpt-4o",
    "gpt-4-turbo": "gpt-4o",
    "gpt-4o-transcribe": "gpt-4o-mini-transcribe",
    "tts-1-hd": "tts-1",
    "text-embedding-3-large": "text-embedding-3-small",
}
"""The next smaller model of the same kind and the same units. Source: OpenAI's model pages."""

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation. `figures` are what it rests on: counts, and money as text; `saving` is in nano-dollars."""

    kind: str
    subject: str
    text: str
    figures: Mapping[str, int | str]
    saving: Nanos

    def to_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "subject": self.subject,
            "text": self.text,
            "figures": dict(self.figures),
            "saving_usd": dollars_text(self.saving),
        }


@dataclass(frozen=True, slots=True)
class Tariff:
    """What units of a model cost at a moment."""

    pricing: Pricing
    at: Micros

    def cost(self, group: Group, units: Mapping[str, int], model: str | None = None) -> Nanos | None:
        """None where a unit has no price."""
        service, provider, of, operation = (group.key[name] or "" for name in BY)
        asked = UsageRecord("", self.at, service, provider, model or of, operation, dict(units))
        return self.pricing(asked).total


def advise(spent: Sequence[Group], cut_off: Sequence[Group], tariff: Tariff) -> tuple[Advice, ...]:
    """What could be cheaper, the largest saving first. `cut_off` are the requests of `spent` that were cancelled."""
    whole = sum((group.totals for group in spent), Totals()).cost
    found = [
        *(advice for group in spent for advice in _of_group(group, tariff)),
        *_interruptions(cut_off),
        *_thrown_drafts(cut_off),
    ]
    worth = [advice for advice in found if advice.saving > 0 and advice.saving * LEAST_SHARE >= whole]
    return tuple(sorted(worth, key=lambda advice: (-advice.saving, advice.kind, advice.subject)))


def _of_group(group: Group, tariff: Tariff) -> Iterator[Advice]:
    for rule in (_cache_share, _smaller_model, _chunk_size):
        if (advice := rule(group, tariff)) is not None:
            yield advice


def _cache_share(group: Group, tariff: Tariff) -> Advice | None:
    totals, units = group.totals, group.totals.units
    whole, cached = u.input_tokens(units), totals.cached_tokens
    if whole < CACHEABLE_TOKENS * totals.requests or cached * 100 >= whole * CACHE_GOAL:
        return None
    now, then = {}, {}
    for fresh, reused in _CACHED_PAIRS:
        both = units.get(fresh, 0) + units.get(reused, 0)
        if (moved := both * CACHE_GOAL // 100 - units.get(reused, 0)) > 0:
            now[fresh], then[reused] = moved, moved
    before, after = tariff.cost(group, now), tariff.cost(group, then)
    if before is None or after is None:
        return None
    model = group.key["model"] or ""
    return Advice(
        "cache_share",
        model,
        f"{_percent(cached, whole)} of the {whole:,} input tokens of {model} came from the provider's cache. Keep the "
        f"beginning of its prompts the same (instructions and tools first): at {CACHE_GOAL}% it costs less",
        {"requests": totals.requests, "input_tokens": whole, "cached_tokens": cached},
        before - after,
    )


def _smaller_model(group: Group, tariff: Tariff) -> Advice | None:
    totals, model = group.totals, group.key["model"] or ""
    smaller = SMALLER.get(_DATED.sub("", model))
    if smaller is None:
        return None
    # The same units at both: what has no price at one of them cannot be compared.
    now, then = tariff.cost(group, totals.units), tariff.cost(group, totals.units, smaller)
    if now is None or then is None:
        return None
    return Advice(
        "model_choice",
        model,
        f"What {totals.requests:,} {group.key['operation']} requests used costs {dollars_shown(now)} with {model} and "
        f"{dollars_shown(then)} with {smaller}. Try it where its quality is enough",
        {"requests": totals.requests, "cost_usd": dollars_text(now), f"cost_with_{smaller}_usd": dollars_text(then)},
        now - then,
    )


def _chunk_size(group: Group, tariff: Tariff) -> Advice | None:
    totals, operation = group.totals, group.key["operation"] or ""
    fresh = totals.units.get("input_text", 0)
    excess = fresh - PASSAGES_TOKENS * totals.requests
    if operation not in _WITH_DOCUMENTS or excess <= 0:
        return None
    if (saved := tariff.cost(group, {"input_text": excess})) is None:
        return None
    each = fresh // totals.requests
    return Advice(
        "chunk_size",
        operation,
        f"{operation} sends {each:,} uncached input tokens a request to {group.key['model']}. Smaller chunks, or fewer "
        f"of them, down to {PASSAGES_TOKENS:,} tokens cost less",
        {"requests": totals.requests, "uncached_input_tokens": fresh, "uncached_input_tokens_per_request": each},
        saved,
    )


def _interruptions(cut_off: Sequence[Group]) -> Iterator[Advice]:
    """Speech that was cut off: what was generated of it is billed, and was not heard to its end."""
    cut = _together(cut_off, ("realtime_response", "speech"))
    if cut.requests:
        yield Advice(
            "interruptions",
            "speech that was cut off",
            f"{cut.requests:,} spoken replies were interrupted; what had been generated of them cost "
            f"{dollars_shown(cut.output_cost)}. Shorter replies and a higher threshold for interruptions waste less",
            {"requests": cut.requests, "output_tokens": cut.output_tokens, "cost_usd": dollars_text(cut.cost)},
            cut.output_cost,
        )


def _thrown_drafts(cut_off: Sequence[Group]) -> Iterator[Advice]:
    """Texts that were cut off: mostly drafts begun before the caller had ended, which preemptive generation makes."""
    cut = _together(cut_off, ("chat_completion",))
    if cut.requests:
        yield Advice(
            "preemptive_generation",
            "drafts that were thrown away",
            f"{cut.requests:,} answers were cancelled before their end and cost {dollars_shown(cut.cost)}, most of "
            "them drafts of preemptive generation (turn_handling; on by default). Turn it off where its speed is not "
            "needed",
            {"requests": cut.requests, "total_tokens": cut.total_tokens, "cost_usd": dollars_text(cut.cost)},
            cut.cost,
        )


def _together(groups: Iterable[Group], operations: Sequence[str]) -> Totals:
    return sum((group.totals for group in groups if group.key["operation"] in operations), Totals())


def _percent(part: int, whole: int) -> str:
    return f"{share(part, whole) or 0:.1%}"
