"""The ledger's database: schema, migrations, connections, statements. The only place that knows SQL."""
