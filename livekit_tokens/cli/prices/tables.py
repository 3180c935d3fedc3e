"""Prices as tables that fit the terminal: a row a unit, the sources at the foot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import wrap

from livekit_tokens.cli.columns import Table, width
from livekit_tokens.cli.text import plain
from livekit_tokens.domain.pricing import Card
from livekit_tokens.domain.times import rfc3339
from livekit_tokens.prices.amounts import Amount, amounts_of
from livekit_tokens.prices.comparison import Difference

_SHORT = {"1M tokens": "1M", "1M characters": "1M"}


def cards_text(cards: Iterable[Card]) -> str:
    """A table a provider, a row a unit; sources numbered."""
    sources: dict[str, int] = {}
    found = []
    for provider, own in groupby(sorted(cards, key=lambda card: (card.provider, card.model)), lambda c: c.provider):
        table = Table()
        table.names(plain(provider), least=28)
        table.whole("Unit")
        table.numbers("$")
        table.whole("per")
        table.numbers("Source")
        for card in own:
            number = sources.setdefault(card.source, len(sources) + 1)
            for unit, amount in amounts_of(card.rates).items():
                table.row(plain(card.model), unit, amount.usd, _per(amount), f"[{number}]")
        found.append("\n".join(table.lines(width())))
    return "\n\n".join([*found, _foot(sources)])


def terms_of(card: Card) -> Iterator[str]:
    """What holds of a card besides its prices."""
    if card.since is not None or card.until is not None:
        yield f"from {rfc3339(card.since) or 'ever'} until {rfc3339(card.until) or 'further notice'}"
    for above, rates in card.long_context:
        told = ", ".join(f"{unit} {amount.usd}" for unit, amount in amounts_of(rates).items())
        yield f"of more than {above:,} input tokens: {told}"
    if card.whole_seconds:
        yield "audio is billed by the nearest whole second"
    if card.least_ms:
        yield f"at least {card.least_ms / 1000:g} s of audio are billed"
    if card.note:
        yield plain(card.note)


def differences_text(title: str, here: str, there: str, differences: Sequence[Difference]) -> str:
    """A row a unit; the reasons at the foot."""
    if not differences:
        return f"{title}: no difference."
    reasons: dict[str, int] = {}
    table = Table()
    table.names("Model")
    table.whole("Unit")
    for name in (here, there):
        table.numbers(f"{name} $")
    table.whole("per")
    table.numbers("Why")
    last = None
    for d in differences:
        number = reasons.setdefault(f"{d.why} ({d.source})", len(reasons) + 1)
        name = plain(d.model) if (d.provider, d.model) != last else ""
        last = (d.provider, d.model)
        per = d.here or d.there
        assert per is not None
        table.row(name, d.unit, _usd(d.here), _usd(d.there), _per(per), f"[{number}]")
    return "\n".join([title, *table.lines(width()), "", _foot(reasons)])


def _foot(numbers: Mapping[str, int]) -> str:
    """What the numbers of a table stand for. Addresses are shown short: whole ones are in the JSON."""
    lines = []
    for told, number in numbers.items():
        short = re.sub(r"https://|#\S+", "", plain(told)).rstrip("/")
        lines += wrap(short, width(), initial_indent=f"[{number}] ", subsequent_indent="     ", break_on_hyphens=False)
    return "\n".join(lines)


def _usd(amount: Amount | None) -> str:
    return "-" if amount is None else amount.usd


def _per(amount: Amount) -> str:
    return _SHORT.get(amount.per, amount.per)
