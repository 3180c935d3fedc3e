"""What a LiveKit component says it spent, read as the fields of a usage record.

One metric event is one record. Its figures are the provider's where the provider tells them; a transcriber's audio
and a voice's characters are those that LiveKit pushed, which is what their providers bill.
Source: livekit-agents 1.8.9, `metrics/base.py`, and where each event is emitted (`llm/llm.py`, `stt/stt.py`,
`tts/tts.py`, `llm/realtime.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.agents import APIStatusError
from livekit.agents.metrics import LLMMetrics, RealtimeModelMetrics, STTMetrics, TTSMetrics

from livekit_tokens.domain.billing import billed_by
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.providers import provider_of
from livekit_tokens.domain.splitting import (
    split_chat_usage,
    split_realtime_usage,
    split_speech_usage,
    split_transcription_usage,
)
from livekit_tokens.domain.units import Units, make_units

Fields = dict[str, Any]
"""What a UsageRecord is made with, but for its part, time, agent and feature."""

_SERVICES: Mapping[str, tuple[str, str]] = {
    "llm_error": ("agent", "chat_completion"),
    "stt_error": ("transcriber", "transcription"),
    "tts_error": ("tts", "speech"),
}


def spent(event: object, component: object) -> Fields | None:
    """What a metric event says was spent; None where it is no billed request.

    Voice activity, end of turn and interruptions are not billed by request, and a connection that was acquired is
    reported by LiveKit as a metric without usage. `component` names model and provider where the event does not.
    A request whose size nobody told is unknown: an LLM stream that was cancelled reports 0 tokens.
    """
    read = _READERS.get(type(event))
    return None if read is None or _connection_acquired(event) else read(event, component)


def session_time(event: object, component: object) -> tuple[Fields, int] | None:
    """By how many milliseconds a realtime metric says that its connection has grown, and whose they are."""
    if isinstance(event, RealtimeModelMetrics) and event.session_duration > 0:
        return _request(event, component, "agent", "realtime_session"), round(event.session_duration * 1000)
    return None


def failed(event: Any, component: object) -> Fields | None:
    """A component's `error` event: one failed attempt, for which no metric comes.

    A status is the provider's refusal, which it does not bill; of a connection that broke nothing is known.
    """
    if (named := _SERVICES.get(getattr(event, "type", ""))) is None:
        return None
    service, operation = named
    refused = isinstance(event.error, APIStatusError)
    return {
        "service": service,
        "operation": operation,
        **_named(component, None),
        "units": {},
        "provenance": "reported" if refused else "unknown",
        "success": False,
        "error": type(event.error).__name__,
        "metadata": {"status_code": event.error.status_code} if refused else {},
    }


def unavailable(event: Any) -> Fields | None:
    """A FallbackAdapter gave a component up: that component's failed attempt, which it tells nobody else."""
    for name in ("llm", "stt", "tts"):
        if (component := getattr(event, name, None)) is not None and not event.available:
            service, operation = _SERVICES[f"{name}_error"]
            fields = {"service": service, "operation": operation, **_named(component, None)}
            return fields | {"units": {}, "provenance": "unknown", "success": False, "error": "Unavailable"}
    return None


def cut_off(component: object, characters: int) -> Fields:
    """A voice that was interrupted, of which no metric comes: at most the characters that it was given."""
    named = _named(component, None)
    fields = {"service": "tts", "operation": "speech", **named, "metadata": {"cancelled": True}}
    if billed_by(named["model"]) == "tokens":
        return fields | {"units": {}, "provenance": "unknown"}
    units = make_units({"characters": characters})
    return fields | {"units": units, "provenance": "estimated", "low": {}, "high": units}


def _of_llm(event: LLMMetrics, component: object) -> Fields:
    details = {
        "cached_tokens": event.prompt_cached_tokens,
        "cache_write_tokens": getattr(event, "cache_creation_tokens", 0),  # not in livekit-agents 1.8.0
    }
    usage = {
        "prompt_tokens": event.prompt_tokens,
        "prompt_tokens_details": details,
        "completion_tokens": event.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": event.reasoning_tokens},
    }
    request = _request(event, component, "agent", "chat_completion", first_output=event.ttft)
    return _measured(request, lambda: split_chat_usage(usage))


