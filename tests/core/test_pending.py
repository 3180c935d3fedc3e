"""What becomes of a request in flight when its figures can come no more."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.lines import More, Pend, from_bytes
from livekit_tokens.core.pending import estimated
from tests.core.makers import a_pend, a_record

TALKS = Usual(pace=1.5, behind_ms=100.0, making_ms=100.0, first_ms=200.0)


def expected() -> Pend:
    """A response that was expected and not announced yet, in a conversation whose answers are known."""
    pend = a_pend()
    return msgspec.structs.replace(pend, record=a_record(units={}, provenance="estimated"), usual=TALKS)


def test_a_response_that_was_never_announced_may_not_even_have_been_read() -> None:
    """Its bounds begin at nothing, and most likely it had said nothing."""
    record = estimated(expected())
    assert (record.request_id, record.low, record.units) == (None, {}, {"input_text": 40, "input_audio": 60})


def test_an_announced_response_was_read_and_may_have_begun_to_speak() -> None:
    """Between its announcement and its first delta nothing but the announcement's short line says so."""
    record = estimated(expected(), More("r1.1", 7_000_000, ahead=150, request_id="resp_1"))
    assert (record.request_id, record.at) == ("resp_1", 7_000_000)
    assert record.low == {"input_text": 40, "input_audio": 60}
    assert record.units.keys() == {"input_text", "input_audio", "output_text", "output_audio"}


def test_a_response_may_be_announced_without_an_id() -> None:
    """Ids may be missing: it was read all the same."""
    record = estimated(expected(), More("r1.1", 7_000_000, ahead=150, request_id=""))
    assert (record.request_id, record.low) == (None, {"input_text": 40, "input_audio": 60})


def test_a_transcription_is_estimated_by_its_audio() -> None:
    """As its model is billed; of unknown length it stays unknown."""
    record = a_record(units={}, provenance="unknown", service="transcriber", model="whisper-1")
    heard = estimated(Pend("r1.1", 6_000_000, record, spoken_ms=2_400))
    assert (heard.provenance, heard.units["audio_ms"], heard.high) == ("estimated", 2_400, {"audio_ms": 3_000})
    unheard = estimated(Pend("r1.1", 6_000_000, record, complete=True))
    assert (unheard.provenance, unheard.units) == ("unknown", {})


def old_lines() -> list[Pend | More]:
    """Of one turn, as versions wrote them that told a response's announcement by its whole line again, and estimated a
    transcription when it began."""
    raw = Path(__file__).with_name("old_lines.jsonl").read_bytes().splitlines()
    return [line for one in raw if isinstance(line := from_bytes(one), (Pend, More))]


@pytest.mark.parametrize(
    ("pend", "more", "units", "low"),
    [
        (0, None, {"input_text": 25, "input_audio": 40}, {}),
        (1, None, {"input_audio": 20, "output_text": 8}, {"input_audio": 20, "output_text": 6}),
        (
            2,
            None,
            {"input_text": 25, "input_audio": 40, "output_text": 15, "output_audio": 3},
            {"input_text": 18, "input_audio": 34},
        ),
        (
            2,
            4,
            {"input_text": 25, "input_audio": 40, "output_text": 17, "output_audio": 9},
            {"input_text": 18, "input_audio": 34, "output_text": 12, "output_audio": 6},
        ),
    ],
)
def test_what_older_versions_left_is_estimated_as_they_would_have(
    pend: int, more: int | None, units: dict[str, int], low: dict[str, int]
) -> None:
    """Expected, transcribed, announced, speaking."""
    lines = old_lines()
    assert len(lines) == 5
    record = estimated(lines[pend], None if more is None else lines[more])
    assert (record.units, record.low) == (units, low)
