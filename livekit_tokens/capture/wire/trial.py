"""One small call of a metered client, to see on this machine that what is billed is recorded: `doctor --live`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from livekit_tokens.capture.part import LivePart, Process
from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

MODEL = "gpt-4o-mini"
ANSWER_SECONDS = 12.0
"""Less than doctor waits for a look."""
_SUBJECT = "live"


def look_live(now: Callable[[], Micros], new_key: Callable[[], str]) -> Iterator[Finding]:
    """Ask for one word, with the key and at the address of the environment; nothing is written to the ledger."""
    import openai  # noqa: PLC0415 - 300 ms, and only asked for

    if not os.environ.get("OPENAI_API_KEY"):
        todo = "set OPENAI_API_KEY, and OPENAI_BASE_URL for another address than OpenAI's"
        yield Finding("fault", _SUBJECT, "no call was made: OPENAI_API_KEY is not set", todo)
        return
    records: list[UsageRecord] = []
    process = Process.of_nobody(now, new_key)
    live = LivePart(
        Part(new_key(), "untracked", now()), process, agent=lambda: None, feature="doctor", on_usage=records.append
    )
    try:
        asking = openai.OpenAI(timeout=ANSWER_SECONDS, max_retries=0)
    except Exception as error:  # noqa: BLE001 - its own words would quote the address, with a password in it
        told = f"no call was made: OPENAI_BASE_URL cannot be read ({type(error).__name__})"
        yield Finding("fault", _SUBJECT, told, "set it to an address such as https://host:port/v1, or unset it")
        return
    client = watch.meter(asking, lambda: Spender(live, None, None))
    told = ""
    try:
        asked: Any = [{"role": "user", "content": "Say yes."}]
        client.chat.completions.create(model=MODEL, messages=asked, max_tokens=5)
    except openai.OpenAIError as error:
        told = f" ({type(error).__name__})"
    counting.settle(live.part.key, 2.0)
    # Not its user and password, nor its query: gateways have their keys there.
    address = client.base_url.copy_with(username=None, password=None, query=None, fragment=None)
    yield _found(records, str(address), told)


def _found(records: list[UsageRecord], address: str, told: str) -> Finding:
    if len(records) != 1:
        todo = "report it: the client's library may have moved (see versions above)"
        return Finding("fault", _SUBJECT, f"one call of {MODEL} at {address} made {len(records)} records{told}", todo)
    (record,) = records
    if not record.success:
        status = record.metadata.get("status_code")
        answer = f"status {status}" if status is not None else "no answer"
        todo = "see whether the key and the address are right; the failed call itself was recorded as it should be"
        return Finding("fault", _SUBJECT, f"{MODEL} at {address}: {record.error}, {answer}", todo)
    units = ", ".join(f"{name} {quantity:,}" for name, quantity in record.units.items())
    seen = f"{record.model} by {record.provider} at {address}: {units} ({record.provenance}), {record.processing_ms} ms"
    if record.provenance == "reported":
        return Finding("ok", _SUBJECT, seen)
    return Finding("note", _SUBJECT, seen, "the provider told no usage, so it is estimated")
