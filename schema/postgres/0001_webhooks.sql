-- +goose Up

-- Webhooks and what they subscribe to. Secrets and custom headers are sealed by
-- the services (AES-256-GCM) before they get here; PostgreSQL never sees a key.
CREATE TABLE webhooks (
    id                 uuid PRIMARY KEY,
    tenant_id          text        NOT NULL CHECK (length(tenant_id) BETWEEN 1 AND 64),
    name               text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    description        text        NOT NULL DEFAULT '',
    url                text        NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    events             text[]      NOT NULL,
    patterns           text[]      NOT NULL,
    headers_sealed     text,
    -- Parallel arrays, the current secret first; it never expires ('infinity').
    secrets_sealed     text[]      NOT NULL,
    secrets_expire_at  timestamptz[] NOT NULL,
    status             text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled')),
    status_reason      text        NOT NULL DEFAULT '',
    max_attempts       smallint    NOT NULL CHECK (max_attempts BETWEEN 1 AND 20),
    timeout_ms         integer     NOT NULL CHECK (timeout_ms BETWEEN 500 AND 30000),
    initial_backoff_ms integer     NOT NULL CHECK (initial_backoff_ms BETWEEN 10 AND 43200000),
    api_version        text        NOT NULL,
    created_by         text        NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    -- Deleted webhooks stay until their last delivery has left the log.
    deleted_at         timestamptz,
    CHECK (cardinality(events) + cardinality(patterns) > 0),
    CHECK (cardinality(secrets_sealed) = cardinality(secrets_expire_at)),
    CHECK (cardinality(secrets_sealed) BETWEEN 1 AND 10),
    CHECK (secrets_expire_at[1] = 'infinity'),
    CHECK (status <> 'active' OR status_reason = '')
);
CREATE INDEX webhooks_by_tenant ON webhooks (tenant_id, id) WHERE deleted_at IS NULL;

-- One row per pattern of a live webhook. Accepting an event looks up the few
-- patterns that can match its type, inside the accepting statement.
CREATE TABLE subscriptions (
    tenant_id  text NOT NULL,
    pattern    text NOT NULL,
    webhook_id uuid NOT NULL REFERENCES webhooks (id),
    PRIMARY KEY (tenant_id, pattern, webhook_id)
);
CREATE INDEX subscriptions_by_webhook ON subscriptions (webhook_id);

-- One row per webhook: how much of its window is taken and how much waits.
-- Whoever changes pending_deliveries.admitted, or adds or removes rows there,
-- holds this row's lock first (ordered by webhook_id) and keeps the counts.
CREATE TABLE lanes (
    webhook_id uuid PRIMARY KEY REFERENCES webhooks (id),
    tenant_id  text    NOT NULL,
    open       boolean NOT NULL DEFAULT true,   -- false: paused, disabled or deleted
    deleted    boolean NOT NULL DEFAULT false,
    admitted   integer NOT NULL DEFAULT 0,      -- pending event deliveries that hold a slot
    queued     bigint  NOT NULL DEFAULT 0,      -- pending event deliveries that do not
    -- The receiver wants no requests until then (Retry-After), or at all ('infinity': 410).
    quiet_until timestamptz,
    -- Successes since it asked for that, while its window opens again step by step.
    eased       integer,
    -- Failed attempts with no success since: the first, the last, and how many
    -- deliveries had one.
    failing_since timestamptz,
    failed_at     timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    -- When webhook.failing was sent; webhook.recovered is due then.
    told_at       timestamptz,
    CHECK (NOT (open AND deleted)),
    CHECK ((failing_since IS NULL) = (failed_at IS NULL)),
    CHECK ((failing_since IS NULL) = (failures = 0))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
-- Every claim asks whether its lane is closed or quiet: of an index that is nearly empty.
CREATE INDEX lanes_shut ON lanes (webhook_id) WHERE quiet_until IS NOT NULL OR NOT open;

CREATE TABLE idempotency_keys (
    tenant_id  text        NOT NULL,
    key        text        NOT NULL,
    body_hash  bytea       NOT NULL CHECK (length(body_hash) = 32),
    event_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys, lanes, subscriptions, webhooks;
