from tests.store.conftest import connection, ledger

__all__ = ["connection", "ledger"]
