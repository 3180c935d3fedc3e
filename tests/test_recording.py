"""Recording by hand as an app sees it: its own process, its own spool, the ledger."""

from __future__ import annotations

import inspect
from pathlib import Path

from livekit_tokens import Tracking, record_usage
from tests.test_runtime import run, sessions

SHOW = """
import asyncio
from livekit_tokens import open_ledger
async def main():
    async with open_ledger() as ledger:
        for session in (await ledger.sessions()).to_dict()["sessions"]:
            told = (await ledger.session(session["session_id"])).to_dict()
            print(told["session_id"], told["user"], told["status"], len(told["parts"]), told["totals"]["requests"],
                  told["totals"]["total_tokens"])
asyncio.run(main())
"""


def test_it_imports_no_livekit(tmp_path: Path) -> None:
    """A web backend or a batch does not pay for it; nor for openai."""
    code = """
import sys
from livekit_tokens import feature, record_usage, track_usage, usage_session
with usage_session("thread-1"), feature("search"):
    record_usage(model="gpt-4.1", input_tokens=3)
record_usage(model="gpt-4.1", input_tokens=3, session_id="thread-2")
print({"livekit", "openai"} & set(sys.modules))
"""
    assert run(tmp_path, code).stdout.strip() == "set()"
    assert sessions(tmp_path) == ["thread-1 closed 1", "thread-2 closed 1"]


def test_it_is_durable_when_it_returns(tmp_path: Path) -> None:
    """A process that is killed in the next instruction has lost nothing; its open session is abandoned."""
    code = """
import os, signal
from livekit_tokens import record_usage, usage_session
record_usage(model="gpt-4.1", input_tokens=3, session_id="named")
with usage_session("open", user="ada"):
    record_usage(model="gpt-4.1", input_tokens=4)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run(tmp_path, code, check=False)
    assert sorted(run(tmp_path, SHOW).stdout.splitlines()) == ["named None closed 1 1 3", "open ada abandoned 1 1 4"]


def test_a_key_counts_once_a_session_over_processes(tmp_path: Path) -> None:
    """A job that is run again; the second process cannot know of the first."""
    code = """
from livekit_tokens import record_usage
for key in ("a", "b"):
    record_usage(model="gpt-4.1", input_tokens=3, session_id="batch", idempotency_key=key)
"""
    run(tmp_path, code)
    run(tmp_path, code)
    assert run(tmp_path, SHOW).stdout.splitlines() == ["batch None closed 2 2 6"]


def test_the_names_of_other_trackers_record_the_same(tmp_path: Path) -> None:
    """`track_usage`: the user is the thread's; two users of one thread are two parts of it."""
    code = """
import asyncio
from livekit_tokens import track_usage, usage_session
async def main():
    for user in ("ada", "ada", "bob"):
        record = await track_usage(user_id=user, thread_id="thread-1", model="gpt-4.1", input_tokens=3,
                                   output_tokens=2, agent_name="clerk", operation_type="rag_answer",
                                   request_metadata={"run_id": "r", "generations": 1})
    print(record.agent, record.operation, dict(record.metadata))
    with usage_session("thread-2", user="eve"):
        await track_usage(user_id="mallory", thread_id="thread-2", model="gpt-4.1", input_tokens=1)
        await track_usage(model="gpt-4.1", input_tokens=1)
asyncio.run(main())
"""
    done = run(tmp_path, code)
    assert done.stdout.splitlines() == ["clerk rag_answer {'run_id': 'r', 'generations': 1}"]
    assert sorted(run(tmp_path, SHOW).stdout.splitlines()) == [
        "thread-1 ada closed 2 3 15",
        "thread-2 eve closed 1 2 2",
    ]


