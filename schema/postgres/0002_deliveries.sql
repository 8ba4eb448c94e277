-- +goose Up

-- Ids are UUIDv7, so a range of ids is a range of time: events, deliveries and
-- attempts are partitioned by id, which keeps the primary key on the id alone
-- and lets retention drop whole partitions.

-- The smallest id of a millisecond.
CREATE FUNCTION uuid_floor(moment timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- The id of what an event owes a webhook; the same as webhook.DeliveryIDFor.
-- Being derived, it makes (event, webhook) unique across partitions.
CREATE FUNCTION delivery_id(event uuid, webhook uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT encode(
    set_byte(
        set_byte(
            substr(uuid_send(event), 1, 6) || substr(sha256(uuid_send(event) || uuid_send(webhook)), 1, 10),
            6, (get_byte(sha256(uuid_send(event) || uuid_send(webhook)), 0) & 15) | 112),
        8, (get_byte(sha256(uuid_send(event) || uuid_send(webhook)), 2) & 63) | 128),
    'hex')::uuid $$;

CREATE TABLE events (
    id          uuid NOT NULL PRIMARY KEY,
    tenant_id   text NOT NULL,
    type        text NOT NULL,
    -- The exact bytes that are signed and sent (I8); text, because json types
    -- may reformat and bytea doubles on the wire.
    body        text NOT NULL,
    traceparent text NOT NULL DEFAULT ''
) PARTITION BY RANGE (id);

CREATE TABLE deliveries (
    id               uuid     NOT NULL PRIMARY KEY,
    tenant_id        text     NOT NULL,
    webhook_id       uuid     NOT NULL,
    event_id         uuid     NOT NULL,
    event_type       text     NOT NULL,
    kind             text     NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'test')),
    status           text     NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'retrying', 'success', 'failed')),
    failure_reason   text     CHECK (failure_reason IN
        ('attempts_exhausted', 'receiver_gone', 'webhook_deleted', 'blocked_address', 'canceled')),
    attempt_count    smallint NOT NULL DEFAULT 0,
    max_attempts     smallint NOT NULL,
    next_attempt_at  timestamptz,
    response_status  smallint,
    last_error       text,
    last_duration_ms integer,
    completed_at     timestamptz,
    CHECK (attempt_count BETWEEN 0 AND max_attempts),
    CHECK ((failure_reason IS NOT NULL) = (status = 'failed')),
    CHECK ((completed_at IS NOT NULL) = (status IN ('success', 'failed'))),
    CHECK ((next_attempt_at IS NOT NULL) = (status IN ('pending', 'retrying'))),
    CHECK (status <> 'retrying' OR attempt_count > 0),
    CHECK (status <> 'success' OR attempt_count > 0)
) PARTITION BY RANGE (id);
-- No index holds a column that an attempt changes, so that recording one is a
-- HOT update.
CREATE INDEX deliveries_by_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_by_event ON deliveries (event_id);

CREATE TABLE attempts (
    delivery_id      uuid        NOT NULL,
    number           smallint    NOT NULL CHECK (number >= 1),
    started_at       timestamptz NOT NULL,
    duration_ms      integer     NOT NULL CHECK (duration_ms >= 0),
    response_status  smallint,
    error_class      text        CHECK (error_class IN ('TIMEOUT', 'CONNECT', 'DNS', 'TLS', 'BLOCKED_ADDRESS', 'STATUS', 'BODY')),
    error            text,
    request_headers  text        NOT NULL,  -- JSON [{"name":…,"value":…}], credentials masked
    response_headers text        NOT NULL,
    response_body    text,
    PRIMARY KEY (delivery_id, number),
    CHECK ((error IS NULL) = (error_class IS NULL))
) PARTITION BY RANGE (delivery_id);

-- A missing partition never fails an insert.
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- The unfinished deliveries: a row each, deleted when the delivery finishes.
-- Small, hot and unpartitioned, so that neither what is finished nor how long
-- it is kept costs the delivery path anything.
--
--   held    = not leased, lane closed; admitted is what was leased when that was done
--   waiting = not admitted, due later
--   parked  = not admitted, due
--   rung    = admitted, no live lease; not to be claimed while its lane is quiet or closed
--   leased  = admitted, lease_until in the future: some worker is sending it
CREATE TABLE pending_deliveries (
    delivery_id  uuid        NOT NULL PRIMARY KEY,
    webhook_id   uuid        NOT NULL,
    tenant_id    text        NOT NULL,
    event_id     uuid        NOT NULL,
    event_type   text        NOT NULL,
    kind         text        NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'test')),
    attempts     smallint    NOT NULL DEFAULT 0,
    budget       smallint    NOT NULL,           -- number of the last attempt it may make
    admitted     boolean     NOT NULL,
    due_at       timestamptz NOT NULL DEFAULT now(),
    rung_at      timestamptz NOT NULL DEFAULT now(),
    rings        smallint    NOT NULL DEFAULT 0, -- times the relay had to ring
    lease_until  timestamptz,
    lease_holder text,
    -- When the last attempt failed, and the one before: recording the next one
    -- learns from it whether the lane has counted this delivery.
    failed_at     timestamptz,
    failed_before timestamptz,
    CHECK (attempts >= 0 AND attempts < budget),
    CHECK ((lease_until IS NULL) = (lease_holder IS NULL)),
    CHECK (lease_until IS NULL OR admitted),
    CHECK (kind <> 'test' OR admitted)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
