"""The replay window: what is in the ledger stays in the spool for an hour more, up to 64 MB, so that a ledger that
is deleted, or goes back to a backup, can be told again.

A segment is acknowledged when the ledger has all of it and that commit is on the ledger's disk. Since when, is noted
beside the segments; from that note alone follows what may be removed. Without it, the hour begins anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from livekit_tokens.core import spool
from livekit_tokens.core.ledger import Checkpoint

_NOTE = "acknowledged"


class Acknowledged(msgspec.Struct, frozen=True):
    """How far the ledger had the spool when that was last noted, and since when it has each of these segments, in
    seconds of the wall clock.
    """

    checkpoint: tuple[int, int, int]
    since: dict[int, float]


NOTHING = Acknowledged((0, 0, 0), {})


def acknowledged(folder: Path) -> Acknowledged:
    """NOTHING where there is no note that can be read."""
    try:
        return msgspec.json.decode((folder / _NOTE).read_bytes(), type=Acknowledged)
    except (OSError, msgspec.MsgspecError):
        return NOTHING


def acknowledge(folder: Path, checkpoint: Checkpoint, segments: list[int], now: float) -> Acknowledged:
    """Note that the ledger has these segments for good; those that it had already keep their time."""
    earlier = acknowledged(folder).since
    made = Acknowledged(checkpoint, {number: earlier.get(number, now) for number in segments})
    _write(folder, made)
    return made


def take_back(folder: Path, checkpoint: Checkpoint) -> None:
    """The ledger is at this place: what lies behind it, it does not have, or no longer."""
    noted = acknowledged(folder)
    if noted.checkpoint != checkpoint and any(number >= checkpoint.segment for number in noted.since):
        since = {number: at for number, at in noted.since.items() if number < checkpoint.segment}
        _write(folder, Acknowledged(checkpoint, since))


def is_finished(folder: Path, known: Checkpoint | None) -> bool:
    """Whether a dead owner's spool is in the ledger to its end, for good: `known` is where the ledger has it to."""
    noted = acknowledged(folder)
    return noted.checkpoint == known and noted.since.keys() >= set(spool.segments_of(folder))


def forget(folder: Path, noted: Acknowledged, now: float, replay_seconds: float = spool.REPLAY_SECONDS) -> None:
    """Remove segments that are acknowledged and outside of the window, never the newest one.

    Oldest first: whoever is killed meanwhile leaves no hole behind.
    """
    *older, newest = spool.segments_of(folder) or [0]
    kept, gone = spool.size_of(folder, newest), []
    for number in reversed(older):
        kept += spool.size_of(folder, number)
        is_enough = kept > spool.REPLAY_BYTES or _is_past(noted, number, now, replay_seconds)
        if number in noted.since and is_enough:
            gone.append(number)
    for number in reversed(gone):
        spool.segment_path(folder, number).unlink(missing_ok=True)


def is_past(folder: Path, noted: Acknowledged, now: float, replay_seconds: float = spool.REPLAY_SECONDS) -> bool:
    """Whether all of a dead owner's spool is acknowledged and outside of the window."""
    return all(_is_past(noted, number, now, replay_seconds) for number in spool.segments_of(folder))


def _is_past(noted: Acknowledged, number: int, now: float, replay_seconds: float) -> bool:
    # A time that lies further ahead than the window is long was another clock's.
    return number in noted.since and not -replay_seconds <= now - noted.since[number] < replay_seconds


def _write(folder: Path, noted: Acknowledged) -> None:
    """A disk that refuses it is no fault: the window begins again with the next look."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(OSError), os.fdopen(os.open(folder / _NOTE, flags, 0o600), "wb") as file:
        file.write(msgspec.json.encode(noted))
