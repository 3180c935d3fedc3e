"""The command line `livekit-tokens`: which commands there are. Their bodies import what they need when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from livekit_tokens.cli.compare import compare
from livekit_tokens.cli.cost_analysis import cost_analysis
from livekit_tokens.cli.demo import demo
from livekit_tokens.cli.doctor import doctor
from livekit_tokens.cli.export import export
from livekit_tokens.cli.house.copies import backup, restore
from livekit_tokens.cli.house.db import app as db
from livekit_tokens.cli.house.erase import erase
from livekit_tokens.cli.house.importing import import_files
from livekit_tokens.cli.house.prune import prune
from livekit_tokens.cli.live import live
from livekit_tokens.cli.performance import performance
from livekit_tokens.cli.prices import app as prices
from livekit_tokens.cli.recover import recover
from livekit_tokens.cli.report import report
from livekit_tokens.cli.sessions import sessions
from livekit_tokens.cli.statement import statement
from livekit_tokens.cli.timeline import timeline
from livekit_tokens.cli.top import top
from livekit_tokens.cli.trend import trend

app = typer.Typer(
    help="The ledger of what LiveKit voice agents spend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from livekit_tokens import __version__  # noqa: PLC0415

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    _ = version


for command in (
    report,
    sessions,
    timeline,
    top,
    trend,
    compare,
    statement,
    performance,
    cost_analysis,
    live,
    export,
    doctor,
    recover,
    prune,
    erase,
    backup,
    restore,
    demo,
):
    app.command()(command)
app.add_typer(prices, name="prices")
app.command("import")(import_files)
app.add_typer(db, name="db")
