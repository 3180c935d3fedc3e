"""Pure values and rules of the ledger. Standard library only; no clock, no randomness, no I/O."""
