-- The processes that used the most CPU time between their first and last sample of the last hour, by their own counters: a message
-- that was lost changes nothing.
SELECT host, argMax(name, time) AS last_name, pid, (max(cpu_ns) - min(cpu_ns)) / 1e9 AS cpu_seconds, max(rss_bytes) AS most_rss_bytes
FROM appmon_processes
WHERE time > (SELECT max(time) FROM appmon_processes) - INTERVAL 1 HOUR
GROUP BY host, stream, boot_id, pid, start_ticks
ORDER BY cpu_seconds DESC, pid
LIMIT 20;

-- Groups by minute: cores on average and at most, and memory.
SELECT toStartOfMinute(time) AS minute, host, by, key, avg(cores) AS mean_cores, max(cores) AS most_cores, max(rss_bytes) AS most_rss_bytes
FROM appmon_groups FINAL
GROUP BY minute, host, by, key
ORDER BY minute, host, by, mean_cores DESC, key;
