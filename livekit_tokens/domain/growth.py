"""A row that the ledger has already, told again with other counts. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from livekit_tokens.domain.foreign import COST, Foreign
from livekit_tokens.domain.foreign_cells import Unmapped
from livekit_tokens.domain.units import Units, input_tokens, nonzero, output_tokens


class Known(NamedTuple):
    """What the ledger has of a row, its growth so far included; `units` is None where only that it is there is known
    (its records are pruned), or matters.
    """

    units: Units | None = None
    informational: Units = {}  # noqa: RUF012 - nobody changes it
    growths: int = 0

    def with_growth(self, units: Units | None, informational: Units) -> Known:
        if self.units is None or units is None:
            return Known(growths=self.growths + 1)
        return Known(_added(self.units, units), _added(self.informational, informational), self.growths + 1)


def growth(one: Foreign, there: Known) -> Foreign | None:
    """What has been added to the row since it was imported, as a record of its own; None where nothing was.

    Raises Unmapped where its counts have changed in any other way: quantities are never edited.
    """
    if there.units is None:
        return None
    record = one.record
    units = _added(record.units, there.units, -1)
    informational = _added(record.informational, there.informational, -1)
    more = [*units.values(), *informational.values()]
    if not any(more):
        return None
    if not one.grows or min(more) < 0:
        was, now = _told(there.units, there.informational), _told(record.units, record.informational)
        raise Unmapped(f"the ledger has this row with {was}, and here it has {now}; what is there stays")
    added = replace(
        record,
        units=nonzero(units),
        informational=nonzero(informational),
        idempotency_key=growth_key(one, there.growths + 1),
        metadata={name: label for name, label in record.metadata.items() if name != COST},
    )
    return replace(one, record=added)


def growth_key(one: Foreign, number: int) -> str:
    """The idempotency key of a row's so many-th growth, from 1."""
    return f"{one.record.idempotency_key}+{number}"


def _added(here: Units, more: Units, times: int = 1) -> Units:
    return {name: here.get(name, 0) + times * more.get(name, 0) for name in {**here, **more}}


def _told(units: Units, informational: Units) -> str:
    tokens_in = input_tokens(units) + input_tokens(informational)
    tokens_out = output_tokens(units) + output_tokens(informational)
    heard = f", {units['audio_ms']:,} ms" if units.get("audio_ms") else ""
    return f"{tokens_in:,} input and {tokens_out:,} output tokens{heard}"
