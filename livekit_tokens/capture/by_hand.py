"""What the app records by itself: a request that nobody else can see, in a tool of a call or outside of any.

Needs no LiveKit: a web backend or a batch records the same way as a tool does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from livekit_tokens.capture import spending
from livekit_tokens.capture.labels import labelled
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.spending import Payer, Spender, Spending
from livekit_tokens.core import faults
from livekit_tokens.core.unrecorded import Unrecorded
from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.given import Figures, figures_of, tier_in
from livekit_tokens.domain.pricing import STANDARD_TIERS
from livekit_tokens.domain.providers import provider_of
from livekit_tokens.domain.usage import UsageRecord

logger = logging.getLogger("livekit_tokens")

_T = TypeVar("_T")


class ByHand:
    """What can be recorded for by hand: a call, by its `payer`; without one, whoever pays where it is called.

    `process` answers that of the process it is called in: a forked child has one of its own.
    `user` is whose a session is that is only named, and open nowhere in this process.
    """

    def __init__(self, process: Callable[[], Process], payer: Payer | None = None, *, user: str | None = None) -> None:
        self._process_of = process
        self._payer = payer
        self._user = described.id_of(user)

    def record_usage(
        self,
        *,
        model: str,
        usage: object = None,
        units: Mapping[str, int] | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        audio_seconds: float | Decimal | None = None,
        characters: int | None = None,
        at: datetime | None = None,
        provider: str = "openai",
        service: str = "tool",
        operation: str = "chat_completion",
        feature: str | None = None,
        agent: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        processing_time_ms: float | None = None,
        quality_score: float | None = None,
        safety_score: float | None = None,
        success: bool = True,
        error: BaseException | str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> UsageRecord:
        """Record one billed request; durable when it returns. Sync, microseconds, waits for no network and no ledger.

        Durable is as DURABILITY says: it survives this process being killed; with `power` a power cut, too, for which
        it waits some milliseconds for the disk, but not within a call, whose loop must not wait: there, within 0.1 s.

        What it spent is one of three: `usage`, any OpenAI-shaped usage object or dict; `units`, a dict of disjoint
        units (`input_text`, `output_audio`, ...); or counts, of which `input_tokens` includes `cached_tokens`, as
        providers say it. Without any of them the request is `unknown`, or, where it failed, free. It failed where
        `success` is False or there is an `error`.

        The session is that of the surrounding call or `usage_session`, or `session_id`; without any it is kept under
        `unattributed_...`, with one warning. `at` (aware) backfills. Kept of `error` is its class, of `metadata`
        labels and counts; never what was said.

        An `idempotency_key` counts once per session, whoever repeats it. In a call, what OpenAI's clients ask is
        counted by itself; recorded by hand as well in the same session, with its answer's `id` or `_request_id` as
        `request_id`, it still counts once, whichever comes first: as it came first, among the latest 8,192 requests of
        the process (later it counts twice, and is told as a fault). Each of the two ids is good for one record. What
        else is known of it is kept beside: the provider's own figures where others were told before they
        came, and what was told of an estimate that was written.

        Returns the record; for what is told already, the one that counts. Raises BadSetting for what cannot be meant:
        more than one of the three, no model, an `at` that is naive, before 2015 or more than a day ahead. Figures that
        cannot be read raise ImpossibleUsage; within a call they are recorded as `unknown` instead and counted as a
        fault, because a caller is waiting.
        """
        spent = partial(
            figures_of,
            usage=usage,
            units=units,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
            audio_seconds=audio_seconds,
            characters=characters,
        )
        said = {
            "at": None if at is None else described.moment_of_request(at, self._process_of().now()),
            "provider": provider_of(described.name_of(provider) or "unknown"),
            "service": described.name_of(service) or "tool",
            "operation": described.name_of(operation) or "unknown",
            "feature": described.name_of(feature),
            "agent": described.name_of(agent),
            "request_id": described.name_of(request_id),
            "idempotency_key": described.key_of(idempotency_key),
            "error": described.error_of(error),
        }
        spender, in_call = self._spender(described.id_of(session_id), spending.call_of_bare_thread())
        read = _Reading(in_call)
        told = {
            "model": _model(model, in_call),
            "success": bool(success) and said["error"] is None,
            "processing_ms": read(lambda: described.milliseconds("processing_time_ms", processing_time_ms)),
            "quality_score": read(lambda: described.score("quality_score", quality_score)),
            "safety_score": read(lambda: described.score("safety_score", safety_score)),
            "metadata": read(lambda: described.labels(metadata)) or {},
        }
        told |= _figures(spent, read, told)
        record = spender.new_record(**told | {name: value for name, value in said.items() if value is not None})
        written = spender.writer.tell(record)
        if not in_call and (process := self._process_of()).waits_for_disk and not process.recorder.sync():
            faults.note("usage recorded by hand is not on disk yet")
        return written

    def spender(self) -> Spender:
        """Who pays for what is spent here and now: the call or the session that is open, else nobody's session."""
        return self._spender(None)[0]

    def _spender(self, session_id: str | None, alone: Payer | None = None) -> tuple[Spender, bool]:
        """Who pays, and whether that is a call; `alone`: the one that this thread works for without a context.

        A forked child names the session whose payer it has inherited: its parent alone can write for that.
        """
        if session_id is None and self._payer is not None and not self._payer.is_of_this_process:
            session_id = self._payer.writer.part.session_id
        found = self._whose(alone) if session_id is None else spending.whose_is(session_id)
        if found is not None:
            return spending.spender_of(found), not found.payer.by_hand
        process = self._process_of()
        if session_id is None:
            session_id, is_new = process.closed_parts.unattributed(process.new_key())
            if is_new and not isinstance(process.recorder, Unrecorded):
                logger.warning(
                    "spent outside of any session: kept under %s; give record_usage a session_id, or use usage_session",
                    session_id,
                )
        user = process.naming.identities.identity(self._user)
        return Spender(process.closed_parts.of(session_id, user, process), None, labelled()), False

    def _whose(self, alone: Payer | None) -> Spending | None:
        found = spending.whose() or (Spending(alone) if alone is not None else None)
        if self._payer is None or (found is not None and found.payer is self._payer):
            return found
        return Spending(self._payer)


