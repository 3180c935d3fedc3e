"""Whose money the running code spends: in jobs, in contexts without a job, in threads."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakSet

import pytest
from livekit.agents.testing import fake_job_context

from livekit_tokens.capture import spending
from livekit_tokens.capture.labels import feature, labelled
from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Payer, Spending, current
from livekit_tokens.domain.sessions import Part
from livekit_tokens.runtime import new_key, now

REQUEST = {"service": "tool", "provider": "openai", "model": "m", "operation": "o", "units": {}}


def a_part(name: str, job: str | None = None) -> LivePart:
    part = Part(key=new_key(), session_id=name, started_at=now(), job=job)
    return LivePart(part, Process.of_nobody(now, new_key), agent=lambda: "current")


class Call:
    """A tracked call, as `whose` knows it. Holds its payer, as a Tracking does."""

    def __init__(self, name: str, job: str | None = None, *, by_hand: bool = False) -> None:
        self.live = a_part(name, job)
        self.payer = Payer(lambda: self.live, by_hand=by_hand)

    @contextmanager
    def context(self, agent: str | None = None) -> Iterator[None]:
        around = spending.told()
        spending.spend(Spending(self.payer, agent))
        try:
            yield
        finally:
            spending.spend(around)


def session() -> str | None:
    spender = current()
    return spender.writer.part.session_id if spender is not None else None


async def test_where_nobody_is_tracked_nobody_pays() -> None:
    """An unrelated web app in the same process; also one that runs a job which is not tracked."""
    call = Call("a", job="job_a")
    assert session() is None
    with fake_job_context(job_id="job_of_nobody"), call.context():
        assert session() is None


def test_without_a_job_the_context_says() -> None:
    """Console's tests and `session.run()`."""
    call = Call("a")
    with call.context("greeter"):
        spender = current()
        assert spender is not None
        assert (spender.writer, spender.agent) == (call.live, "greeter")
    assert session() is None


async def test_the_job_goes_before_the_context() -> None:
    """What another call left in a context does not take this job's spending."""
    own, other = Call("own", job="job_1"), Call("other", job="job_2")
    with fake_job_context(job_id="job_1"):
        assert session() == "own"
        with other.context():
            assert session() == "own"
    assert own.payer is not other.payer


async def test_several_calls_of_one_job_are_told_apart_by_the_context() -> None:
    """Without it, the one that began first, and is not over."""
    first, second = Call("first", job="job_3"), Call("second", job="job_3")
    with fake_job_context(job_id="job_3"):
        assert session() == "first"
        with second.context():
            assert session() == "second"
        first.live.fix("done")
        assert session() == "second"


async def test_a_call_that_was_tracked_without_its_job_is_found_by_the_context() -> None:
    """`track(session)` inside a job."""
    call = Call("a")
    with fake_job_context(job_id="job_4"), call.context():
        assert session() == "a"


async def test_a_session_by_hand_is_innermost() -> None:
    """Also inside a tracked call; no agent of the call's is named."""
    call, thread = Call("call", job="job_5"), Call("thread-1", by_hand=True)
    with fake_job_context(job_id="job_5"), call.context("greeter"):
        with thread.context():
            spender = current()
            assert spender is not None
            assert (spender.writer, spender.agent) == (thread.live, None)
        assert session() == "call"


async def test_a_part_that_is_over_is_not_written_to() -> None:
    """What is spent afterwards, in its job or in its context, is a part of its own in the same session."""
    call, written = Call("call", job="job_6"), []
    call.live = LivePart(
        replace(call.live.part, user="ada"),
        Process.of_nobody(now, new_key),
        agent=lambda: None,
        on_usage=written.append,
    )
    final = call.live.fix("done")
    for _ in range(2):
        with fake_job_context(job_id="job_6"):
            spender = current()
        assert spender is not None
        spender.writer.write(spender.new_record(**REQUEST))
    call.live.write(call.live.new_record(**REQUEST))  # who had it in hand already
    assert call.live.summary() == final
    assert len(written) == 3
    assert len({record.part for record in written}) == 1
    assert written[0].part != call.live.part.key


def test_a_part_that_began_anew_is_written_to() -> None:
    """A caller came back: the same payer, a new part."""
    call = Call("a")
    with call.context():
        call.live.fix("participant_disconnected")
        call.live = a_part("again")
        assert session() == "again"


