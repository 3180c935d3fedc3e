"""What each level of DURABILITY costs, on the disk that SPOOL_DIR would be on.

    python -m benchmarks.durability [--records 3000] [--folder PATH]

A record every 2 ms, as of 25 calls in one process: how long `record()` takes with each level, how many fsyncs that
makes, and what a single fsync takes. By hand outside of a call, `record_usage` waits for one with `power`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import Line, median, share, show
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.syncing import SYNC_SECONDS, Syncing
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.settings import user_data_dir

EVERY_S = 0.002
KEY = "0a" * 16
RECORD = UsageRecord(
    part=KEY,
    at=1_795_000_000_000_000,
    service="agent",
    provider="openai",
    model="gpt-realtime",
    operation="realtime_response",
    units={"input_text": 700, "input_audio": 90, "cached_input_text": 640, "output_text": 40, "output_audio": 300},
    request_id="resp_0123456789abcdef",
)


@dataclass
class Measured:
    record_us: list[float]
    sync_ms: list[float]


def measure(folder: Path, records: int, *, power: bool) -> Measured:
    found = Measured([], [])
    recorder = Recorder(folder, Source("power" if power else "process", "bench", 1, 0), lambda: RECORD.at)
    recorder.put_part(Part(KEY, "bench_1", RECORD.at))

    def sync() -> bool:
        began = time.perf_counter()
        done = recorder.sync()
        found.sync_ms.append((time.perf_counter() - began) * 1e3)
        return done

    syncing = Syncing(sync)
    if power:
        syncing.start()
    for _ in range(records):
        began = time.perf_counter()
        recorder.record(RECORD)
        if power:
            syncing.written()
        found.record_us.append((time.perf_counter() - began) * 1e6)
        time.sleep(EVERY_S)
    return found


def measure_by_hand(folder: Path, times: int) -> list[float]:
    """Milliseconds for a record and its own fsync."""
    recorder = Recorder(folder, Source("hand", "bench", 1, 0), lambda: RECORD.at)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        recorder.record(RECORD)
        assert recorder.sync()
        took.append((time.perf_counter() - began) * 1e3)
    return took


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=3000)
    options.add_argument("--folder", type=Path, default=user_data_dir())
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        process = measure(Path(folder), given.records, power=False)
        power = measure(Path(folder), given.records, power=True)
        by_hand = measure_by_hand(Path(folder), 100)
    median_us, late_us = median(process.record_us), share(process.record_us, 0.999)
    lines = [
        Line("record(), process: median", median_us, "us"),
        Line("record(), process: p99.9", late_us, "us"),
        Line("record(), power: median", median(power.record_us), "us", reference=median_us),
        Line("record(), power: p99.9", share(power.record_us, 0.999), "us", reference=late_us),
        Line("records for one fsync, power", given.records / max(1, len(power.sync_ms)), "records"),
        Line("one fsync, median", median(power.sync_ms), "ms"),
        Line("one fsync, longest", max(power.sync_ms), "ms"),
        Line("at risk in a power cut: longest", SYNC_SECONDS * 1e3 + max(power.sync_ms), "ms"),
        Line("record_usage by hand, power: median", median(by_hand), "ms", reference=median_us / 1e3),
        Line("record_usage by hand, power: p99", share(by_hand, 0.99), "ms"),
    ]
    return show(f"Durability, {given.records} records, one every 2 ms, in {given.folder}", lines, "level process")


if __name__ == "__main__":
    sys.exit(main())