def test_an_applications_own_cache_hit_is_counted_and_costs_nothing(tmp_path: Path) -> None:
    """Under a service of its own, neither unknown nor unpriced."""
    code = """
from livekit_tokens import record_cache_hit
record_cache_hit(operation="query_embedding", layer="redis", session_id="thread-1")
"""
    run(tmp_path, code)
    show = """
import asyncio
from livekit_tokens import open_ledger
async def main():
    async with open_ledger() as ledger:
        (line,) = (await ledger.session("thread-1")).to_dict()["services"]
        print(*(line[name] for name in ("service", "model", "requests", "unknown_requests", "unpriced_requests",
                                        "cost_usd")))
asyncio.run(main())
"""
    assert run(tmp_path, show).stdout.strip() == "cache redis 1 0 0 0.000000000"


def test_in_a_forked_child_it_is_nobodys(tmp_path: Path) -> None:
    """The child has neither the parent's call nor its spool; what it records is kept all the same."""
    code = """
import os
from livekit_tokens import record_usage, usage_session
with usage_session("parent"):
    record_usage(model="gpt-4.1", input_tokens=1)
    if os.fork() == 0:
        record_usage(model="gpt-4.1", input_tokens=2)
        os._exit(0)
    os.wait()
"""
    run(tmp_path, code)
    told = sorted(line.split()[0].split("_")[0] for line in run(tmp_path, SHOW).stdout.splitlines())
    assert told == ["parent", "unattributed"]


def test_a_forked_child_records_for_a_session_that_it_has_inherited(tmp_path: Path) -> None:
    """By the object of its parent's, as a worker of multiprocessing may; through a source of its own, for its user."""
    code = """
import os
from livekit_tokens import usage_session
with usage_session("thread-1", user="ada") as session:
    session.record_usage(model="gpt-4.1", input_tokens=1)
    if os.fork() == 0:
        session.record_usage(model="gpt-4.1", input_tokens=20)
        session.record_usage(model="gpt-4.1", input_tokens=300, session_id="thread-2")
        with usage_session("thread-1", user="ada") as again:
            session.record_usage(model="gpt-4.1", input_tokens=4000)
            print(again.summary().totals.units, flush=True)
        os._exit(0)
    os.wait()
"""
    assert run(tmp_path, code).stdout.strip() == "{'input_text': 4000}"
    assert sorted(run(tmp_path, SHOW).stdout.splitlines()) == [
        "thread-1 ada closed 3 3 4021",
        "thread-2 None closed 1 1 300",
    ]


def test_a_forked_child_records_for_a_call_that_it_has_inherited(tmp_path: Path) -> None:
    """And its health is the child's own."""
    code = """
import asyncio, os
from livekit_tokens import track
async def main():
    call = track(None, user="ada")
    if os.fork() == 0:
        call.record_usage(model="gpt-4.1", input_tokens=20)
        print(call.health().records, call.health().waiting_bytes, flush=True)
        os._exit(0)
    os.wait()
    await call.aclose()
asyncio.run(main())
"""
    assert run(tmp_path, code).stdout.strip() == "1 0"
    (told,) = run(tmp_path, SHOW).stdout.splitlines()
    assert told.split()[1:] == ["ada", "closed", "2", "1", "20"]


def test_with_tracking_off_it_returns_the_record_and_keeps_nothing(tmp_path: Path) -> None:
    """The host's code runs unchanged."""
    code = """
from livekit_tokens import record_usage, usage_session
with usage_session("thread-1"):
    print(record_usage(model="gpt-4.1", input_tokens=3).units)
print(record_usage(model="gpt-4.1", input_tokens=3).units)
"""
    done = run(tmp_path, code, LIVEKIT_TOKENS_ENABLED="false")
    assert done.stdout.splitlines() == ["{'input_text': 3}"] * 2
    assert "unattributed" not in done.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_a_calls_record_usage_is_the_modules() -> None:
    """The same arguments."""
    of_a_call = inspect.signature(Tracking.record_usage).parameters
    assert list(inspect.signature(record_usage).parameters) == [name for name in of_a_call if name != "self"]
