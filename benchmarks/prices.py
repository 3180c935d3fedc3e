"""What pricing a record costs on a call's path, beside genai-prices' own calculation of the same request.

    python -m benchmarks.prices [--records 20000]

Ours is `PriceBook.price_if_ready` of a realtime response, its card at hand. The first price of a model in a process
that was forked from a preloaded worker, which makes its card, is told apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import genai_prices

from benchmarks.table import Line, median, show
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices import published
from livekit_tokens.prices.book import PriceBook

GOAL_US = 10.0
BATCH = 500
AT = datetime(2026, 11, 22, tzinfo=UTC)
UNITS = {"input_text": 43, "input_audio": 32, "cached_input_audio": 64, "output_text": 18, "output_audio": 43}
USAGE = genai_prices.Usage(
    input_tokens=139,
    input_audio_tokens=96,
    cache_read_tokens=64,
    cache_audio_read_tokens=64,
    output_tokens=61,
    output_audio_tokens=43,
)


def microseconds(work: Callable[[], object], times: int) -> float:
    """One call's, over a batch."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1e6


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=20_000)
    given = options.parse_args()
    published.load(to_micros(AT))
    record = UsageRecord("ab" * 16, to_micros(AT), "agent", "openai", "gpt-realtime", "realtime_response", UNITS)
    book = PriceBook()
    first = microseconds(lambda: book.price_if_ready(record), 1)

    def theirs() -> object:
        return genai_prices.calc_price(
            USAGE, "gpt-realtime", provider_api_url="https://api.openai.com", genai_request_timestamp=AT
        )

    theirs()
    ours, reference = [], []
    for _ in range(max(1, given.records // BATCH)):
        ours.append(microseconds(lambda: book.price_if_ready(record), BATCH))
        reference.append(microseconds(theirs, BATCH // 10))
    lines = [
        Line("a record's price, card at hand", median(ours), "us", GOAL_US, median(reference), 0.5),
        Line("a model's first price, preloaded", first, "us"),
    ]
    return show("Prices on a call's path", lines, "genai_prices.calc_price of the same request")


if __name__ == "__main__":
    sys.exit(main())
