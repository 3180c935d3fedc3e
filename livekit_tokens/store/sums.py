"""Records added up per key of the table `sums`: what `domain.totals.totals_of` says of each, column by column. Pure.

Written for speed (a record costs about a microsecond); tests hold it equal to `totals_of`.
"""

from __future__ import annotations

from collections.abc import Iterable

from livekit_tokens.domain import units
from livekit_tokens.domain.times import QUARTER, Micros
from livekit_tokens.domain.totals import bills
from livekit_tokens.store.rows import Priced, Row
from livekit_tokens.store.schema import INFORMATIONAL, sums

KEY = tuple(column.name for column in sums.primary_key)
AMOUNTS = tuple(column.name for column in sums.columns if column.name not in KEY)

_REQUESTS, _FAILED, _UNPRICED = (AMOUNTS.index(n) for n in ("requests", "failed_requests", "unpriced_requests"))
_INPUT_COST, _OUTPUT_COST = AMOUNTS.index("input_cost"), AMOUNTS.index("output_cost")
_FIRST_AT = AMOUNTS.index("first_at")
_UNIT = {name: AMOUNTS.index(name) for name in units.REGISTRY}
_INFORMATIONAL = {name: AMOUNTS.index(column) for name, column in INFORMATIONAL.items()}
_NOTHING = [0] * len(AMOUNTS)

_Key = tuple[str, Micros, str, str, str, str, str, str, str]
"""Part, bucket and labels, in the order of the table's."""


def sum_rows(records: Iterable[Priced]) -> list[Row]:  # noqa: C901 - one loop: a call per record would cost a tenth of it
    """Rows of `sums` to be added to what the table holds, in key order."""
    amounts: dict[_Key, list[int]] = {}
    for (_, r), (input_cost, output_cost, _) in records:
        at = r.at
        bucket = at - at % QUARTER
        key = r.part, bucket, r.service, r.provider, r.model, r.operation, r.agent or "", r.feature, r.provenance
        amount = amounts.get(key)
        if amount is None:
            amount = amounts[key] = _NOTHING.copy()
            amount[_FIRST_AT] = at
        elif at < amount[_FIRST_AT]:
            amount[_FIRST_AT] = at
        amount[_REQUESTS] += 1
        if not r.success:
            amount[_FAILED] += 1
        for name, quantity in r.units.items():
            amount[_UNIT[name]] += quantity
        if r.informational:
            for name, quantity in r.informational.items():
                amount[_INFORMATIONAL[name]] += quantity
        if input_cost is None or output_cost is None:
            amount[_UNPRICED] += bills(r)
        if input_cost:
            amount[_INPUT_COST] += input_cost
        if output_cost:
            amount[_OUTPUT_COST] += output_cost
    # The order of parts as hex text is that of their bytes.
    return [(bytes.fromhex(key[0]), *key[1:], *amounts[key]) for key in sorted(amounts)]
