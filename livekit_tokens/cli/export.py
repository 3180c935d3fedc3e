"""`livekit-tokens export`: the usage records as a sheet or as daily log files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.scope import Asked, Within, ask, scoped
from livekit_tokens.domain.errors import BadSetting

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Reports


@scoped
def export(
    asked: Asked,
    *,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="A sheet; NAME.csv.gz compresses, - is stdout.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option("--jsonl", metavar="DIR", help="A file for each UTC day in this folder; - is stdout."),
    ] = None,
    gz: Annotated[bool, typer.Option("--gz", help="With --jsonl DIR: compress the files.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over files that are there already.")] = False,
) -> None:
    """Write the usage records of a period, oldest first, as CSV or as daily JSONL files."""
    if (csv is None) == (jsonl is None):
        raise BadSetting("export needs --csv FILE or --jsonl DIR, one of them")
    if gz and jsonl is None:
        raise BadSetting("--gz goes with --jsonl DIR; a CSV file is compressed by its name: FILE.csv.gz")
    from livekit_tokens.cli import exporting  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.files import STDOUT  # noqa: PLC0415
    from livekit_tokens.cli.outcome import leaving, warn  # noqa: PLC0415

    if csv is not None:
        target = exporting.sheet(csv, replace=replace)
    elif jsonl == STDOUT:
        target = exporting.lines()
    else:
        _check_is_free(jsonl or Path())
        target = exporting.daily_files(jsonl or Path(), ".jsonl.gz" if gz else ".jsonl", replace=replace)

    async def question(reports: Reports, about: Within) -> int:
        span = (about.since, about.until)
        many = (await reports.report(*span, by=["service"], **asked.filters)).totals.requests
        return await exporting.write(reports.records(*span, **asked.filters), target, many)

    with leaving(lambda: _left(csv, jsonl)):
        written, _ = ask(asked, question, shown=True)
    warn(f"{written:,} records written")


def _left(csv: Path | None, jsonl: Path | None) -> str:
    from livekit_tokens.cli.files import STDOUT  # noqa: PLC0415

    if STDOUT in (csv, jsonl):
        return "what is written ends in the middle"
    return f"{csv} was not written" if csv else f"the days that were whole by then are in {jsonl}"


def _check_is_free(folder: Path) -> None:
    from livekit_tokens.settings import load_settings  # noqa: PLC0415 - pydantic takes its time

    if folder.absolute() == load_settings()[0].jsonl_dir:
        raise BadSetting(f"--jsonl {folder} is JSONL_DIR, where records are appended as they come; give another folder")
