"""A batch's records made ready to be written: priced, as rows, and added up. Pure but for the pricing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.store.rows import Numbered, Priced, Row, is_plain, plain_rows, whole_rows
from livekit_tokens.store.sums import sum_rows


class Ready(NamedTuple):
    """Rows of `records` with the plain columns, those with all columns, and rows to be added to `sums`.

    The latter two are complete once `plain` has been read.
    """

    plain: Iterable[Row]
    whole: Sequence[Row]
    sums: Sequence[Row]


def ready(records: Iterable[Numbered], pricing: Pricing, *, true: int) -> Ready:
    """All of it, ahead. `true` as in `plain_rows`."""
    streaming = streamed(records, pricing, true=true)
    return streaming._replace(plain=list(streaming.plain))


def streamed(records: Iterable[Numbered], pricing: Pricing, *, true: int) -> Ready:
    """Each plain row is priced and made when it is asked for, all else after the last one."""
    whole: list[Row] = []
    sums: list[Row] = []

    def rows() -> Iterator[Row]:
        told: list[Priced] = []
        others: list[Priced] = []

        def plain() -> Iterator[Priced]:
            for numbered in records:
                one = numbered, pricing(numbered[1])
                told.append(one)
                if is_plain(*one):
                    yield one
                else:
                    others.append(one)

        yield from plain_rows(plain(), true=true)
        whole.extend(whole_rows(others))
        sums.extend(sum_rows(told))

    return Ready(rows(), whole, sums)
