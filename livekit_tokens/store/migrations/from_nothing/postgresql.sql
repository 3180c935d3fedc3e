CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE sources (
    id TEXT NOT NULL, 
    host TEXT NOT NULL, 
    pid BIGINT NOT NULL, 
    started_at BIGINT NOT NULL, 
    segment BIGINT NOT NULL, 
    byte_offset BIGINT NOT NULL, 
    seq BIGINT NOT NULL, 
    lost BIGINT DEFAULT '0' NOT NULL, 
    updated_at BIGINT NOT NULL, 
    PRIMARY KEY (id)
);

CREATE TABLE parts (
    key BYTEA NOT NULL, 
    source TEXT NOT NULL, 
    session_id TEXT NOT NULL, 
    room TEXT, 
    job TEXT, 
    agent_name TEXT, 
    user_id TEXT, 
    user_name TEXT, 
    tenant TEXT, 
    tags JSONB NOT NULL, 
    status TEXT NOT NULL, 
    started_at BIGINT NOT NULL, 
    ended_at BIGINT, 
    close_reason TEXT, 
    PRIMARY KEY (key)
);

CREATE INDEX parts_by_session ON parts (session_id);

CREATE INDEX parts_by_user ON parts (user_id, started_at);

CREATE INDEX parts_by_start ON parts (started_at);

CREATE TABLE stays (
    part BYTEA NOT NULL, 
    sid TEXT NOT NULL, 
    identity TEXT, 
    name TEXT, 
    joined_at BIGINT NOT NULL, 
    left_at BIGINT, 
    PRIMARY KEY (part, sid)
);

CREATE TABLE idempotency (
    digest BYTEA NOT NULL, 
    part BYTEA NOT NULL, 
    seq BIGINT NOT NULL, 
    PRIMARY KEY (digest)
);

CREATE TABLE records (
    part BYTEA NOT NULL, 
    seq BIGINT NOT NULL, 
    at BIGINT NOT NULL, 
    service TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    model TEXT NOT NULL, 
    operation TEXT NOT NULL, 
    agent TEXT NOT NULL, 
    feature TEXT NOT NULL, 
    provenance TEXT NOT NULL, 
    units JSONB NOT NULL, 
    informational JSONB, 
    low JSONB, 
    high JSONB, 
    success BOOLEAN NOT NULL, 
    error TEXT, 
    processing_ms BIGINT, 
    first_output_ms BIGINT, 
    request_id TEXT, 
    idempotency_key TEXT, 
    quality_score DOUBLE PRECISION, 
    safety_score DOUBLE PRECISION, 
    metadata JSONB, 
    input_cost BIGINT, 
    output_cost BIGINT, 
    PRIMARY KEY (part, seq, at)
);

CREATE INDEX records_by_time ON records (at);

CREATE TABLE sums (
    part BYTEA NOT NULL, 
    bucket BIGINT NOT NULL, 
    service TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    model TEXT NOT NULL, 
    operation TEXT NOT NULL, 
    agent TEXT NOT NULL, 
    feature TEXT NOT NULL, 
    provenance TEXT NOT NULL, 
    requests BIGINT NOT NULL, 
    failed_requests BIGINT NOT NULL, 
    unpriced_requests BIGINT NOT NULL, 
    input_text BIGINT NOT NULL, 
    input_audio BIGINT NOT NULL, 
    input_image BIGINT NOT NULL, 
    cached_input_text BIGINT NOT NULL, 
    cached_input_audio BIGINT NOT NULL, 
    cached_input_image BIGINT NOT NULL, 
    output_text BIGINT NOT NULL, 
    output_audio BIGINT NOT NULL, 
    output_reasoning BIGINT NOT NULL, 
    audio_ms BIGINT NOT NULL, 
    session_ms BIGINT NOT NULL, 
    characters BIGINT NOT NULL, 
    info_input_text BIGINT NOT NULL, 
    info_input_audio BIGINT NOT NULL, 
    info_input_image BIGINT NOT NULL, 
    info_cached_input_text BIGINT NOT NULL, 
    info_cached_input_audio BIGINT NOT NULL, 
    info_cached_input_image BIGINT NOT NULL, 
    info_output_text BIGINT NOT NULL, 
    info_output_audio BIGINT NOT NULL, 
    info_output_reasoning BIGINT NOT NULL, 
    input_cost BIGINT NOT NULL, 
    output_cost BIGINT NOT NULL, 
    first_at BIGINT NOT NULL, 
    PRIMARY KEY (part, bucket, service, provider, model, operation, agent, feature, provenance)
);

