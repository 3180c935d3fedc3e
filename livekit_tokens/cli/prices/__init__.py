"""`livekit-tokens prices`: what is known of prices, and what is not."""

from __future__ import annotations

import typer

from livekit_tokens.cli.prices.comparing import check, diff
from livekit_tokens.cli.prices.listing import list_prices, show
from livekit_tokens.cli.prices.missing import missing
from livekit_tokens.cli.prices.repricing import reprice

app = typer.Typer(
    help="What models cost: published prices, your own (PRICES_FILE), and what they make of the ledger.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_prices)
app.command()(show)
app.command()(diff)
app.command()(check)
app.command()(missing)
app.command()(reprice)
