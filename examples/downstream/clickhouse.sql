-- Rows in ClickHouse from the JSON messages of `.forward(…)`: processes and groups, with rates where the stream has them.
-- Each message is one row of appmon_messages, which keeps nothing: the views below make rows of its samples.

CREATE TABLE appmon_messages (message String) ENGINE = Null;

-- A message that comes twice makes the same rows twice; they become one when parts are merged, and by FINAL in a query.
CREATE TABLE appmon_processes
(
    time DateTime64(9, 'UTC'),
    host LowCardinality(String),
    stream LowCardinality(String),
    boot_id UUID,
    pid UInt32,
    start_ticks UInt64,
    name LowCardinality(String),
    uid UInt32,
    cgroup LowCardinality(String),
    threads UInt64,
    cpu_ns UInt64,
    rss_bytes UInt64,
    -- NULL where they may not be read.
    read_bytes Nullable(UInt64),
    write_bytes Nullable(UInt64),
    -- Since the tick before; NULL in the first sample of a process, and without `.rates()`.
    cores Nullable(Float64),
    read_bytes_per_second Nullable(Float64),
    write_bytes_per_second Nullable(Float64)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (host, stream, time, boot_id, pid, start_ticks);

CREATE TABLE appmon_groups
(
    time DateTime64(9, 'UTC'),
    host LowCardinality(String),
    stream LowCardinality(String),
    boot_id UUID,
    -- What the groups are made by, as `by("service")` names it.
    by LowCardinality(String),
    -- NULL for all that found no room under `max_groups`.
    key Nullable(String),
    alive UInt64,
    threads UInt64,
    cpu_ns UInt64,
    rss_bytes UInt64,
    read_bytes Nullable(UInt64),
    write_bytes Nullable(UInt64),
    cores Nullable(Float64),
    read_bytes_per_second Nullable(Float64),
    write_bytes_per_second Nullable(Float64)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (host, stream, time, boot_id, by, key)
SETTINGS allow_nullable_key = 1;

-- Messages with a `delta` have only what changed, and mean nothing by themselves: send whole snapshots here.
CREATE MATERIALIZED VIEW appmon_processes_view TO appmon_processes AS
SELECT
    parseDateTime64BestEffort(JSONExtractString(message, 'time'), 9, 'UTC') AS time,
    JSONExtractString(message, 'host') AS host,
    JSONExtractString(message, 'stream') AS stream,
    toUUID(JSONExtractString(message, 'boot_id')) AS boot_id,
    JSONExtract(sample, 'id', 'pid', 'UInt32') AS pid,
    JSONExtract(sample, 'id', 'start_ticks', 'UInt64') AS start_ticks,
    -- A name that is no UTF-8 is {"bytes":[…]}.
    JSONExtract(sample, 'info', 'name', 'String') AS name,
    JSONExtract(sample, 'info', 'uid', 'UInt32') AS uid,
    JSONExtractString(sample, 'info', 'cgroup') AS cgroup,
    JSONExtract(sample, 'threads', 'UInt64') AS threads,
    JSONExtract(sample, 'cpu', 'total_ns', 'UInt64') AS cpu_ns,
    JSONExtract(sample, 'memory', 'rss_bytes', 'UInt64') AS rss_bytes,
    JSONExtract(sample, 'io', 'read_bytes', 'Nullable(UInt64)') AS read_bytes,
    JSONExtract(sample, 'io', 'write_bytes', 'Nullable(UInt64)') AS write_bytes,
    JSONExtract(sample, 'rates', 'cpu', 'cores', 'Nullable(Float64)') AS cores,
    JSONExtract(sample, 'rates', 'io', 'read_bytes', 'Nullable(Float64)') AS read_bytes_per_second,
    JSONExtract(sample, 'rates', 'io', 'write_bytes', 'Nullable(Float64)') AS write_bytes_per_second
FROM appmon_messages
ARRAY JOIN JSONExtractArrayRaw(message, 'samples') AS sample
WHERE JSONExtractUInt(message, 'schema') = 1 AND JSONExtractString(message, 'kind') = 'process' AND NOT JSONHas(message, 'delta');

CREATE MATERIALIZED VIEW appmon_groups_view TO appmon_groups AS
SELECT
    parseDateTime64BestEffort(JSONExtractString(message, 'time'), 9, 'UTC') AS time,
    JSONExtractString(message, 'host') AS host,
    JSONExtractString(message, 'stream') AS stream,
    toUUID(JSONExtractString(message, 'boot_id')) AS boot_id,
    JSONExtractString(sample, 'by') AS by,
    -- A key that is no string is its JSON.
    JSONExtract(sample, 'key', 'Nullable(String)') AS key,
    JSONExtract(sample, 'alive', 'UInt64') AS alive,
    JSONExtract(sample, 'threads', 'UInt64') AS threads,
    JSONExtract(sample, 'cpu', 'total_ns', 'UInt64') AS cpu_ns,
    JSONExtract(sample, 'memory', 'rss_bytes', 'UInt64') AS rss_bytes,
    JSONExtract(sample, 'io', 'read_bytes', 'Nullable(UInt64)') AS read_bytes,
    JSONExtract(sample, 'io', 'write_bytes', 'Nullable(UInt64)') AS write_bytes,
    JSONExtract(sample, 'rates', 'cpu', 'cores', 'Nullable(Float64)') AS cores,
    JSONExtract(sample, 'rates', 'io', 'read_bytes', 'Nullable(Float64)') AS read_bytes_per_second,
    JSONExtract(sample, 'rates', 'io', 'write_bytes', 'Nullable(Float64)') AS write_bytes_per_second
FROM appmon_messages
ARRAY JOIN JSONExtractArrayRaw(message, 'samples') AS sample
WHERE JSONExtractUInt(message, 'schema') = 1 AND JSONExtractString(message, 'kind') = 'group' AND NOT JSONHas(message, 'delta');
