-- Composites of one level (section 8): run once a level, lowest first, so that a composite may read
-- another. A group is true if any member is; the composite if enough groups are. It is false only
-- if no completion of the unknown members could make it true: the rule only ever rises with its
-- members, so the two extreme completions settle it.

INSERT INTO state
WITH member AS (
    SELECT
        w.unit_id,
        w.outcome,
        w.window_name,
        c.at_least,
        c.group_index,
        s.is_closed,
        s.is_low,
        -- A component without time at risk tells no "no", whoever looked.
        s.is_high OR a.at_risk_us = 0 AS is_high,
        s.onset_at,
        s.onset_precision,
        s.onset_axis,
        s.grade,
        s.is_worsened,
        s.flags
    FROM unit_window AS w
    JOIN composite AS c ON c.outcome = w.outcome AND c.level = getvariable('composite_level')
    -- A component that is watched after more classes may have been merged into another unit's row.
    LEFT JOIN (FROM unit_window WHERE merged_into IS NOT NULL) AS m
      ON m.unit_id = w.unit_id AND m.outcome = c.component AND m.window_name = w.window_name
     AND w.merged_into IS NULL
    JOIN state AS s
      ON s.unit_id = coalesce(m.merged_into, w.unit_id) AND s.outcome = c.component
     AND s.window_name = w.window_name
    JOIN time_left AS a
      ON a.unit_id = s.unit_id AND a.outcome = s.outcome AND a.window_name = s.window_name
),
grouped AS (
    SELECT
        unit_id, outcome, window_name, at_least, group_index,
        bool_and(is_closed) AS is_closed,
        bool_or(is_low) AS is_low,
        bool_or(is_high) AS is_high,
        min(onset_at) FILTER (WHERE is_low) AS onset_at,
        arg_min(onset_precision, onset_at) FILTER (WHERE is_low) AS onset_precision,
        min(onset_axis) FILTER (WHERE is_low) AS onset_axis,
        max(grade) FILTER (WHERE is_low) AS grade,
        bool_or(is_worsened AND is_low) AS is_worsened
    FROM member
    GROUP BY unit_id, outcome, window_name, at_least, group_index
)
SELECT
    unit_id,
    outcome,
    window_name,
    bool_and(is_closed),
    count(*) FILTER (WHERE is_low) >= at_least AS is_true,
    count(*) FILTER (WHERE is_high) >= at_least,
    NULL,
    NULL,
    NULL,
    CASE WHEN is_true THEN min(onset_at) END,
    CASE WHEN is_true THEN arg_min(onset_precision, onset_at) END,
    CASE WHEN is_true THEN min(onset_axis) END,
    CASE WHEN is_true THEN max(grade) END,
    is_true AND bool_or(is_worsened),
    false,
    []
FROM grouped
GROUP BY unit_id, outcome, window_name, at_least;
