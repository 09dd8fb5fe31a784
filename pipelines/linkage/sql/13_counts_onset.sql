-- When units leave the risk: by bin of time since the index, and why (signals.onset).
--
-- Only windows that begin with the infusion. How many are at risk in a bin is how many leave in it or
-- later. Two scales: `day`, local dates since the index date, of all units; `hour`, of units that are
-- placed by instants. An event without an hour, or without an onset, is in no bin of that scale.

CREATE TABLE out_counts_onset AS
WITH left_risk AS (
    SELECT
        o.unit_id,
        o.site_id,
        o.outcome,
        o.window_name,
        o.status = 'event' AS is_event,
        o.cut_reason,
        t.scale,
        -- Events without a time are counted in a bin before all others. Who has none leaves in the last
        -- hour, or on the last day, of which a part is at risk.
        CASE
            WHEN o.status <> 'event' THEN greatest(0, CASE t.scale
                WHEN 'day' THEN o.last_day
                ELSE (epoch_us(o.cut_at) - epoch_us(c.started_at) - 1) // 3600000000
            END)
            WHEN t.scale = 'day' AND o.onset_day IS NOT NULL THEN greatest(0, o.onset_day)
            WHEN t.scale = 'hour' AND o.onset_hours IS NOT NULL
                THEN greatest(0, floor(o.onset_hours)::BIGINT)
            ELSE -1
        END AS bin
    FROM out_unit_outcome AS o
    JOIN outcome_window AS w
      ON w.outcome = o.outcome AND w.window_name = o.window_name
     AND w.start_anchor = 'start' AND w.start_us = 0
    JOIN out_course AS c USING (unit_id)
    CROSS JOIN setting AS s
    JOIN (VALUES ('day'), ('hour')) AS t(scale)
      ON t.scale = 'day' OR (s.resolution = 'instant' AND NOT list_contains(o.flags, 'day_resolution'))
    WHERE o.is_published
      AND o.status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
)
SELECT
    any_value(setting.study_id) AS study_id,
    r.site_id,
    r.outcome,
    r.window_name,
    u.stratum,
    u.stratum_value,
    r.scale,
    r.bin,
    count(*) FILTER (WHERE r.is_event) AS n_events,
    count(*) FILTER (WHERE NOT r.is_event AND r.cut_reason = 'death') AS n_died,
    count(*) FILTER (WHERE NOT r.is_event AND r.cut_reason IN ('next_unit', 'observation_end'))
        AS n_censored,
    count(*) FILTER (WHERE NOT r.is_event AND r.cut_reason IS NULL) AS n_completed,
    count(*) AS n_left
FROM left_risk AS r
JOIN unit_stratum AS u ON u.unit_id = r.unit_id AND u.stratum IN ('all', 'drug', 'ordinal')
CROSS JOIN setting
GROUP BY r.site_id, r.outcome, r.window_name, u.stratum, u.stratum_value, r.scale, r.bin;
