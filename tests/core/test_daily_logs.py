"""JSONL_DIR: what is in the ledger is in the daily log files, each record once."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from livekit_tokens.core import daily_logs, faults
from livekit_tokens.core.daily_logs import DailyLogs
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.known_formats import log_line
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.errors import LedgerUnavailable
from tests.core.makers import a_part, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger

AT = 1_795_000_000_123_456
"""2026-11-18 11:06:40.123456 UTC."""
DAY_MICROS = 86_400_000_000
FILE = "token_usage_2026-11-18.jsonl"


class World:
    """A recorder, a ledger, and a folder of daily logs."""

    def __init__(self, root: Path, keep_days: int | None = None) -> None:
        self.spools, self.folder = root / "spool", root / "logs"
        self.recorder = a_recorder(self.spools)
        self.recorder.put_part(a_part(user="ann"))
        self.ledger = MemoryLedger()
        self.logs = DailyLogs(self.folder, lambda: AT, keep_days)
        self.drain = self.drained()

    def drained(self, recorder: Recorder | None = None) -> SpoolDrain:
        own = recorder or self.recorder
        return SpoolDrain(own.folder, own.source, self.ledger, logs=self.logs)

    def record(self, *tokens: int, at: int = AT) -> None:
        for count in tokens:
            self.recorder.record(a_record(at, units={"input_text": count}))

    def tokens(self, name: str = FILE) -> list[int]:
        lines = (self.folder / name).read_text().splitlines()
        return [json.loads(line)["prompt_tokens"] for line in lines]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_records_are_appended_as_they_arrive_in_the_line_that_export_writes(world: World):
    """A file a UTC day, the lines in the records' order."""
    world.record(1, 2)
    world.record(3, at=AT + DAY_MICROS)
    await world.drain.drain()
    world.record(4)
    await world.drain.drain()
    assert (world.tokens(), world.tokens("token_usage_2026-11-19.jsonl")) == ([1, 2, 4], [3])
    entries = await world.ledger.entries(world.recorder.source.id, 0, None, 10)
    expected = [log_line(entry) for seq, entry in entries if seq != 3]
    assert (world.folder / FILE).read_text().splitlines() == expected


async def test_who_is_killed_between_ledger_and_file_has_its_lines_written_by_whoever_takes_over(world: World):
    """Once: also when the ledger has the records already, and the takeover is done again."""
    world.record(1)
    await world.drain.drain()
    world.record(2, 3)
    await SpoolDrain(world.recorder.folder, world.recorder.source, world.ledger).drain()
    assert world.tokens() == [1]
    world.recorder.disown()
    for _ in range(2):
        await take_over([world.spools], world.ledger, logs=world.logs)
    assert world.tokens() == [1, 2, 3]


async def test_a_ledger_that_went_back_brings_no_line_twice(world: World):
    """A restored backup is filled again from the spool; the files have it."""
    world.record(1, 2)
    await world.drain.drain()
    world.ledger.at.clear()
    world.ledger.records.clear()
    world.record(3)
    await world.drained().drain()
    assert (world.ledger.seqs(), world.tokens()) == ([1, 2, 3], [1, 2, 3])


async def test_what_was_in_the_ledger_before_the_setting_is_not_told_afterwards(world: World):
    """`export --jsonl` does that."""
    world.record(1, 2)
    await SpoolDrain(world.recorder.folder, world.recorder.source, world.ledger).drain()
    world.record(3)
    await world.drained().drain()
    assert world.tokens() == [3]


async def test_a_disk_that_refuses_the_files_is_counted_and_the_ledger_goes_on(world: World):
    """When it takes them again, they have all that came meanwhile."""
    world.folder.write_text("a file where the folder should be")
    before = faults.counts().get("the daily log files cannot be written; the ledger has it all", 0)
    world.record(1)
    await world.drain.drain()
    assert world.ledger.seqs() == [1]
    assert faults.counts()["the daily log files cannot be written; the ledger has it all"] == before + 1
    world.folder.unlink()
    world.record(2)
    await world.drain.drain()
    assert world.tokens() == [1, 2]


async def test_a_ledger_that_fails_in_the_middle_leaves_no_hole(world: World):
    """The next connection begins at the ledger's checkpoint, the files at their own place."""
    world.record(1)
    await world.drain.drain()
    world.record(2)
    world.ledger.fail_next = 1
    with pytest.raises(LedgerUnavailable):
        await world.drain.drain()
    world.record(3)
    await world.drained().drain()
    assert world.tokens() == [1, 2, 3]


async def test_many_records_are_appended_a_few_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch):
    """However many there are, and of however many parts."""
    monkeypatch.setattr(daily_logs, "AT_ONCE", 3)
    monkeypatch.setattr(daily_logs, "_MOST_PARTS", 2)
    for number in range(1, 11):
        key = f"{number:032x}"
        world.recorder.put_part(a_part(key))
        world.recorder.record(a_record(AT, key=key, units={"input_text": number}))
    await world.drain.drain()
    assert world.tokens() == list(range(1, 11))


async def test_files_go_when_they_are_older_than_they_may_be(tmp_path: Path):
    """JSONL_KEEP_DAYS=2: the day before yesterday is still there."""
    world = World(tmp_path, keep_days=2)
    world.folder.mkdir()
    for day in (15, 16, 17):
        (world.folder / f"token_usage_2026-11-{day}.jsonl").touch()
    world.record(1)
    await world.drain.drain()
    assert sorted(path.name for path in world.folder.glob("*.jsonl")) == [
        "token_usage_2026-11-16.jsonl",
        "token_usage_2026-11-17.jsonl",
        FILE,
    ]


async def test_a_person_is_taken_from_the_lines_and_the_figures_stay(world: World):
    """Whole values only: Annabel is another person. Compressed files, too."""
    annabel = replace(a_part("1" * 32), user='ann"abel')
    world.recorder.put_part(annabel)
    world.record(1)
    world.recorder.record(a_record(AT, key=annabel.key, units={"input_text": 2}))
    await world.drain.drain()
    lines = (world.folder / FILE).read_bytes()
    (world.folder / "token_usage_2026-11-01.jsonl.gz").write_bytes(gzip.compress(lines))
    assert await world.logs.forget({"ann"}, dry_run=True) == (2, 2)
    assert (world.folder / FILE).read_bytes() == lines
    assert await world.logs.forget({"ann"}) == (2, 2)
    left = (world.folder / FILE).read_text()
    assert left == lines.decode().replace('"user_id":"ann"', '"user_id":null')
    assert gzip.decompress((world.folder / "token_usage_2026-11-01.jsonl.gz").read_bytes()).decode() == left
    assert [path.stat().st_mode & 0o777 for path in world.folder.iterdir()] == [0o600] * 3
