"""`python -m livekit_tokens`."""

from livekit_tokens.cli import main

main()
