"""The ledger: sources, parts, stays, records, sums, idempotency, and the two views that users know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen here: the registry may grow, this revision may not.
INPUT = (
    "input_text",
    "input_audio",
    "input_image",
    "cached_input_text",
    "cached_input_audio",
    "cached_input_image",
)
OUTPUT = ("output_text", "output_audio", "output_reasoning")
OTHER = ("audio_ms", "session_ms", "characters")

Key = sa.LargeBinary(16)
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    _sources_and_parts()
    _records_and_sums()
    dialect = op.get_context().dialect.name
    op.execute(token_usage_view(dialect))
    op.execute(api_usage_view(dialect))


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")


def _sources_and_parts() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("byte_offset", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "parts",
        sa.Column("key", Key, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("room", sa.Text),
        sa.Column("job", sa.Text),
        sa.Column("agent_name", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("user_name", sa.Text),
        sa.Column("tenant", sa.Text),
        sa.Column("tags", Json, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("close_reason", sa.Text),
    )
    op.create_index("parts_by_session", "parts", ["session_id"])
    op.create_index("parts_by_user", "parts", ["user_id", "started_at"])
    op.create_index("parts_by_start", "parts", ["started_at"])
    op.create_table(
        "stays",
        sa.Column("part", Key, primary_key=True),
        sa.Column("sid", sa.Text, primary_key=True),
        sa.Column("identity", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("joined_at", sa.BigInteger, nullable=False),
        sa.Column("left_at", sa.BigInteger),
    )
    op.create_table(
        "idempotency",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("part", Key, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _records_and_sums() -> None:
    op.create_table(
        "records",
        sa.Column("part", Key, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        *_labels(),
        sa.Column("units", Json, nullable=False),
        sa.Column("informational", Json),
        sa.Column("low", Json),
        sa.Column("high", Json),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("processing_ms", sa.BigInteger),
        sa.Column("first_output_ms", sa.BigInteger),
        sa.Column("request_id", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("quality_score", sa.Double),
        sa.Column("safety_score", sa.Double),
        sa.Column("metadata", Json),
        sa.Column("input_cost", sa.BigInteger),
        sa.Column("output_cost", sa.BigInteger),
        sa.PrimaryKeyConstraint("part", "seq", "at"),
    )
    op.create_index("records_by_time", "records", ["at"])
    amounts = ["requests", "failed_requests", "unpriced_requests", *INPUT, *OUTPUT, *OTHER]
    amounts += [f"info_{unit}" for unit in (*INPUT, *OUTPUT)]
    amounts += ["input_cost", "output_cost", "first_at"]
    op.create_table(
        "sums",
        sa.Column("part", Key, nullable=False),
        sa.Column("bucket", sa.BigInteger, nullable=False),
        *_labels(),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in amounts),
        sa.PrimaryKeyConstraint(
            "part", "bucket", "service", "provider", "model", "operation", "agent", "feature", "provenance"
        ),
    )
    op.create_index("sums_by_time", "sums", ["bucket"])


def _labels() -> list[sa.Column[str]]:
    names = ("service", "provider", "model", "operation", "agent", "feature", "provenance")
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def token_usage_view(dialect: str, input_units: tuple[str, ...] = INPUT) -> str:
    """One row per session, service and model, from the sums: it stays when records are pruned."""
    tokens_in = " + ".join(f"s.{unit} + s.info_{unit}" for unit in input_units)
    tokens_out = " + ".join(f"s.{unit} + s.info_{unit}" for unit in OUTPUT)
    # A slash inside a name is escaped, so that two different rows can never read the same.
    names = (_escaped(column) for column in ("p.session_id", "s.service", "s.model"))
    return f"""
CREATE VIEW token_usage AS
SELECT
  {" || '/' || ".join(names)} AS id,
  p.session_id AS session_id,
  MIN(COALESCE(p.user_name, p.user_id)) AS user_name,
  s.service AS service_type,
  s.model AS model_name,
  CAST(SUM({tokens_in}) AS BIGINT) AS input_tokens,
  CAST(SUM({tokens_out}) AS BIGINT) AS output_tokens,
  CAST(SUM({tokens_in} + {tokens_out}) AS BIGINT) AS total_tokens,
  {_utc(dialect, "MIN(p.started_at)")} AS session_start,
  CASE WHEN MAX(CASE WHEN p.status = 'open' THEN 1 ELSE 0 END) = 0
    THEN {_utc(dialect, "MAX(p.ended_at)")} END AS session_end,
  {_utc(dialect, "MIN(s.first_at)")} AS created_at
FROM sums s JOIN parts p ON p.key = s.part
GROUP BY p.session_id, s.service, s.model
"""  # noqa: S608 - names of this file only


def api_usage_view(dialect: str, input_units: tuple[str, ...] = INPUT) -> str:
    """One row per usage record."""
    tokens_in, tokens_out = (
        " + ".join(_unit(dialect, column, unit) for unit in units for column in ("units", "informational"))
        for units in (input_units, OUTPUT)
    )
    key = "encode(r.part, 'hex')" if dialect == "postgresql" else "lower(hex(r.part))"
    cost = (
        "(r.input_cost + r.output_cost) * 0.000000001"
        if dialect == "postgresql"
        else "(r.input_cost + r.output_cost) / 1e9"
    )
    return f"""
CREATE VIEW api_usage AS
SELECT
  {key} || '-' || CAST(r.seq AS TEXT) AS id,
  {_utc(dialect, "r.at")} AS timestamp,
  r.model AS model,
  r.feature AS feature,
  {tokens_in} AS prompt_tokens,
  {tokens_out} AS completion_tokens,
  {tokens_in} + {tokens_out} AS total_tokens,
  {cost} AS cost_usd,
  p.session_id AS session_id,
  COALESCE(CAST(r.metadata AS TEXT), '{{}}') AS metadata
FROM records r LEFT JOIN parts p ON p.key = r.part
"""  # noqa: S608 - names of this file only


def _utc(dialect: str, micros: str) -> str:
    """`YYYY-MM-DD HH:MM:SS`; the division of integers drops the fraction, rounding would show the future."""
    if dialect == "postgresql":
        return f"to_char(to_timestamp({micros} / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    return f"strftime('%Y-%m-%d %H:%M:%S', {micros} / 1000000, 'unixepoch')"


def _unit(dialect: str, column: str, unit: str) -> str:
    if dialect == "postgresql":
        return f"COALESCE(CAST(r.{column} ->> '{unit}' AS BIGINT), 0)"
    return f"COALESCE(json_extract(r.{column}, '$.{unit}'), 0)"


def _escaped(column: str) -> str:
    return f"replace(replace({column}, '%', '%25'), '/', '%2F')"