def _model(model: object, in_call: bool) -> str:
    name = described.name_of(model)
    if name is None:
        if not in_call:
            raise BadSetting(f"model is {model!r}; expected the name of the model that was asked, as its provider says")
        faults.note("usage was recorded by hand without a model; recorded as unknown")
    return name or "unknown"


class _Reading:
    """Reads what was given. In a call, what cannot be read is left out and noted: a caller is waiting."""

    def __init__(self, in_call: bool) -> None:
        self._in_call = in_call
        self.fault: str | None = None

    def __call__(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except BadSetting:  # the fault is in the code, not in the figures
            raise
        except Exception as error:
            if not self._in_call:
                raise
            self.fault = faults.reason(error)
            faults.note("usage recorded by hand could not be read", error)
            return None


def _figures(spent: partial[Figures], read: _Reading, told: Mapping[str, Any]) -> dict[str, object]:
    found = read(lambda: spent(told["model"]))
    if found is None:
        return {"units": {}, "provenance": "unknown", "metadata": told["metadata"] | {"fault": read.fault}}
    is_given = any(value is not None for value in spent.keywords.values())
    is_known = is_given and (found.units or not found.informational)
    provenance = "reported" if is_known or not told["success"] else "unknown"
    tier = tier_in(spent.keywords["usage"])
    if tier is None or tier in STANDARD_TIERS:
        return found._asdict() | {"provenance": provenance}
    metadata = told["metadata"] | described.labels({"service_tier": tier})
    return found._asdict() | {"provenance": provenance, "metadata": metadata}
