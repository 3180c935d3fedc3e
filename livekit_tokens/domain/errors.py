"""Faults that a person can mend. Each message is one line: what was wrong, what was expected, what to do."""

from __future__ import annotations


class LiveKitTokensError(Exception):
    """Root of every error that livekit-tokens raises on purpose."""


class ImpossibleUsage(LiveKitTokensError, ValueError):
    """A provider's usage contradicts itself (a part larger than its whole, a negative or absurd count)."""


class BadSetting(LiveKitTokensError, ValueError):
    """A setting or an option has a value that cannot be used."""


class LedgerTooNew(LiveKitTokensError):
    """The database was written by a newer livekit-tokens; this one must not touch it."""


class LedgerUnavailable(LiveKitTokensError):
    """The database cannot be reached or read at the moment."""


class LedgerCrowded(LedgerUnavailable):
    """The database's server has no connection left."""


class NoLedger(LedgerUnavailable):
    """There is a database, or could be one, and no ledger in it yet."""


class LedgerConflict(LiveKitTokensError):
    """The ledger already holds a record of this batch although its checkpoint says that it does not.

    Nothing was written. Skipping the record would make the sums differ from the records; a person must look.
    """


class UnknownSession(LiveKitTokensError, LookupError):
    """No session of that id is in the ledger."""


class UnknownName(LiveKitTokensError, LookupError):
    """No session of that user or tenant is in the ledger."""
