"""Every way in which a call on a LiveKit server begins, goes on and ends, as far as one shared worker can show it.

Each case is a row of the matrix that is printed at the end of the run.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from livekit_tokens.demo.plan import Knobs
from tests.e2e.matrix import (
    AT_ONCE_MS,
    LONG_ANSWER,
    SHORT,
    assert_at_once,
    assert_equals_the_bill,
    identities,
    leaves,
    milliseconds_late,
    said_at,
    seconds,
    talk,
    transcribed,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _short_answers(provider) -> None:
    provider.knobs = SHORT


# -- the caller leaves ------------------------------------------------------------------------------------------------


async def test_a_clean_leave_ends_the_part_at_that_moment(open_room, caller, provider, matrix):
    """Hanging up after an answer: closed, by the caller's leave, then."""
    opened = time.time()
    room = await open_room()
    await room.send()
    ada = await caller(identity="ada", name="Ada")
    await talk(ada)
    await transcribed(provider)
    left = await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,), (stay,) = session["parts"], session["participants"]
    assert (session["status"], part["status"], part["close_reason"]) == ("closed", "closed", "participant_disconnected")
    assert (session["user"], session["user_name"], stay["identity"]) == ("ada", "Ada", "ada")
    assert part["agent_name"] == "lifecycle"
    assert opened <= seconds(part["started_at"]) <= seconds(stay["joined_at"]) < left
    assert stay["left_at"] == session["ended_at"] == part["ended_at"]
    assert session["started_at"] == part["started_at"]
    assert float(session["duration_seconds"]) == pytest.approx(
        left - seconds(part["started_at"]), abs=AT_ONCE_MS / 1000
    )
    assert_equals_the_bill(session["records"], provider.bill.entries)
    assert_at_once(stay["left_at"], left)
    matrix.add("clean leave", session, provider, [assert_at_once(part["ended_at"], left)])

    report = await room.line("session report ROOM")  # LiveKit's own
    totals = session["totals"]
    assert f"livekit_tokens.requests:{totals['requests']} " in report
    assert f"livekit_tokens.total_tokens:{totals['total_tokens']} " in f"{report} "


async def test_what_a_job_records_by_hand_is_its_sessions(open_room, caller, provider):
    """From a thread during the call; and when the job ends, long after the call, as a part of its own."""
    room = await open_room()
    await room.send(by_hand=True)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    by_hand = {record["operation"]: record for record in session["records"] if record["service"] == "tool"}
    assert {operation: record["units"] for operation, record in by_hand.items()} == {
        "embedding": {"input_text": 9},
        "summary": {"input_text": 300},
    }
    assert {(part["close_reason"], part["user"]) for part in session["parts"]} == {
        ("participant_disconnected", "ada"),
        ("afterwards", "ada"),
    }
    assert session["status"] == "closed"
    assert seconds(by_hand["embedding"]["time"]) < seconds(by_hand["summary"]["time"]) == seconds(session["ended_at"])


async def test_a_leave_while_the_agent_speaks_ends_the_part_at_that_moment_too(open_room, caller, provider, matrix):
    """The open answer is asked to finish and its figures are awaited; the call was over before."""
    provider.knobs = replace(LONG_ANSWER, done_delay=(1.0, 1.0))
    room = await open_room()
    await room.send()
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    await ada.say(0.6)
    await ada.hear(0.6)
    await transcribed(provider)
    left = await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert session["totals"]["estimated_requests"] == 0
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("clean leave, agent speaking", session, provider, [assert_at_once(part["ended_at"], left)])


