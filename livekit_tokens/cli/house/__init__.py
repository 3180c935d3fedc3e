"""Keeping house on the command line: db, prune, erase, backup, restore, import."""