CREATE INDEX sums_by_time ON sums (bucket);

CREATE VIEW token_usage AS
SELECT
  replace(replace(p.session_id, '%', '%25'), '/', '%2F') || '/' || replace(replace(s.service, '%', '%25'), '/', '%2F') || '/' || replace(replace(s.model, '%', '%25'), '/', '%2F') AS id,
  p.session_id AS session_id,
  MIN(COALESCE(p.user_name, p.user_id)) AS user_name,
  s.service AS service_type,
  s.model AS model_name,
  CAST(SUM(s.input_text + s.info_input_text + s.input_audio + s.info_input_audio + s.input_image + s.info_input_image + s.cached_input_text + s.info_cached_input_text + s.cached_input_audio + s.info_cached_input_audio + s.cached_input_image + s.info_cached_input_image) AS BIGINT) AS input_tokens,
  CAST(SUM(s.output_text + s.info_output_text + s.output_audio + s.info_output_audio + s.output_reasoning + s.info_output_reasoning) AS BIGINT) AS output_tokens,
  CAST(SUM(s.input_text + s.info_input_text + s.input_audio + s.info_input_audio + s.input_image + s.info_input_image + s.cached_input_text + s.info_cached_input_text + s.cached_input_audio + s.info_cached_input_audio + s.cached_input_image + s.info_cached_input_image + s.output_text + s.info_output_text + s.output_audio + s.info_output_audio + s.output_reasoning + s.info_output_reasoning) AS BIGINT) AS total_tokens,
  to_char(to_timestamp(MIN(p.started_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS session_start,
  CASE WHEN MAX(CASE WHEN p.status = 'open' THEN 1 ELSE 0 END) = 0
    THEN to_char(to_timestamp(MAX(p.ended_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') END AS session_end,
  to_char(to_timestamp(MIN(s.first_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS created_at
FROM sums s JOIN parts p ON p.key = s.part
GROUP BY p.session_id, s.service, s.model;

CREATE VIEW api_usage AS
SELECT
  encode(r.part, 'hex') || '-' || CAST(r.seq AS TEXT) AS id,
  to_char(to_timestamp(r.at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS timestamp,
  r.model AS model,
  r.feature AS feature,
  COALESCE(CAST(r.units ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_image' AS BIGINT), 0) AS prompt_tokens,
  COALESCE(CAST(r.units ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_reasoning' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_reasoning' AS BIGINT), 0) AS completion_tokens,
  COALESCE(CAST(r.units ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_reasoning' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_reasoning' AS BIGINT), 0) AS total_tokens,
  (r.input_cost + r.output_cost) * 0.000000001 AS cost_usd,
  p.session_id AS session_id,
  COALESCE(CAST(r.metadata AS TEXT), '{}') AS metadata
FROM records r LEFT JOIN parts p ON p.key = r.part;

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

ALTER TABLE records ADD COLUMN price_note TEXT;

CREATE TABLE repricings (
    id TEXT NOT NULL, 
    at BIGINT NOT NULL, 
    since BIGINT NOT NULL, 
    until BIGINT NOT NULL, 
    provider TEXT, 
    model TEXT, 
    made_by TEXT NOT NULL, 
    reason TEXT, 
    records BIGINT NOT NULL, 
    changed BIGINT NOT NULL, 
    cost_before BIGINT NOT NULL, 
    cost_after BIGINT NOT NULL, 
    unpriced_before BIGINT NOT NULL, 
    unpriced_after BIGINT NOT NULL, 
    PRIMARY KEY (id)
);

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

CREATE TABLE prunings (
    id TEXT NOT NULL, 
    begun_at BIGINT NOT NULL, 
    ended_at BIGINT, 
    active_at BIGINT NOT NULL, 
    until BIGINT NOT NULL, 
    tenant TEXT, 
    daily BOOLEAN NOT NULL, 
    records BIGINT NOT NULL, 
    sums BIGINT, 
    PRIMARY KEY (id)
);

CREATE TABLE erasures (
    digest BYTEA NOT NULL, 
    at BIGINT NOT NULL, 
    PRIMARY KEY (digest)
);

CREATE TABLE erasure_keys (
    name TEXT NOT NULL, 
    value BYTEA NOT NULL, 
    PRIMARY KEY (name)
);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

CREATE TABLE late_figures (
    source TEXT NOT NULL, 
    seq BIGINT NOT NULL, 
    at BIGINT NOT NULL, 
    units JSONB NOT NULL, 
    PRIMARY KEY (source, seq)
);

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

CREATE INDEX parts_open ON parts (session_id) WHERE status = 'open';

DROP INDEX sums_by_time;

CREATE INDEX sums_by_time ON sums (bucket, part);

CREATE TABLE rolled_days (
    day BIGINT NOT NULL, 
    PRIMARY KEY (day)
);

CREATE TABLE day_sums (
    day BIGINT NOT NULL, 
    service TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    model TEXT NOT NULL, 
    operation TEXT NOT NULL, 
    agent TEXT NOT NULL, 
    feature TEXT NOT NULL, 
    provenance TEXT NOT NULL, 
    requests BIGINT NOT NULL, 
    failed_requests BIGINT NOT NULL, 
    unpriced_requests BIGINT NOT NULL, 
    input_text BIGINT NOT NULL, 
    input_audio BIGINT NOT NULL, 
    input_image BIGINT NOT NULL, 
    cached_input_text BIGINT NOT NULL, 
    cached_input_audio BIGINT NOT NULL, 
    cached_input_image BIGINT NOT NULL, 
    output_text BIGINT NOT NULL, 
    output_audio BIGINT NOT NULL, 
    output_reasoning BIGINT NOT NULL, 
    audio_ms BIGINT NOT NULL, 
    session_ms BIGINT NOT NULL, 
    characters BIGINT NOT NULL, 
    info_input_text BIGINT NOT NULL, 
    info_input_audio BIGINT NOT NULL, 
    info_input_image BIGINT NOT NULL, 
    info_cached_input_text BIGINT NOT NULL, 
    info_cached_input_audio BIGINT NOT NULL, 
    info_cached_input_image BIGINT NOT NULL, 
    info_output_text BIGINT NOT NULL, 
    info_output_audio BIGINT NOT NULL, 
    info_output_reasoning BIGINT NOT NULL, 
    input_cost BIGINT NOT NULL, 
    output_cost BIGINT NOT NULL, 
    sessions BYTEA NOT NULL, 
    PRIMARY KEY (day, service, provider, model, operation, agent, feature, provenance)
);

CREATE FUNCTION unroll_days_of_sums() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM rolled_days WHERE day IN (SELECT bucket - bucket % 86400000000 FROM changed); RETURN NULL; END $$;

CREATE FUNCTION unroll_days_of_part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM rolled_days WHERE day IN (SELECT bucket - bucket % 86400000000 FROM sums WHERE part = OLD.key); RETURN NULL; END $$;

CREATE TRIGGER sums_inserted AFTER INSERT ON sums REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION unroll_days_of_sums();

CREATE TRIGGER sums_updated AFTER UPDATE ON sums REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION unroll_days_of_sums();

CREATE TRIGGER sums_deleted AFTER DELETE ON sums REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION unroll_days_of_sums();

CREATE TRIGGER parts_moved AFTER UPDATE OF session_id ON parts FOR EACH ROW WHEN (OLD.session_id IS DISTINCT FROM NEW.session_id) EXECUTE FUNCTION unroll_days_of_part();

CREATE TRIGGER parts_deleted AFTER DELETE ON parts FOR EACH ROW EXECUTE FUNCTION unroll_days_of_part();

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

ALTER TABLE sums ADD COLUMN cache_write_text BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE sums ADD COLUMN info_cache_write_text BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE day_sums ADD COLUMN cache_write_text BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE day_sums ADD COLUMN info_cache_write_text BIGINT DEFAULT '0' NOT NULL;

CREATE OR REPLACE VIEW token_usage AS
SELECT
  replace(replace(p.session_id, '%', '%25'), '/', '%2F') || '/' || replace(replace(s.service, '%', '%25'), '/', '%2F') || '/' || replace(replace(s.model, '%', '%25'), '/', '%2F') AS id,
  p.session_id AS session_id,
  MIN(COALESCE(p.user_name, p.user_id)) AS user_name,
  s.service AS service_type,
  s.model AS model_name,
  CAST(SUM(s.input_text + s.info_input_text + s.input_audio + s.info_input_audio + s.input_image + s.info_input_image + s.cached_input_text + s.info_cached_input_text + s.cached_input_audio + s.info_cached_input_audio + s.cached_input_image + s.info_cached_input_image + s.cache_write_text + s.info_cache_write_text) AS BIGINT) AS input_tokens,
  CAST(SUM(s.output_text + s.info_output_text + s.output_audio + s.info_output_audio + s.output_reasoning + s.info_output_reasoning) AS BIGINT) AS output_tokens,
  CAST(SUM(s.input_text + s.info_input_text + s.input_audio + s.info_input_audio + s.input_image + s.info_input_image + s.cached_input_text + s.info_cached_input_text + s.cached_input_audio + s.info_cached_input_audio + s.cached_input_image + s.info_cached_input_image + s.cache_write_text + s.info_cache_write_text + s.output_text + s.info_output_text + s.output_audio + s.info_output_audio + s.output_reasoning + s.info_output_reasoning) AS BIGINT) AS total_tokens,
  to_char(to_timestamp(MIN(p.started_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS session_start,
  CASE WHEN MAX(CASE WHEN p.status = 'open' THEN 1 ELSE 0 END) = 0
    THEN to_char(to_timestamp(MAX(p.ended_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') END AS session_end,
  to_char(to_timestamp(MIN(s.first_at) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS created_at
FROM sums s JOIN parts p ON p.key = s.part
GROUP BY p.session_id, s.service, s.model;

CREATE OR REPLACE VIEW api_usage AS
SELECT
  encode(r.part, 'hex') || '-' || CAST(r.seq AS TEXT) AS id,
  to_char(to_timestamp(r.at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS timestamp,
  r.model AS model,
  r.feature AS feature,
  COALESCE(CAST(r.units ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cache_write_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cache_write_text' AS BIGINT), 0) AS prompt_tokens,
  COALESCE(CAST(r.units ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_reasoning' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_reasoning' AS BIGINT), 0) AS completion_tokens,
  COALESCE(CAST(r.units ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cached_input_image' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'cache_write_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'cache_write_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_text' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_audio' AS BIGINT), 0) + COALESCE(CAST(r.units ->> 'output_reasoning' AS BIGINT), 0) + COALESCE(CAST(r.informational ->> 'output_reasoning' AS BIGINT), 0) AS total_tokens,
  (r.input_cost + r.output_cost) * 0.000000001 AS cost_usd,
  p.session_id AS session_id,
  COALESCE(CAST(r.metadata AS TEXT), '{}') AS metadata
FROM records r LEFT JOIN parts p ON p.key = r.part;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

ALTER TABLE idempotency ADD COLUMN since BIGINT;

ALTER TABLE idempotency ADD COLUMN until BIGINT;

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

ALTER TABLE rolled_days ADD COLUMN taken_by BIGINT;

ALTER TABLE rolled_days ADD COLUMN taken_at BIGINT;

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';