async def test_a_killed_caller_has_left_when_the_server_says_so(open_room, caller_process, provider, operator, matrix):
    """CONNECTION_TIMEOUT comes 20 s later. LiveKit does not close the session then; the part ends all the same."""
    room = await open_room()
    await room.send()
    ada = caller_process("hear_out 0.3, say 0.6, hear_out 0.3, stay", identity="ada")
    await ada.line("over: hear_out", within=60)
    await ada.line("over: say", within=60)
    await transcribed(provider)
    await provider.bill.until(lambda bill: sum(e.kind == "realtime_response" and e.delivered for e in bill.entries) > 1)
    ada.kill()
    async with asyncio.timeout(60):
        while "ada" in await operator.guests(room.name):
            await asyncio.sleep(0.05)
    left = time.time()
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,), (stay,) = session["parts"], session["participants"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert stay["identity"] == "ada"
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = milliseconds_late(part["ended_at"], left)
    assert abs(late) <= AT_ONCE_MS
    matrix.add("caller's process killed", session, provider, [late])


# -- the caller comes back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grace", [30.0, 0.0], ids=["within the grace", "after the grace"])
async def test_who_comes_back_to_a_closed_session_finds_no_agent(open_room, caller, provider, matrix, grace):
    """With LiveKit's default the session closes at the leave: one part, which ends there, whatever the grace."""
    room = await open_room(departure_seconds=30)
    await room.send(grace=grace)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    left = await leaves(ada)
    await room.line("part ended ROOM")
    again = await caller(identity="ada")
    await again.say(0.3)
    await again.leave()
    await room.operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    ((part,), (stay,)) = session["parts"], session["participants"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    assert_at_once(stay["left_at"], left)
    when = "within" if grace > 1 else "after"
    case = f"back {when} the grace, close_on_disconnect"
    matrix.add(case, session, provider, [assert_at_once(part["ended_at"], left)])


async def test_back_within_the_grace_is_the_same_part(open_room, caller, provider, matrix):
    """With close_on_disconnect=False: two stays in one part, which ends with the last leave."""
    room = await open_room(departure_seconds=30)
    await room.send(grace=1.5, closes=False)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    first = await leaves(ada)
    ada = await caller(identity="ada")
    await ada.say(0.6)
    await ada.hear_out(quiet=0.3)
    await transcribed(provider, 2)
    left = await leaves(ada)
    await room.line("part ended ROOM reason=participant_disconnected")
    await room.operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    ((part,), stays) = session["parts"], session["participants"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert identities(session) == ["ada", "ada"]
    assert_at_once(stays[0]["left_at"], first)
    assert_at_once(stays[1]["left_at"], left)
    assert_equals_the_bill(session["records"], provider.bill.entries)
    case = "back within the grace, stays open"
    matrix.add(case, session, provider, [assert_at_once(part["ended_at"], left)])


async def test_back_after_the_grace_is_a_new_part_of_the_same_session(open_room, caller, provider, matrix):
    """With close_on_disconnect=False: each part ends with its own leave, and has its own records."""
    room = await open_room(departure_seconds=30)
    await room.send(grace=0.3, closes=False)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    first = await leaves(ada)
    ended = await room.line("part ended ROOM reason=participant_disconnected")
    ada = await caller(identity="ada")
    await ada.say(0.6)
    await ada.hear_out(quiet=0.3)
    await transcribed(provider, 2)
    left = await leaves(ada)
    after = room.worker.lines.index(ended) + 1
    await room.line("part ended ROOM reason=participant_disconnected", start=after)
    await room.operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    one, two = session["parts"]
    assert {part["close_reason"] for part in (one, two)} == {"participant_disconnected"}
    assert [part["user"] for part in (one, two)] == ["ada", "ada"]
    assert session["status"] == "closed"
    assert seconds(one["ended_at"]) < seconds(two["started_at"])
    assert identities(session) == ["ada", "ada"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = [assert_at_once(one["ended_at"], first), assert_at_once(two["ended_at"], left)]
    matrix.add("back after the grace, stays open", session, provider, late)


async def test_a_job_that_ends_within_the_grace_ends_the_part_at_the_leave(open_room, caller, provider, matrix):
    """With close_on_disconnect=False the room may end before the grace does; the call was over when the caller left."""
    room = await open_room(departure_seconds=1)
    await room.send(grace=30, closes=False)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    left = await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    case = "left for good, job ends within the grace"
    matrix.add(case, session, provider, [assert_at_once(part["ended_at"], left)])


async def test_what_is_billed_after_the_end_of_a_part_is_counted(open_room, caller, provider, matrix):
    """With close_on_disconnect=False the agent speaks on to an empty room: billed, so counted, in a part of its own
    beside the one that has ended with the leave."""
    provider.knobs = Knobs(script=(0.6, 3.0), speed=(1.2, 1.5), silence_ms=300)
    room = await open_room(departure_seconds=30)
    await room.send(grace=0.0, closes=False)
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    await ada.say(0.6)
    await ada.hear(0.5)
    await transcribed(provider)
    left = await leaves(ada)
    await room.line("part ended ROOM reason=participant_disconnected")
    assert len(provider.bill.entries) == 2
    await provider.bill.until(lambda bill: len(bill.entries) == 3 and bill.entries[-1].delivered)
    await room.operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    part, after = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert (after["status"], after["close_reason"]) == ("closed", "afterwards")
    assert session["close_reason"] == "participant_disconnected"
    assert_equals_the_bill(session["records"], provider.bill.entries)
    case = "agent speaks on after the grace, stays open"
    matrix.add(case, session, provider, [assert_at_once(part["ended_at"], left)])


async def test_killed_and_back_is_the_same_part(open_room, caller, caller_process, provider, matrix):
    """The server notices the first stay's end at the return (DUPLICATE_IDENTITY): one part, two stays."""
    room = await open_room()
    await room.send()
    killed = caller_process("hear_out 0.3, stay", identity="ada")
    await killed.line("over: hear_out", within=60)
    killed.kill()
    ada = await caller(identity="ada")
    await ada.say(0.6)
    await ada.hear_out(quiet=0.3)
    await transcribed(provider)
    left = await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert identities(session) == ["ada", "ada"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("killed and back", session, provider, [assert_at_once(part["ended_at"], left)])


async def test_the_same_identity_twice_is_the_same_part(open_room, caller, provider, matrix):
    """A second device of the same caller puts the first one out: one part, two stays."""
    room = await open_room()
    await room.send()
    first = await caller(identity="ada")
    await first.hear_out(quiet=0.3)
    second = await caller(identity="ada")
    await second.say(0.6)
    await second.hear_out(quiet=0.3)
    await transcribed(provider)
    left = await leaves(second)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert identities(session) == ["ada", "ada"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("same identity twice", session, provider, [assert_at_once(part["ended_at"], left)])


# -- two callers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [True, False], ids=["session closes", "session stays open"])
async def test_two_callers_and_the_linked_one_leaves(open_room, caller, provider, matrix, closes):
    """LiveKit's default closes the session with the linked caller; else the part goes on to the last leave."""
    room = await open_room()
    await room.send(closes=closes, grace=0.5)
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    bob = await caller(identity="bob")
    await ada.say(0.6)
    await ada.hear_out(quiet=0.3)
    await transcribed(provider)
    adas_leave = await leaves(ada)
    if closes:
        await room.line("session closed ROOM reason=participant_disconnected")
    bobs_leave = await leaves(bob)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert (part["user"], identities(session)) == ("ada", ["ada", "bob"])
    assert_equals_the_bill(session["records"], provider.bill.entries)
    left = adas_leave if closes else bobs_leave
    case = f"two callers, the linked one leaves, {'closes' if closes else 'stays open'}"
    matrix.add(case, session, provider, [assert_at_once(part["ended_at"], left)])


# -- from outside -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["the job", "the grace"])
async def test_a_removed_caller_has_left(open_room, caller, provider, operator, matrix, first):
    """PARTICIPANT_REMOVED does not close LiveKit's session; the part ends when the caller was put out, whether the
    room is over before the grace or the grace before the room."""
    room = await open_room(departure_seconds=1 if first == "the job" else 30)
    await room.send(grace=30 if first == "the job" else 0.3)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    removed = time.time()
    await operator.remove(room.name, "ada")
    await room.line("part ended ROOM reason=participant_disconnected")
    if first == "the grace":
        await operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "participant_disconnected")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = assert_at_once(part["ended_at"], removed)
    matrix.add(f"participant removed, {first} ends first", session, provider, [late])


async def test_a_deleted_room_ends_the_part(open_room, caller, provider, operator, matrix):
    """Everybody is put out at once, in either order; or the server has ended the job before the room says anything."""
    room = await open_room()
    await room.send()
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    deleted = time.time()
    await operator.delete_room(room.name)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,), (stay,) = session["parts"], session["participants"]
    assert part["status"] == "closed"
    assert part["close_reason"] in {"room_deleted", "user_initiated"}
    assert_at_once(stay["left_at"], deleted)
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add("room deleted", session, provider, [assert_at_once(part["ended_at"], deleted)])


# -- the agent ends it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["ctx.shutdown", "session.shutdown"])
async def test_the_agent_ends_the_call(open_room, caller, provider, matrix, then):
    """The part ends there, durable, although nobody left; with session.shutdown the job lives on to the room's end."""
    room = await open_room()
    await room.send(then=then)
    ada = await caller(identity="ada")
    await room.line("part ended ROOM reason=user_initiated")
    if then == "session.shutdown":
        assert not [line for line in room.worker.lines if f"job ends room={room.name}" in line]
        await ada.leave()
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,), (stay,) = session["parts"], session["participants"]
    assert (part["status"], part["close_reason"]) == ("closed", "user_initiated")
    assert stay["left_at"] == part["ended_at"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    matrix.add(then, session, provider, [assert_at_once(part["ended_at"], await said_at(room))])


async def test_an_entrypoint_that_raises_before_the_start_leaves_a_closed_part(open_room, provider, matrix):
    """Nothing was billed, nobody was there; the part says why it ended."""
    room = await open_room()
    await room.send(raises="before")
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "job crashed")
    assert (session["totals"]["requests"], session["participants"], provider.bill.entries) == (0, [], [])
    matrix.add("entrypoint raises before start", session, provider, [None])


async def test_an_entrypoint_that_raises_after_the_start_loses_nothing(open_room, caller, provider, matrix):
    """The job ends at once; what was billed is counted."""
    room = await open_room()
    await room.send(raises="after")
    ada = await caller(identity="ada")
    await ada.hear()
    await room.is_over()

    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (part["status"], part["close_reason"]) == ("closed", "user_initiated")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = assert_at_once(part["ended_at"], await said_at(room))
    matrix.add("entrypoint raises after start", session, provider, [late])


async def test_a_killed_job_is_abandoned_at_its_last_activity(open_room, caller, provider, matrix):
    """SIGKILL in the middle of an answer: the answer is an estimate, the end is when it was last heard of."""
    provider.knobs = LONG_ANSWER
    room = await open_room()
    await room.send()
    ada = await caller(identity="ada")
    await ada.hear_out(quiet=0.3)
    await ada.say(0.6)
    await ada.hear(0.8)
    await transcribed(provider)
    killed = time.time()
    room.worker.kill_job(await room.job())
    await provider.bill.until(lambda bill: any(entry.reason == "socket_closed" for entry in bill.entries))

    recovered = room.ledger.ask("recover")
    assert (recovered["sources"], recovered["parts"], recovered["estimated"], recovered["lost"]) == (1, 1, 1, 0)
    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (session["status"], part["close_reason"]) == ("abandoned", "process_killed")
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = milliseconds_late(part["ended_at"], killed)
    assert -AT_ONCE_MS <= late <= 20
    matrix.add("job SIGKILLed", session, provider, [late])


# -- several jobs in a room -------------------------------------------------------------------------------------------


async def test_another_call_in_the_same_lasting_room_is_another_part(open_room, caller, provider, matrix):
    """The room lives on between two calls: one session, two parts of two jobs."""
    room = await open_room(departure_seconds=30)
    left = []
    for turn, who in enumerate(("ada", "bob")):
        start = len(room.worker.lines)
        await room.send(leaves=True)
        guest = await caller(identity=who)
        await talk(guest)
        await transcribed(provider, turn + 1)
        left.append(await leaves(guest))
        await room.line("job ends ROOM", start=start)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    one, two = session["parts"]
    assert [part["user"] for part in (one, two)] == ["ada", "bob"]
    assert one["job"] != two["job"]
    assert {part["close_reason"] for part in (one, two)} == {"participant_disconnected"}
    assert session["ended_at"] == two["ended_at"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = [assert_at_once(one["ended_at"], left[0]), assert_at_once(two["ended_at"], left[1])]
    matrix.add("another call in a lasting room", session, provider, late)


async def test_a_transcriber_beside_the_agent_is_another_part_of_the_session(
    open_room, worker, caller, provider, shared_ledger, matrix
):
    """Two processes in one room: one session, two parts, two services, each with its own records."""
    await worker("lifecycle_agent.py", LIVEKIT_AGENT_NAME="transcriber", **shared_ledger.env)
    room = await open_room()
    await room.send("transcriber", role="transcriber")
    await room.send(transcribes=False)
    ada = await caller(identity="ada")
    await talk(ada)
    await transcribed(provider)
    left = await leaves(ada)
    await room.is_over()

    session = room.ledger.session(room.session_id)
    parts = {part["agent_name"]: part for part in session["parts"]}
    assert sorted(parts) == ["lifecycle", "transcriber"]
    assert len({part["job"] for part in session["parts"]}) == 2
    assert {(part["user"], part["status"], part["close_reason"]) for part in session["parts"]} == {
        ("ada", "closed", "participant_disconnected")
    }
    assert sorted(line["service"] for line in session["services"]) == ["agent", "transcriber"]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    late = [assert_at_once(part["ended_at"], left) for part in session["parts"]]
    matrix.add("a transcriber as a second process", session, provider, late)
