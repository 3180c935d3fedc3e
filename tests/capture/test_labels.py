"""What part of the product a request is labelled with, in tasks and generators."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextvars import copy_context
from weakref import ref

import pytest

from livekit_tokens.capture.labels import feature, labelled


async def test_one_feature_labels_several_tasks_at_once() -> None:
    """Made once, as a module's constant; whoever leaves first is labelled no more, and the others still are."""
    search, both_in, first_out = feature("search"), asyncio.Barrier(2), asyncio.Event()

    async def short() -> None:
        async with search:
            await both_in.wait()
        assert labelled() is None
        first_out.set()

    async def long() -> None:
        with feature("answer"):
            async with search, search:
                await both_in.wait()
                await first_out.wait()
                assert labelled() == "search"
            assert labelled() == "answer"

    await asyncio.gather(short(), long())


async def test_a_generator_inside_a_feature_may_be_closed_by_another_task() -> None:
    """A web app's response that streams: neither of the two is disturbed, nor labelled for longer than it says."""

    async def streaming() -> AsyncGenerator[str | None]:
        with feature("stream"):
            yield labelled()

    async def closing(stream: AsyncGenerator[str | None]) -> None:
        with feature("web"):
            await stream.aclose()
            assert labelled() == "web"

    elsewhere = copy_context()
    with feature("answer"):
        stream = streaming()
        assert await anext(stream) == "stream"
        await asyncio.create_task(closing(stream), context=elsewhere)
    assert labelled() is None


@pytest.mark.parametrize("inherited", [False, True])
async def test_a_feature_that_another_task_has_left_is_let_go_of(inherited: bool) -> None:
    """A worker begins streams for weeks in one context, and others close them, in a context of its or of their own."""
    features: list[ref[feature]] = []
    elsewhere = copy_context()

    async def streaming() -> AsyncGenerator[None]:
        label = feature("stream")
        features.append(ref(label))
        with label:
            yield

    async def closing(stream: AsyncGenerator[None]) -> None:
        await stream.aclose()

    for _ in range(20):
        stream = streaming()
        await anext(stream)
        await asyncio.create_task(closing(stream), context=copy_context() if inherited else elsewhere)
    gc.collect()
    assert len(features) == 20
    assert sum(label() is not None for label in features) <= 2


async def test_a_task_keeps_the_feature_that_it_was_begun_in() -> None:
    """Also when that has been left, and after another inside the task."""
    go_on = asyncio.Event()

    async def later() -> str | None:
        await go_on.wait()
        with feature("inner"), feature("innermost"):
            assert labelled() == "innermost"
        return labelled()

    with feature("answer"):
        task = asyncio.create_task(later())
    go_on.set()
    assert await task == "answer"