def test_a_session_that_is_named_is_found_without_asking_the_others() -> None:
    """A web app that records into ten thousand open sessions by their ids: each costs what one costs."""
    asked: list[str] = []

    class Counted(Call):
        def __init__(self, name: str) -> None:
            self.live = a_part(name)
            self.payer = Payer(self._writer)

        def _writer(self) -> LivePart:
            asked.append(self.live.part.session_id)
            return self.live

    calls = [Counted(f"thread-{number}") for number in range(50)]
    asked.clear()
    found = spending.whose_is("thread-7")
    assert found is not None
    assert found.payer is calls[7].payer
    assert set(asked) == {"thread-7"}


def test_a_part_that_began_anew_is_found_by_its_own_session() -> None:
    """Without a room each part is a session of its own: once filed, it is no longer found by the one before."""
    call = Call("before")
    call.live = a_part("after")
    call.payer.file()
    found = spending.whose_is("after")
    assert found is not None
    assert found.payer is call.payer
    assert spending.whose_is("before") is None


def test_a_session_that_is_gone_leaves_nothing_behind() -> None:
    """A process lives for weeks, and its sessions for minutes."""
    call = Call("short")
    assert "short" in spending._of_session
    del call
    gc.collect()
    assert "short" not in spending._of_session


async def test_tasks_and_threads_that_asyncio_starts_inherit_it() -> None:
    """A tool that does its work in `asyncio.to_thread`."""
    call = Call("a", job="job_7")
    with fake_job_context(job_id="job_7"):
        assert await asyncio.to_thread(session) == "a"
    with call.context("greeter"), feature("search"):
        assert await asyncio.create_task(asyncio.to_thread(session)) == "a"
        assert await asyncio.to_thread(labelled) == "search"


async def test_a_bare_thread_works_for_the_call_of_its_processs_only_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """`loop.run_in_executor` hands no context on. What is over is over."""
    monkeypatch.setattr(spending, "_payers", WeakSet())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "LiveKit's")

    async def found() -> str | None:
        call = await asyncio.get_running_loop().run_in_executor(None, spending.call_of_bare_thread)
        return None if call is None else call.writer.part.session_id

    no_jobs, thread = Call("console"), Call("thread-1", job="job_8", by_hand=True)
    assert await found() is None
    first, second = Call("first", job="job_8"), Call("second", job="job_8")
    assert await found() == "first"
    assert spending.call_of_bare_thread() is None  # here is a loop
    first.live.fix("done")
    assert await found() == "second"
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
    assert await found() is None  # whose process it is, nobody knows
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "LiveKit's")
    other = Call("other", job="job_9")
    assert await found() is None  # jobs in threads
    del no_jobs, thread, second, other


def test_jobs_in_threads_of_one_process_each_have_their_own() -> None:
    """The THREAD executor."""
    calls = [Call(f"call_{number}", job=f"thread_job_{number}") for number in range(8)]
    together = threading.Barrier(len(calls))

    async def job(number: int) -> str | None:
        with fake_job_context(job_id=f"thread_job_{number}"):
            together.wait(timeout=60)
            return await asyncio.to_thread(session)

    with ThreadPoolExecutor(len(calls)) as pool:
        found = list(pool.map(lambda number: asyncio.run(job(number)), range(len(calls))))
    assert found == [f"call_{number}" for number in range(len(calls))]


async def test_the_innermost_feature_labels_what_is_made_inside() -> None:
    """Sync and async; what a record says by itself goes first."""
    call = Call("a")
    with call.context("greeter"):
        spender = current()
        assert spender is not None
        assert spender.new_record(**REQUEST).feature == "unknown"
        with feature("introspection"):
            async with feature("search"):
                inner = current()
            outer = current()
        assert inner is not None
        assert outer is not None
        assert (inner.feature, outer.feature) == ("search", "introspection")
        record = inner.new_record(**REQUEST)
        assert (record.feature, record.agent) == ("search", "greeter")
        assert inner.new_record(**REQUEST, feature="own", agent="other").feature == "own"
        assert labelled() is None


@pytest.mark.parametrize("part", ["spending", "part"])
def test_it_needs_neither_livekit_nor_openai(part: str) -> None:
    """A process that only records by hand does not pay for their import."""
    code = f"import sys, livekit_tokens.capture.{part}; sys.exit(bool({{'livekit', 'openai'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
