"""What a call spent, in LiveKit's own report of it: its real classes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession
from livekit.agents.testing import fake_job_context
from livekit.agents.voice.report import SessionReport

from livekit_tokens.capture.session_report import tags_of
from livekit_tokens.core import faults
from livekit_tokens.domain.totals import Totals
from tests.capture.pipeline import Script
from tests.capture.test_by_hand import World

HAS_TAGS = "tags" in {field.name for field in fields(SessionReport)}
"""Not in 1.8.0."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_report_has_the_figures_of_the_ledger(world: World) -> None:
    """When the session has closed, as `on_session_end` sees it; with the services as metadata for LiveKit Cloud."""
    script = Script("Good day.")
    with fake_job_context(job_id="report_1") as ctx:
        ctx.tagger.add("language:es")
        session: AgentSession[Any] = AgentSession(llm=script)
        own = world.track(session, ctx, user="ada")
        await session.start(Agent(instructions="Be kind."))
        await session.generate_reply(user_input="Hello?")
        world.record_usage(model="text-embedding-3-small", input_tokens=9, provider="script")
        await session.aclose()
        final = await own.aclose()
        report = ctx.make_session_report(session)
    spent = [
        "livekit_tokens.requests:2",
        f"livekit_tokens.total_tokens:{final.totals.total_tokens}",
        "livekit_tokens.unpriced_requests:2",
    ]
    assert final.totals.total_tokens == sum(map(sum, script.bill)) + 9
    assert ctx.tagger.tags == {"language:es", *spent}
    if HAS_TAGS:
        assert set(spent) < set(report.to_dict()["tags"])
    assert "ada" not in str(ctx.tagger.tags)


async def test_a_caller_who_came_back_is_in_the_same_figures(world: World) -> None:
    """The parts of a job are summed, and each tag stands there once."""
    with fake_job_context(job_id="report_2") as ctx:
        for tokens in (3, 4):
            part = world.track(None, ctx)
            part.record_usage(model="gpt-4.1", input_tokens=tokens)
            await part.aclose()
    assert "livekit_tokens.requests:2" in ctx.tagger.tags
    assert len([tag for tag in ctx.tagger.tags if tag.startswith("livekit_tokens.total_tokens:")]) == 1
    assert "livekit_tokens.total_tokens:7" in ctx.tagger.tags


async def test_a_tagger_that_fails_harms_no_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is LiveKit's; the fault is counted."""

    def fail(*_: object, **__: object) -> None:
        raise TypeError("moved")

    kind = "LiveKit's session report could not be told"
    before = faults.counts().get(kind, 0)
    with fake_job_context(job_id="report_3") as ctx:
        monkeypatch.setattr(ctx.tagger, "add", fail)
        own = world.track(None, ctx)
        assert (await own.aclose()).status == "closed"
    assert faults.counts()[kind] == before + 1


def test_a_tag_says_what_qualifies_a_figure() -> None:
    """A cost stands there unless nothing is priced; what is estimated, unknown or failed only where it is so."""
    assert tags_of(Totals()) == [
        "livekit_tokens.requests:0",
        "livekit_tokens.total_tokens:0",
        "livekit_tokens.cost_usd:0.000000000",
    ]
    priced = Totals(
        requests=3,
        units={"input_text": 10},
        input_cost=1_500,
        unpriced_requests=1,
        estimated_requests=1,
        failed_requests=1,
    )
    assert tags_of(priced) == [
        "livekit_tokens.requests:3",
        "livekit_tokens.total_tokens:10",
        "livekit_tokens.cost_usd:0.000001500",
        "livekit_tokens.unpriced_requests:1",
        "livekit_tokens.estimated_requests:1",
        "livekit_tokens.failed_requests:1",
    ]
    assert not any("cost_usd" in tag for tag in tags_of(Totals(requests=1, unpriced_requests=1)))
