"""What a call's own minutes are billed as: one record a part and charge, whoever ends the part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from livekit_tokens.core import spool
from livekit_tokens.core.charges import charges_of
from livekit_tokens.core.lines import Use
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.remains import append, finish_line, missing_end, read_remains
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.pricing import AGENT_MINUTES, SIP, Charge
from livekit_tokens.domain.sessions import Part, Stay, ended
from livekit_tokens.domain.times import MINUTE
from livekit_tokens.domain.usage import UsageRecord
from tests.core.cards import Cards
from tests.core.makers import KEY, a_part, a_record, a_recorder, lines_in
from tests.core.memory_ledger import MemoryLedger

BEGIN = 1_000_000
CALL = a_part(room="support")
BOTH = (AGENT_MINUTES, SIP)


def a_stay(sid: str, joined_at: int, left_at: int | None = None, **changes: object) -> Stay:
    return replace(Stay(KEY, sid, "caller", None, joined_at, left_at, sip=True), **changes)


def told(records: Iterable[UsageRecord]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for record in records:
        found[record.model] += record.units["session_ms"]
    return dict(found)


def charged(ledger: MemoryLedger) -> dict[str, int]:
    return told(record for record in ledger.records.values() if record.operation == "session_minutes")


def a_charging_recorder(root: Path, charges: tuple[Charge, ...] = BOTH) -> Recorder:
    recorder = a_recorder(root)
    recorder._prices = Cards(charges=charges)
    return recorder


def test_a_part_with_a_room_is_charged_by_its_length_and_its_telephones() -> None:
    """Milliseconds of the agent, and of each SIP participant's stay; what is ours is an estimate."""
    stays = [
        a_stay("PA_1", BEGIN, BEGIN + MINUTE),
        a_stay("PA_2", BEGIN + 2 * MINUTE),
        a_stay("PA_3", BEGIN, sip=False),
        a_stay("PA_4", BEGIN, part="f" * 32),
    ]
    agent, *sip = records = charges_of(ended(CALL, BEGIN + 5 * MINUTE, None), stays, BOTH)
    assert told(records) == {"agent-minutes": 300_000, "sip": 240_000}
    assert (agent.at, agent.provider, agent.service, agent.provenance) == (
        BEGIN + 5 * MINUTE,
        "livekit",
        "livekit",
        "estimated",
    )
    assert [record.units["session_ms"] for record in sip] == [60_000, 180_000]
    assert [record.at for record in sip] == [BEGIN + MINUTE, BEGIN + 5 * MINUTE]
    assert len({record.idempotency_key for record in records}) == 3


def test_a_telephone_that_two_parts_of_a_session_saw_is_told_under_one_key() -> None:
    """An agent and a transcriber of its own, in a process each: the ledger counts a key once a session."""
    other = replace(CALL, key="f" * 32)
    seen = [a_stay("PA_1", BEGIN, BEGIN + MINUTE), a_stay("PA_1", BEGIN + 500_000, BEGIN + MINUTE, part=other.key)]
    mine, theirs = (charges_of(ended(part, BEGIN + MINUTE, None), seen, BOTH) for part in (CALL, other))
    assert [record.model for record in mine] == [record.model for record in theirs] == ["agent-minutes", "sip"]
    assert mine[0].idempotency_key != theirs[0].idempotency_key
    assert mine[1].idempotency_key == theirs[1].idempotency_key


@pytest.mark.parametrize(
    ("part", "wanted", "charged"),
    [
        (CALL, (), {}),
        (CALL, (SIP,), {}),
        (CALL, (AGENT_MINUTES,), {"agent-minutes": 60_000}),
        (a_part(room=None), (AGENT_MINUTES,), {}),
    ],
    ids=["no price for any", "no telephone", "one of them", "no room"],
)
def test_only_what_has_a_price_and_happened_is_charged(
    part: Part, wanted: tuple[Charge, ...], charged: dict[str, int]
) -> None:
    """No record of nothing."""
    assert told(charges_of(ended(part, BEGIN + MINUTE, None), [], wanted)) == charged


