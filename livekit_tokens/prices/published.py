"""Which published card a provider and a model have: ours where the library lacks one or is wrong, else the library's.

What is not found under its own name has no card. A gateway's prices are its own: a model's name alone never makes
it the vendor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from livekit_tokens.domain.pricing import Card
from livekit_tokens.domain.times import Micros
from livekit_tokens.prices import library, overlay
from livekit_tokens.prices.library import LIBRARIES, Library

AS_GLOBAL = "Azure: priced as a Global deployment; a [[deployment]] in PRICES_FILE says otherwise"
"""Neither host nor answer tells what kind a deployment is. Global is what Azure publishes first; the others are dearer.
Source: azure.microsoft.com, prices of Azure OpenAI."""

AS_STANDARD = {("groq", "flex")}
"""Vendors' tiers that cost what the standard one does. Source: console.groq.com/docs/flex-processing ("pricing matches
the on-demand tier")."""

_OTHER_NAMES = {
    "gemini": "google",
    "vertex ai": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "aws bedrock": "aws",
    "amazon_bedrock": "aws",
    "mistralai": "mistral",
    "xai": "x-ai",
}
"""How LiveKit's plugins and LangChain's models (`ls_provider`) name a provider, where the libraries do otherwise."""
_VOICE_LESS = ("openai", "azure")
"""What the voice library has of these is older than the other's, and flat where prices are tiered."""

_SHOWN = 100


COMMON = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-realtime-2",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-tts",
    "whisper-1",
    "tts-1",
    "text-embedding-3-small",
)
"""OpenAI's models that most voice agents use."""


class Unpublished(LookupError):
    """No card; the message says of what, and what to do."""


def card_of(provider: str, model: str, at: Micros) -> Card:
    """The published card of a model at a time; raises Unpublished. Imports the libraries when it is first needed."""
    name = provider.lower()
    vendor = vendor_of(name)
    if vendor == "livekit":
        card = _of_livekit(model, at)
    elif vendor == "azure":
        card = _of_azure(model, at)
    else:
        card = overlay.card_of(vendor, model, at) or _of_libraries(name, model, at)
    if card is None:
        raise Unpublished(_reason(name, model))
    return card


def vendor_of(provider: str) -> str:
    """How price lists name a provider that a record may name by its host; a provider that none has stays itself."""
    name = provider.lower()
    return next(filter(None, (_vendor(source, name) for source in LIBRARIES)), name)


def load(at: Micros) -> None:
    """Have the libraries and the common models at hand, so that the first price of a call costs no search."""
    library.load()
    for model in COMMON:
        card_of("openai", model, at)


def all_cards(at: Micros) -> Iterator[Card]:
    """Every published card of a time, ours first; no model twice."""
    seen = set()
    ours = (entry.card() for entry in overlay.ENTRIES)
    for card in (*(card for card in ours if card.holds_at(at)), *_library_cards(at)):
        if (key := (card.provider, card.model)) not in seen:
            seen.add(key)
            yield card


def _library_cards(at: Micros) -> Iterator[Card]:
    known = library.providers("genai_prices")
    yield from library.cards("genai_prices", at)
    for card in library.cards("voice_prices", at):
        if card.provider not in known and not _is_flattened(card, at):
            yield card


def _of_libraries(provider: str, model: str, at: Micros) -> Card | None:
    for source in LIBRARIES:
        if source == "voice_prices" and provider in _VOICE_LESS:
            continue
        vendor = _vendor(source, provider)
        if vendor is not None and (card := library.card_of(source, vendor, model, at)) is not None:
            return card
    return None


def _vendor(source: Library, provider: str) -> str | None:
    name = _OTHER_NAMES.get(provider, provider)
    if name in library.providers(source):
        return name
    return library.provider_at(source, name) if "." in name else None


def _of_azure(model: str, at: Micros) -> Card | None:
    card = overlay.card_of("openai", model, at) or _of_libraries("azure", model, at)
    return None if card is None else replace(card, provider="azure", note=AS_GLOBAL)


def _of_livekit(model: str, at: Micros) -> Card | None:
    """LiveKit Inference sells models at its own prices, as `deepgram/nova-3` or `deepgram/nova-3:multi`.

    What follows the colon is a language or a voice; of the languages only `multi` has a price of its own.
    """
    base, _, suffix = model.partition(":")
    for name in (model, f"{base}-{suffix}" if suffix == "multi" else base):
        card = library.card_of("voice_prices", "livekit", name, at)
        if card is not None:
            return None if _is_flattened(card, at) else card
    return None


def _is_flattened(card: Card, at: Micros) -> bool:
    """Whether one price was kept of a model whose vendor has several: voice-prices 0.11.0 keeps the dearest."""
    vendor, _, name = card.model.partition("/")
    if "input_text" not in card.rates or not name:
        return False
    own = library.card_of("genai_prices", _vendor("genai_prices", vendor) or "", name.partition("@")[0], at)
    return own is not None and bool(own.long_context)


def _reason(provider: str, model: str) -> str:
    if not library.providers("voice_prices") and (provider == "livekit" or _vendor("genai_prices", provider) is None):
        return f"no prices of {provider[:_SHOWN]} are known; install the extra `voices`, or give them in PRICES_FILE"
    if provider not in ("azure", "livekit") and not any(_vendor(source, provider) for source in LIBRARIES):
        return f"no prices of {provider[:_SHOWN]} are known; give them in PRICES_FILE"
    return f"no price of {model[:_SHOWN]!r} by {provider[:_SHOWN]} is known; give it in PRICES_FILE"


_BILLED_BY = {frozenset({"audio_ms"}): "transcriber", frozenset({"characters"}): "tts"}


def sold_as(model: str, at: Micros) -> str | None:
    """The service that a model's published price is for, by what it is billed by; None where that does not tell."""
    services = _services(at).get(model.lower(), frozenset())
    return next(iter(services)) if len(services) == 1 else None


@lru_cache(1)
def _services(at: Micros) -> Mapping[str, frozenset[str | None]]:
    found: dict[str, frozenset[str | None]] = {}
    for card in all_cards(at):
        name = card.model.lower()
        found[name] = found.get(name, frozenset()) | {_BILLED_BY.get(frozenset(card.rates))}
    return found
