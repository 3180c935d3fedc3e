"""Files that a command writes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livekit_tokens.cli.outcome import Failed

STDOUT = Path("-")


@contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[io.BufferedWriter]:
    """A file under another name until it is whole; readable by its owner alone, as the ledger is.

    Raises Failed where it is there already, or cannot be written.
    """
    if path.exists() and not path.is_file():
        raise Failed(f"{path} is no file; give the name of one, or - for stdout")
    if path.exists() and not replace:
        raise Failed(f"{path} is there already; give another name, or --replace")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        part.replace(path)
    except OSError as fault:
        raise Failed(f"{path} cannot be written ({fault.strerror}); give another place") from fault
    finally:
        part.unlink(missing_ok=True)