def test_a_recorder_remembers_the_telephones_that_have_left(tmp_path: Path) -> None:
    """Also over segments: they are billed when the part ends."""
    recorder = a_charging_recorder(tmp_path)
    recorder.put_part(CALL)
    recorder.put_stay(a_stay("PA_1", BEGIN))
    recorder.put_stay(a_stay("PA_1", BEGIN, BEGIN + MINUTE))
    over = ended(CALL, BEGIN + 2 * MINUTE, "user_initiated")
    assert told(recorder.charges(over)) == {"agent-minutes": 120_000, "sip": 60_000}
    recorder.put_part(over)
    assert recorder.charges(over) == []


async def test_a_killed_calls_minutes_are_charged_by_who_takes_it_over(tmp_path: Path) -> None:
    """Up to its last sign of life; they are not counted among the estimates of requests in flight."""
    recorder = a_charging_recorder(tmp_path)
    recorder.put_part(CALL)
    recorder.put_stay(a_stay("PA_1", BEGIN))
    recorder.record(a_record(BEGIN + MINUTE))
    recorder.disown()
    ledger = MemoryLedger()
    recovered = await take_over([tmp_path], ledger, session_charges=lambda _: BOTH)
    assert charged(ledger) == {"agent-minutes": 60_000, "sip": 60_000}
    assert recovered.estimated == 0
    assert ledger.parts[KEY].ended_at == BEGIN + MINUTE


async def test_a_charge_that_the_dead_owner_has_written_is_not_written_again(tmp_path: Path) -> None:
    """Killed between the charge and the part's end."""
    recorder = a_charging_recorder(tmp_path, (AGENT_MINUTES,))
    recorder.put_part(CALL)
    for charge in recorder.charges(ended(CALL, BEGIN + MINUTE, None)):
        recorder.record(charge)
    recorder.disown()
    await take_over([tmp_path], ledger := MemoryLedger(), session_charges=lambda _: BOTH)
    assert charged(ledger) == {"agent-minutes": 60_000}


async def test_a_telephone_that_goes_on_in_a_second_part_of_one_process_is_charged_in_both(tmp_path: Path) -> None:
    """The first part wrote what it saw; what the killed second one saw is its own record, under the same key."""
    recorder = a_charging_recorder(tmp_path, (SIP,))
    other = replace(CALL, key="f" * 32)
    recorder.put_part(CALL)
    recorder.put_stay(a_stay("PA_1", BEGIN))
    over = ended(CALL, BEGIN + MINUTE, None)
    for charge in recorder.charges(over):
        recorder.record(charge)
    recorder.put_part(over)
    recorder.put_part(other)
    recorder.put_stay(a_stay("PA_1", BEGIN + MINUTE, part=other.key))
    recorder.record(a_record(BEGIN + 3 * MINUTE, other.key))
    recorder.disown()
    await take_over([tmp_path], ledger := MemoryLedger(), session_charges=lambda _: (SIP,))
    assert charged(ledger) == {"sip": 60_000 + 120_000}


async def test_a_taker_who_is_killed_himself_is_repeated_harmlessly(tmp_path: Path) -> None:
    """Wherever what he wrote was cut off: each charge stands once in the spool, and the part is closed."""
    recorder = a_charging_recorder(tmp_path)
    recorder.put_part(CALL)
    recorder.record(a_record(BEGIN + MINUTE))
    recorder.disown()
    segment = spool.segment_path(recorder.folder, 1)
    before = segment.stat().st_size
    left = await read_remains(recorder.folder)
    append(recorder.folder, left, missing_end(left, lambda _: BOTH), None)
    whole = segment.read_bytes()
    for cut in (*range(before, len(whole), 7), len(whole) - 1, len(whole)):
        segment.write_bytes(whole[:cut])
        finish_line(recorder.folder)
        again = await read_remains(recorder.folder)
        if cut > before:
            append(recorder.folder, again, missing_end(again, lambda _: BOTH), None)
        keys = [
            line.record.idempotency_key
            for line in lines_in(recorder.folder)
            if isinstance(line, Use) and line.record.operation == "session_minutes"
        ]
        assert len(keys) == len(set(keys))
