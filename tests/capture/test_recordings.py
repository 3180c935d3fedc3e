"""Recorded event streams, replayed: what each comes to, record by record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from livekit.rtc import EventEmitter

from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.test_realtime import Paper

FOLDER = Path(__file__).parent / "recordings"
_AUDIO = re.compile(r"<(\d+) ms>")


@pytest.fixture(scope="module", autouse=True)
def _vocabulary() -> None:
    vocabulary.load("o200k")


def events_of(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines():
        told = json.loads(line)
        event = told["event"]
        if isinstance(delta := event.get("delta"), str) and (audio := _AUDIO.fullmatch(delta)):
            event["delta"] = "A" * (int(audio[1]) * 48 * 4 // 3)
        yield f"openai_{told['from']}_event_{'received' if told['from'] == 'server' else 'queued'}", event


def replayed(name: str, *, until: str | None = None, provider: str = "openai") -> list[UsageRecord]:
    """The records of a stream; it breaks before the first event of the type `until`."""
    paper, session = Paper(), EventEmitter[str]()
    witness = RealtimeWitness(paper, lambda: ("gpt-realtime", provider), "r1")
    witness.attach(session)
    before = faults.counts()
    for kind, event in events_of(name):
        if event["type"] == until:
            break
        session.emit(kind, event)
    witness.give_up()
    assert faults.counts() == before
    return [record for record, _ in paper.records]


def told(records: list[UsageRecord]) -> list[tuple[str | None, str, dict[str, int]]]:
    return [(record.request_id, record.provenance, record.units) for record in records]


def test_a_conversation_with_cached_audio_and_transcriptions_by_tokens() -> None:
    """Each response and each transcription once, by the provider's figures, in disjoint units."""
    assert told(replayed("ga_conversation")) == [
        ("item_1", "reported", {"input_audio": 20, "output_text": 10}),
        (
            "resp_1",
            "reported",
            {"input_text": 55, "cached_input_text": 64, "input_audio": 13, "output_text": 30, "output_audio": 91},
        ),
        ("item_3", "reported", {"input_audio": 20, "output_text": 6}),
        (
            "resp_2",
            "reported",
            {"input_text": 43, "input_audio": 32, "cached_input_audio": 64, "output_text": 18, "output_audio": 43},
        ),
    ]


def test_tools_and_images() -> None:
    """A call's arguments are output text; an image's tokens stand apart, cached ones too."""
    assert told(replayed("ga_tools_and_image")) == [
        (
            "resp_1",
            "reported",
            {
                "input_text": 48,
                "cached_input_text": 64,
                "input_image": 48,
                "cached_input_image": 384,
                "output_text": 19,
            },
        ),
        (
            "resp_2",
            "reported",
            {
                "input_text": 18,
                "cached_input_text": 128,
                "input_image": 48,
                "cached_input_image": 384,
                "output_text": 12,
                "output_audio": 24,
            },
        ),
    ]


def test_cancelled_unclaimed_discarded_incomplete_failed_and_refused() -> None:
    """Billed is what the provider says; a failed response, a failed transcription and a refused request are not."""
    records = replayed("ga_cut")
    assert [(record.request_id, record.metadata.get("status"), record.success) for record in records] == [
        ("resp_1", "cancelled", True),
        ("item_3", None, False),
        ("resp_2", "cancelled", True),
        ("resp_3", "cancelled", True),
        ("resp_4", "incomplete", True),
        ("resp_5", "failed", False),
        (None, None, False),
        ("item_1", None, True),
    ]
    assert {record.provenance for record in records[:7]} == {"reported"}
    assert records[2].units == {"input_text": 65, "cached_input_text": 64, "input_audio": 58}
    assert [record.error for record in records if not record.success] == [
        "audio_unintelligible",
        "server_error",
        "conversation_already_has_active_response",
    ]
    assert [record.units for record in records if not record.success] == [{}, {}, {}]


def test_the_betas_events_as_azure_sends_them() -> None:
    """A transcription by duration, told twice; the model is the one that the session names."""
    records = replayed("beta_azure", provider="azure")
    assert [(record.model, record.provider, record.units) for record in records] == [
        ("whisper-1", "azure", {"audio_ms": 3_000}),
        (
            "gpt-4o-mini-realtime-preview-2024-12-17",
            "azure",
            {
                "input_text": 57,
                "cached_input_text": 256,
                "input_audio": 92,
                "cached_input_audio": 384,
                "output_text": 9,
                "output_audio": 23,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("name", "request_id", "audio"), [("ga_conversation", "resp_1", 84), ("beta_azure", "resp_B1", 32)]
)
def test_a_stream_that_breaks_before_its_figures_is_estimated(name: str, request_id: str, audio: int) -> None:
    """From what it read, and the audio that had arrived."""
    (record,) = [record for record in replayed(name, until="response.done") if record.request_id == request_id]
    assert record.provenance == "estimated"
    assert record.units["output_audio"] == audio
    assert record.units["input_text"] > 5
    assert record.units["input_audio"] in (20, 24)
