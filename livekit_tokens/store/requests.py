"""What only single records tell, not their sums: times, faults, scores, the dearest of them, all of them in order."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import sqlalchemy as sa

from livekit_tokens.core.reports import Question
from livekit_tokens.domain.units import TOKENS
from livekit_tokens.store.conditions import (
    OF_RECORD,
    key_of,
    part_conditions,
    quantity,
    record_conditions,
    span_conditions,
)
from livekit_tokens.store.schema import parts, records

Measure = Literal["processing_ms", "first_output_ms"]

_COST = sa.func.coalesce(records.c.input_cost, 0) + sa.func.coalesce(records.c.output_cost, 0)

_NO_PRICE = sa.or_(records.c.input_cost.is_(None), records.c.output_cost.is_(None))
# What `domain.totals.bills` says of a record; quantities are above zero.
_BILLS = sa.or_(sa.cast(records.c.units, sa.Text) != "{}", records.c.provenance == "unknown")

_OF_PART = (parts.c.session_id, parts.c.user_id, parts.c.user_name, parts.c.tenant, parts.c.room, parts.c.tags)


def in_order(question: Question) -> sa.Select[Any]:
    """Every matching record with whose it is, oldest first."""
    return _entries(question).order_by(records.c.at, records.c.part, records.c.seq)


def of_source(source: str, after: int, of_parts: Collection[str] | None, limit: int) -> sa.Select[Any]:
    """A source's records that are numbered above `after`, in their order."""
    found = [parts.c.source == source, records.c.seq > after]
    if of_parts is not None:
        found.append(parts.c.key.in_([bytes.fromhex(key) for key in of_parts]))
    return sa.select(records, *_OF_PART).select_from(_joined()).where(*found).order_by(records.c.seq).limit(limit)


def dearest(question: Question, limit: int) -> sa.Select[Any]:
    """The dearest matching records, then those with most tokens, then the oldest."""
    # Tokens are read out of JSON, which takes longer than all the rest: only of those that cost enough.
    costs = sa.select(_COST).select_from(_joined()).where(*_conditions(question)).order_by(_COST.desc())
    least = sa.func.coalesce(costs.limit(1).offset(limit - 1).scalar_subquery(), 0)
    told = [quantity(column, name) for column in (records.c.units, records.c.informational) for name in TOKENS]
    order = (_COST.desc(), sum(told, sa.literal_column("0")).desc(), records.c.at, records.c.part, records.c.seq)
    return _entries(question).where(least <= _COST).order_by(*order).limit(limit)


def measured(question: Question, measure: Measure) -> sa.Select[Any]:
    """Keys, and as one text `value:times,value:times`: a value is often a row of its own, and rows take their time."""
    value = records.c[measure].label("value")
    keys = _keys(question)
    asked = _matching(question, *keys, value, sa.func.count().label("times")).where(value.is_not(None))
    # The number first: to sort by it is quicker than by texts that hardly differ.
    each = asked.group_by(value, *keys).subquery("each")
    pair = sa.cast(each.c.value, sa.Text) + sa.literal_column("':'") + sa.cast(each.c.times, sa.Text)
    told = [each.c[f"k{number}"] for number in range(len(keys))]
    return sa.select(*told, sa.func.aggregate_strings(pair, ",")).group_by(*told)


def judged(question: Question) -> sa.Select[Any]:
    """Keys, an error's class (NULL without) and how many requests ended so; of each score its sum and how many have it.

    Of the requests that failed or were scored: looking for either goes through all of them.
    """
    keys = _keys(question)
    quality, safety = records.c.quality_score, records.c.safety_score
    failed = sa.not_(records.c.success)
    error = sa.case((failed, sa.func.coalesce(records.c.error, "unknown"))).label("error")
    added = (sa.func.sum(quality), sa.func.count(quality), sa.func.sum(safety), sa.func.count(safety))
    found = _matching(question, *keys, error, sa.func.count(), *added)
    return found.where(sa.or_(failed, quality.is_not(None), safety.is_not(None))).group_by(*keys, error)


def unpriced(question: Question) -> sa.Select[Any]:
    """The newest of the records without a price, by provider, model and reason, with how many they are since when."""
    of = (records.c.provider, records.c.model, records.c.price_note)
    newest = (records.c.at.desc(), records.c.part, records.c.seq)
    ranked = _matching(
        question,
        *records.c,
        sa.func.count().over(partition_by=of).label("requests"),
        sa.func.min(records.c.at).over(partition_by=of).label("first_at"),
        sa.func.row_number().over(partition_by=of, order_by=newest).label("place"),
    ).where(_NO_PRICE, _BILLS)
    each = ranked.subquery()
    return sa.select(each).where(each.c.place == 1)


def _entries(question: Question) -> sa.Select[Any]:
    return sa.select(records, *_OF_PART).select_from(_joined()).where(*_conditions(question))


def _matching(question: Question, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    # Joined only where something is asked of the part: the join is half of the time that a long period takes.
    of_part = part_conditions(question) or not set(question.by).issubset(OF_RECORD)
    source = _joined() if of_part else records
    return sa.select(*columns).select_from(source).where(*_conditions(question))


def _conditions(question: Question) -> list[sa.ColumnElement[bool]]:
    within = span_conditions(records.c.at, question.period)
    return [*within, *record_conditions(records, question), *part_conditions(question)]


def _keys(question: Question) -> list[sa.ColumnElement[Any]]:
    return [key_of(records, name).label(f"k{number}") for number, name in enumerate(question.by)]


def _joined() -> sa.Join:
    return records.join(parts, parts.c.key == records.c.part)
