"""Keeping house in the ledger: checked, pruned, forgotten, copied."""
