"""`livekit-tokens prices list` and `show`: what each unit of a model costs, and who says so."""

from __future__ import annotations

from difflib import get_close_matches
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json, Zone
from livekit_tokens.cli.outcome import Failed
from livekit_tokens.core.clock import now

if TYPE_CHECKING:
    from livekit_tokens.domain.pricing import Card
    from livekit_tokens.domain.times import Micros
    from livekit_tokens.prices.book import PriceBook

OF_VOICE_AGENTS = ("openai", "azure", "livekit", "deepgram", "cartesia", "elevenlabs")
"""Whose prices are listed where none is asked for; the libraries know some 2,000 models of others."""

At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="The prices of this time (default: now).")]


def list_prices(
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this provider; `all` for every one that is known.")
    ] = None,
    at: At = None,
    tz: Zone = None,
    json: Json = False,
) -> None:
    """List every unit's price and its source, of the providers that voice agents use."""
    book, moment = _asked(at, tz)
    known = list(book.cards(moment))
    cards = [card for card in known if _is_wanted(card, provider)]
    if not cards:
        names = ", ".join(sorted({card.provider for card in known}))
        raise Failed(f"no prices of {provider} are known; known: {names}")
    _answer(cards, json=json)
    if not json and provider is None:
        others = len({card.provider for card in known} - set(OF_VOICE_AGENTS))
        print(f"{len(cards):,} models; of {others} other providers with --provider NAME, or all.")
        print("Each under one name; prices show NAME knows its others, as with a date.")


def show(
    model: Annotated[str, typer.Argument(help="As a usage record names it.")],
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="As a usage record names it (default: whoever has it).")
    ] = None,
    at: At = None,
    tz: Zone = None,
    json: Json = False,
) -> None:
    """Show what a model costs, by your own prices and the published ones, and how long that holds."""
    book, moment = _asked(at, tz)
    cards = [_card(book, provider, model, moment)] if provider else _anyones(book, model, moment)
    _answer(cards, json=json)
    if not json:
        for card in cards:
            _print_terms(card)


def _card(book: PriceBook, provider: str, model: str, at: Micros) -> Card:
    from livekit_tokens.domain.providers import provider_of  # noqa: PLC0415

    try:
        return book.card(provider_of(provider), model, at)
    except LookupError as why:
        raise Failed(str(why)) from why


def _anyones(book: PriceBook, model: str, at: Micros) -> list[Card]:
    """The cards under that very name, and OpenAI's under its other names."""
    known = list(book.cards(at))
    found = [card for card in known if card.model == model]
    if not any(card.provider == "openai" for card in found):
        try:
            found.insert(0, book.card("openai", model, at))
        except LookupError as why:
            if not found:
                near = get_close_matches(model, sorted({card.model for card in known}), n=3)
                hint = f"; near it: {', '.join(near)}" if near else ""
                raise Failed(f"{why}{hint}") from why
    return found


def _is_wanted(card: Card, provider: str | None) -> bool:
    if provider is None:
        return card.provider in OF_VOICE_AGENTS or not card.source.startswith(("genai-prices", "voice-prices"))
    return provider in ("all", card.provider)


def _answer(cards: list[Card], *, json: bool) -> None:
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.prices.tables import cards_text  # noqa: PLC0415
    from livekit_tokens.prices.amounts import card_dict  # noqa: PLC0415

    if json:
        print_json({"models": [card_dict(card) for card in cards]})
    else:
        print(cards_text(cards))


def _print_terms(card: Card) -> None:
    from livekit_tokens.cli.columns import width  # noqa: PLC0415
    from livekit_tokens.cli.prices.tables import terms_of  # noqa: PLC0415

    for line in terms_of(card):
        print(fill(f"{card.provider} {card.model}: {line}", width(), subsequent_indent="     "))


def _asked(at: str | None, tz: str | None) -> tuple[PriceBook, Micros]:
    """The prices, and of which time."""
    from livekit_tokens.cli.ledger import usable_settings  # noqa: PLC0415
    from livekit_tokens.domain.periods import read_moment, read_zone  # noqa: PLC0415
    from livekit_tokens.runtime import price_book  # noqa: PLC0415 - pydantic takes its time

    settings = usable_settings()
    zone = read_zone(tz or settings.timezone)
    return price_book(settings), now() if at is None else read_moment(at, zone)
