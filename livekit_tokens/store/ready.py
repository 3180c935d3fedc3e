"""A batch's records made ready to be written: priced, as rows, and added up. Pure but for the pricing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.store.rows import Numbered, Priced, Row, is_plain, plain_rows, whole_rows
from livekit_tokens.store.sums import sum_rows


class Ready(NamedTuple):
    """Rows of `records` with the plain columns in pieces, those with all columns, and rows to be added to `sums`.

    The latter two are complete once `plain` has been read.
    """

    plain: Iterable[Sequence[Row]]
    whole: Sequence[Row]
    sums: Sequence[Row]


def ready(records: Sequence[Numbered], pricing: Pricing, *, true: int) -> Ready:
    """All of it, ahead, in one piece. `true` as in `plain_rows`."""
    all_ahead = in_pieces(records, pricing, len(records) or 1, true=true)
    return all_ahead._replace(plain=list(all_ahead.plain))


def in_pieces(records: Sequence[Numbered], pricing: Pricing, size: int, *, true: int) -> Ready:
    """So many records at a time are priced and made rows when the piece is asked for, all else after the last one."""
    whole: list[Row] = []
    sums: list[Row] = []

    def pieces() -> Iterator[list[Row]]:
        told: list[Priced] = []
        others: list[Priced] = []
        for begin in range(0, len(records), size):
            priced = [(numbered, pricing(numbered[1])) for numbered in records[begin : begin + size]]
            plain = [one for one in priced if is_plain(*one)]
            if len(plain) < len(priced):
                others += [one for one in priced if not is_plain(*one)]
            told += priced
            if plain:
                yield list(plain_rows(plain, true=true))
        whole.extend(whole_rows(others))
        sums.extend(sum_rows(told))

    return Ready(pieces(), whole, sums)
