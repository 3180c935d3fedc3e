"""Numbered revisions. Once released, a file here is never edited: what it made is in people's databases."""
