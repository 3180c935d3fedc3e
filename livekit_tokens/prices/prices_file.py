"""Reading PRICES_FILE: TOML tables `price`, `discount`, `deployment` and `fallback`, checked entry by entry.

[[price]]
provider = "openai"
model = "gpt-4o*"
unit = "input_text"
price = "2.00"          # dollars, as text or number
per = "1M"              # 1, 1k, 1M; of a time: second, minute, hour
from = 2026-12-01       # UTC, part of the period; optional, as `until`, which is no part of it

[[discount]]
provider = "openai"
model = "*"
percent = 15            # off the published prices

[[deployment]]          # of Azure
model = "my-gpt4o"      # the deployment's name
is = "gpt-4o"
kind = "data-zone"      # global, data-zone (+10 %), regional (with its percent)

[[fallback]]            # what has no price is priced as another model, and says so
provider = "my-gateway.example"
model = "*"
use = "gpt-4o"
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from livekit_tokens.core import faults
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.prices.contracts import NONE, Contracts
from livekit_tokens.prices.entries import FIELDS, BadEntry, Entry, deployment, discount, fallback, own_price

LOOK_SECONDS = 5.0
"""How often the file is looked at, at most."""

UNUSABLE = "PRICES_FILE cannot be used; the last good one holds"
NEVER_USABLE = "PRICES_FILE cannot be used; the published prices hold"

_T = TypeVar("_T")


class PricesFile:
    """The file as it was last good. Not for a call's loop: it reads the disk."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._looked: float | None = None
        self._seen: tuple[int, int] | None = None
        self._was_good = False

    def read_if_changed(self) -> Contracts | None:
        """The user's prices where they are new; None where they stand, or where the file is wrong now.

        A wrong file is said once, and counted among the faults; at first, published prices hold in its place.
        """
        first, at = self._looked is None, self._monotonic()
        if self._looked is not None and at - self._looked < LOOK_SECONDS:
            return None
        self._looked = at
        stamp = _stamp(self._path)
        if stamp == self._seen and not first:
            return None
        self._seen = stamp
        try:
            contracts = read(self._path)
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with it, the drain that looks at it goes on
            faults.note(UNUSABLE if self._was_good else NEVER_USABLE, fault)
            return NONE if first else None
        self._was_good = True
        return contracts


def read(path: Path) -> Contracts:
    """The user's prices; raises BadSetting for the first entry that cannot be used, with line and reason."""
    contracts, complaints = check(path)
    if complaints:
        raise complaints[0]
    return contracts


def check(path: Path) -> tuple[Contracts, list[BadSetting]]:
    """What of a file can be used, and a complaint with line and reason for each entry that cannot."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError, RecursionError) as fault:
        reason = " ".join(str(getattr(fault, "strerror", None) or fault).split()) or type(fault).__name__
        return NONE, [BadSetting(f"{path}: {reason}; expected a file of TOML tables such as [[price]]; mend it there")]
    complaints: list[BadSetting] = []

    def entries(kind: str, make: Callable[[Entry], _T]) -> tuple[_T, ...]:
        made = []
        for entry in _entries(path, text, tables, kind, complaints):
            try:
                made.append(make(entry))
            except BadEntry as complaint:
                complaints.append(complaint)
        return tuple(made)

    contracts = Contracts(
        entries("price", own_price),
        entries("discount", discount),
        entries("deployment", deployment),
        entries("fallback", fallback),
    )
    complaints += [
        BadSetting(f"{path}: {name!r} is no table of prices; expected {', '.join(FIELDS)}; rename it")
        for name in tables.keys() - FIELDS.keys()
    ]
    return contracts, complaints


def _entries(
    path: Path, text: str, tables: Mapping[str, object], kind: str, complaints: list[BadSetting]
) -> Iterator[Entry]:
    found = tables.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(fields, dict) for fields in found):
        complaints.append(BadSetting(f"{path}: {kind} is not a list of entries; write each beneath a line [[{kind}]]"))
        return
    lines = _lines_of(text, kind)
    for number, fields in enumerate(found):
        where = lines[number] if len(lines) == len(found) else {}
        yield Entry(path, kind, number + 1, fields, where)


def _lines_of(text: str, kind: str) -> list[dict[str, int]]:
    """For each `[[kind]]`, the line of its head (under "") and of each of its fields. tomllib keeps no lines."""
    found: list[dict[str, int]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[+\s*([\w\"'.-]+)\s*\]+", line):
            inside = head[1].strip("\"'") == kind
            if inside:
                found.append({"": number})
        elif inside and (name := re.match(r"\s*[\"']?(\w+)[\"']?\s*=", line)):
            found[-1].setdefault(name[1], number)
    return found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size