-- No index may know who is admitted or leased: those updates, one or two for each
-- delivery, then touch no index at all (heap-only tuples). Of a lane's rows the
-- admitted ones come first, or nearly: its counts say how many there are to find.
CREATE INDEX pending_of_lane ON pending_deliveries (webhook_id, due_at, delivery_id);
CREATE INDEX pending_tests ON pending_deliveries (delivery_id) WHERE kind = 'test';

-- A new id of an event of this moment: UUIDv7, as webhook.NewEventID makes it.
-- +goose StatementBegin
CREATE FUNCTION new_event_id() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS
$$
DECLARE
    random bytea := uuid_send(gen_random_uuid()); -- its variant is the right one
BEGIN
    RETURN encode(set_byte(substr(uuid_send(uuid_floor(now())), 1, 6) || substr(random, 7),
        6, (get_byte(random, 6) & 15) | 112), 'hex')::uuid;
END
$$;
-- +goose StatementEnd

-- What the platform has to say about webhooks: written by the statement or
-- transaction that makes it true, deleted by the one that makes an event of it
-- (of the same id). Only what somebody subscribed to gets here.
CREATE TABLE notices (
    id              uuid        NOT NULL PRIMARY KEY DEFAULT new_event_id(),
    tenant_id       text        NOT NULL,
    type            text        NOT NULL CHECK (type IN
        ('webhook.disabled', 'webhook.failing', 'webhook.recovered', 'delivery.exhausted')),
    webhook_id      uuid        NOT NULL,       -- whom it is about, and who does not get it
    at              timestamptz NOT NULL DEFAULT now(),
    reason          text        NOT NULL DEFAULT '',
    failing_since   timestamptz,
    failures        integer     NOT NULL DEFAULT 0,
    delivery_id     uuid,
    event_id        uuid,
    event_type      text,
    failure_reason  text,
    attempt_count   smallint,
    response_status smallint,
    last_error      text,
    CHECK ((delivery_id IS NOT NULL) = (type = 'delivery.exhausted'))
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
-- Tenants are told in turn.
CREATE INDEX notices_by_tenant ON notices (tenant_id, id);

-- Creates the partition of one UTC day; rows that already went to the default
-- partition move over, unless there are too many for others to wait for: then
-- the day stays in the default partition. Returns whether a table was made.
--
-- The default partition is locked before it is looked at, so that no row comes
-- in between, and is the only table on which this waits for others: call it in a
-- transaction of its own.
-- +goose StatementBegin
CREATE FUNCTION create_day_partition(parent text, day date) RETURNS boolean LANGUAGE plpgsql
    SET lock_timeout = '2s' AS
$$
DECLARE
    too_many constant integer := 10001;
    default_part text := parent || '_default';
    part text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    key  text := CASE parent WHEN 'attempts' THEN 'delivery_id' ELSE 'id' END;
    low  uuid := uuid_floor(day::timestamp AT TIME ZONE 'UTC');
    high uuid := uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
    strays integer;
BEGIN
    -- Counted twice: at first without anybody waiting, and then for good.
    FOR look IN 1..2 LOOP
        IF to_regclass(part) IS NOT NULL THEN
            RETURN false;
        END IF;
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE %I >= %L AND %I < %L LIMIT %s) AS few',
            default_part, key, low, key, high, too_many) INTO strays;
        IF strays = too_many THEN
            RETURN false;
        END IF;
        IF look = 1 THEN
            EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', default_part);
        END IF;
    END LOOP;
    -- A delivery is updated soon after it was inserted, and its neighbours with
    -- it: half a page must be free for that to touch no index.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = %s)',
        part, parent, CASE parent WHEN 'deliveries' THEN 50 ELSE 100 END);
    IF strays > 0 THEN
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            default_part, key, low, key, high, part);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
    RETURN true;
END
$$;
-- +goose StatementEnd

SELECT create_day_partition(parent, (now() AT TIME ZONE 'UTC')::date + n)
FROM unnest(ARRAY['events', 'deliveries', 'attempts']) AS parent, generate_series(0, 3) AS n;

-- +goose Down
DROP FUNCTION create_day_partition(text, date);
DROP TABLE notices, pending_deliveries, attempts, deliveries, events;
DROP FUNCTION new_event_id();
DROP FUNCTION delivery_id(uuid, uuid);
DROP FUNCTION uuid_floor(timestamptz);
