"""`livekit-tokens demo`, as a whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from livekit_tokens.demo.run import livekit_counts, run_demo, table


@pytest.mark.e2e
async def test_the_demo_holds_a_call_and_shows_three_counts(livekit_server_path):
    """Progress, the receipt, the report, and the table: ours is the provider's bill unit by unit, LiveKit's is less."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "livekit_tokens", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    for what in ("Ada calls", "she interrupted", "the job has ended", "closed after", "TOKEN USAGE SUMMARY"):
        assert what in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("gpt-realtime ", "gpt-4o-"))]
    billed, livekit, ours = ([int(row[n].replace(",", "")) for row in rows] for n in (2, 3, 4))
    assert sum(billed) > 0
    assert ours == billed
    assert sum(livekit) < sum(billed)


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
