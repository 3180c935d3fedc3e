"""A caller whose number, identity and name may be kept nowhere: from LiveKit's participant to the last file."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.identity import Identities
from tests.e2e.matrix import SHORT, assert_at_once, assert_equals_the_bill, identities, leaves, talk, transcribed

pytestmark = pytest.mark.e2e

NUMBER, IDENTITY, NAME = "+49301234567", "sip_agnes-from-berlin", "Agnes Nachname"
KEY = "a secret of the house"
SECRETS = (NUMBER, IDENTITY, NAME, KEY)


async def test_a_hashed_telephone_caller_is_found_nowhere(worker, own_room, caller, provider, matrix, tmp_path):
    """USER_FROM the number, USER_IDENTITY hashed, TENANT_FROM the job's metadata, and all that can be logged is."""
    provider.knobs = SHORT
    agent = await worker(
        "lifecycle_agent.py",
        options=("--log-level", "DEBUG"),
        LIVEKIT_AGENT_NAME="own",
        LIVEKIT_TOKENS_LOG_LEVEL="DEBUG",
        LIVEKIT_TOKENS_USER_IDENTITY="hashed",
        LIVEKIT_TOKENS_USER_IDENTITY_KEY=KEY,
        LIVEKIT_TOKENS_USER_FROM="attribute:sip.phoneNumber",
        LIVEKIT_TOKENS_TENANT_FROM="metadata:account.id",
    )
    room = await own_room(agent)
    await room.send("own", account={"id": "analytical"})
    agnes = await caller(identity=IDENTITY, name=NAME, kind="sip", attributes={"sip.phoneNumber": NUMBER})
    await talk(agnes)
    await transcribed(provider)
    left = await leaves(agnes)
    await room.is_over()

    kept = Identities("hashed", KEY)
    session = room.ledger.session(room.session_id)
    (part,) = session["parts"]
    assert (session["user"], session["user_name"]) == (kept.identity(NUMBER), None)
    assert session["tenant"] == "analytical"
    assert identities(session) == [kept.identity(IDENTITY)]
    assert_equals_the_bill(session["records"], provider.bill.entries)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(kept.identity(NUMBER).encode() in held for path, held in files.items() if "spool" in path.parts)
    assert [path for path, held in files.items() if tells(held.decode(errors="replace"), *SECRETS)] == []
    await agent.line("a batch is in the ledger", within=60)
    told = [line for line in agent.lines if tells(line, *SECRETS, kept.identity(NUMBER), kept.identity(IDENTITY))]
    assert [line for line in told if not is_livekits(line)] == []
    matrix.add("on the telephone, hashed", session, provider, [assert_at_once(part["ended_at"], left)])


def tells(text: str, *secrets: str) -> bool:
    return any(secret in text for secret in secrets)


def is_livekits(line: str) -> bool:
    """LiveKit's own log names identities ("RoomIO linked to participant", 1.8.9), and nothing else of the caller."""
    return " livekit.agents - " in line and not tells(line, NUMBER, NAME, KEY)