def _of_stt(event: STTMetrics, component: object) -> Fields:
    request = _request(event, component, "transcriber", "transcription")
    if not (event.input_tokens or event.output_tokens):
        return _measured(request, lambda: make_units({"audio_ms": round(event.audio_duration * 1000)}))
    details = {}
    if audio := getattr(event, "input_audio_tokens", 0):  # since 1.8.9; without it all input is taken for audio
        details = {"audio_tokens": audio, "text_tokens": max(0, event.input_tokens - audio)}
    usage = {
        "input_tokens": event.input_tokens,
        "input_token_details": details,
        "output_tokens": event.output_tokens,
    }
    return _measured(request, lambda: split_transcription_usage(usage))


def _of_tts(event: TTSMetrics, component: object) -> Fields:
    request = _request(event, component, "tts", "speech", first_output=event.ttfb)
    if event.input_tokens or event.output_tokens:
        usage = {"input_tokens": event.input_tokens, "output_tokens": event.output_tokens}
        return _measured(request, lambda: split_speech_usage(usage))
    if billed_by(request["model"]) == "tokens":
        request["metadata"] = {**request["metadata"], "characters": event.characters_count}
        return _measured(request, dict)
    fields = _measured(request, lambda: make_units({"characters": event.characters_count}))
    if event.cancelled and event.ttfb < 0:  # cancelled before any audio: the text may not even have been sent
        fields |= {"provenance": "estimated", "low": {}, "high": fields["units"]}
    return fields


def _of_realtime(event: RealtimeModelMetrics, component: object) -> Fields | None:
    usage = {
        "input_tokens": event.input_tokens,
        "input_token_details": event.input_token_details.model_dump(),
        "output_tokens": event.output_tokens,
        "output_token_details": event.output_token_details.model_dump(),
    }
    fields = _measured(
        _request(event, component, "agent", "realtime_response", first_output=event.ttft),
        lambda: split_realtime_usage(usage),
    )
    # A connection billed by time tells its growth, which may be nothing; no response takes no time at all.
    return fields if fields["units"] or event.duration > 0 else None


_READERS: Mapping[type, Callable[[Any, object], Fields | None]] = {
    LLMMetrics: _of_llm,
    STTMetrics: _of_stt,
    TTSMetrics: _of_tts,
    RealtimeModelMetrics: _of_realtime,
}


def _connection_acquired(event: Any) -> bool:
    """Streams report a connection by a metric without usage; voices put its time into the metric of a request."""
    if isinstance(event, (LLMMetrics, TTSMetrics)):
        return False
    used = event.input_tokens or event.output_tokens or getattr(event, "audio_duration", 0)
    return not used and bool(event.acquire_time > 0 or event.connection_reused)


def _request(event: Any, component: object, service: str, operation: str, *, first_output: float = -1) -> Fields:
    return {
        "service": service,
        "operation": operation,
        **_named(component, event.metadata),
        "processing_ms": _milliseconds(event.duration),
        "first_output_ms": _milliseconds(first_output),
        "request_id": event.request_id[:200] or None,
        "metadata": {"cancelled": True} if getattr(event, "cancelled", False) else {},
    }


def _measured(request: Fields, split: Callable[[], Units]) -> Fields:
    try:
        units = split()
    except ImpossibleUsage as error:
        return request | {"units": {}, "provenance": "unknown", "metadata": request["metadata"] | {"fault": str(error)}}
    return request | {"units": units, "provenance": "reported" if units else "unknown"}


def _named(component: Any, told: Any) -> Fields:
    """Model and provider: as the event tells them, else as the component does."""
    model = getattr(told, "model_name", None) or getattr(component, "model", None) or "unknown"
    provider = getattr(told, "model_provider", None) or getattr(component, "provider", None) or "unknown"
    return {"model": model, "provider": provider_of(provider)}


def _milliseconds(seconds: float) -> int | None:
    # LiveKit writes -1 for a first output that never came, and 0 for the duration of a stream.
    return round(seconds * 1000) if seconds > 0 else None
