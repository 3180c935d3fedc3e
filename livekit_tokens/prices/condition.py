"""What `doctor` says of prices: what is known, and whether PRICES_FILE can be used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.times import Micros
from livekit_tokens.prices import library, overlay, prices_file, published


def look_at_prices(path: Path | None, at: Micros) -> Iterator[Finding]:
    """The libraries' lists, then the user's own file."""
    known = list(published.all_cards(at))
    told = f"{len(known):,} models of {len({card.provider for card in known})} providers ({_versions()}), "
    yield Finding("ok", "prices", f"{told}{len(overlay.ENTRIES)} prices of our own beside them")
    if not library.providers("voice_prices"):
        told = "Deepgram, Cartesia, ElevenLabs and LiveKit Inference have no known prices"
        yield Finding("note", "prices", told, "install livekit-tokens[voices] if you use one of them")
    if path is None:
        yield Finding("ok", "prices file", "PRICES_FILE is not set: the published prices hold")
        return
    contracts, complaints = prices_file.check(path)
    for complaint in complaints:
        yield Finding(
            "fault", "prices file", str(complaint), f"mend {path}; running agents read it again by themselves"
        )
    if not complaints:
        yield Finding("ok", "prices file", f"{path}: {len(contracts.terms())} entries")


def _versions() -> str:
    found = []
    for name in library.LIBRARIES:
        try:
            found.append(f"{name.replace('_', '-')} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
