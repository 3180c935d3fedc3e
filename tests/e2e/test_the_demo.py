"""`livekit-tokens demo`, as a whole."""

from __future__ import annotations

import pytest

from livekit_tokens.demo.run import Ledgered, livekit_counts, run_demo, table


async def read_nothing(database_url: str) -> Ledgered:
    """In the place of the tracker's reading side."""
    return Ledgered({("gpt-realtime", "output_audio"): 1}, f"the report of {database_url}")


@pytest.mark.e2e
async def test_the_demo_holds_a_call_and_shows_three_counts(livekit_server_path):
    """A greeting, an interruption, a hang-up; then the receipt, the report and the table."""
    said: list[str] = []

    assert await run_demo(read_ledger=read_nothing, say=said.append) == 0

    text = "\n".join(said)
    for what in ("Ada calls", "she interrupted", "the job has ended", "the report of sqlite:///", "closed after"):
        assert what in text
    (row,) = (line.split() for line in said if line.startswith("gpt-realtime") and "output_audio" in line)
    assert int(row[2]) > 0
    assert row[-1] == "1"


@pytest.mark.e2e
async def test_without_a_livekit_server_the_demo_talks_without_a_room(monkeypatch):
    """It says why, and the counts are shown all the same."""
    monkeypatch.setenv("LIVEKIT_SERVER", "/nowhere/livekit-server")
    said: list[str] = []

    assert await run_demo(say=said.append) == 0

    assert any("/nowhere/livekit-server" in line and "without a room" in line for line in said)
    assert any(line.startswith("gpt-realtime") for line in said)


def test_livekits_cached_tokens_are_taken_out_of_its_input_tokens():
    """LiveKit counts them inside; units are disjoint."""
    usage = {
        "type": "llm_usage",
        "model": "gpt-realtime",
        **{f"input_{kind}_tokens": 10 for kind in ("text", "audio", "image")},
        **{f"input_cached_{kind}_tokens": 4 for kind in ("text", "audio", "image")},
        **{f"output_{kind}_tokens": 0 for kind in ("text", "audio", "reasoning")},
    }

    counts = livekit_counts([usage])

    assert set(counts.values()) == {6, 4}
    assert counts["gpt-realtime", "input_audio"] == 6


def test_the_table_has_a_row_for_whatever_any_side_counted():
    lines = table({("m", "input_text"): 1200}, {}, {("m", "output_text"): 3})

    assert [line.split() for line in lines[2:]] == [
        ["m", "input_text", "1,200", "0", "0"],
        ["m", "output_text", "0", "0", "3"],
    ]
