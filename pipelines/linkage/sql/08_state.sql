-- What is known of each simple outcome in each window: happened, did not, or nobody looked.
--
-- `is_low` is the truth if everything unknown were false, `is_high` if everything unknown were
-- true; they differ where nobody looked. Composites need no more than these two (09_composite).

CREATE TABLE state (
    unit_id VARCHAR, outcome VARCHAR, window_name VARCHAR,
    is_closed BOOLEAN, is_low BOOLEAN, is_high BOOLEAN,
    is_observed BOOLEAN, is_tested BOOLEAN, has_baseline BOOLEAN,
    onset_at TIMESTAMP, onset_precision VARCHAR, onset_axis TIMESTAMP,
    grade INTEGER, is_worsened BOOLEAN, is_pre_existing BOOLEAN, flags VARCHAR[]
);

INSERT INTO state
WITH not_new AS (
    SELECT
        unit_id,
        outcome,
        window_name,
        bool_or(verdict = 'pre_existing') AS is_old,
        bool_or(verdict = 'in_clean_window') AS is_in_clean_window
    FROM episode_verdict
    GROUP BY unit_id, outcome, window_name
),
lab_pre_existing AS (
    SELECT b.unit_id, b.outcome, b.window_name
    FROM lab_baseline AS b
    WHERE b.kind = 'threshold' AND b.grade = 1
),
looked AS (
    SELECT
        w.unit_id,
        w.outcome,
        w.window_name,
        w.kind,
        w.is_closed,
        e.unit_id IS NOT NULL OR m.unit_id IS NOT NULL OR coalesce(l.is_hit, false) AS is_hit,
        CASE WHEN w.kind IN ('symptom', 'fever', 'vital_limit') THEN
            e.unit_id IS NOT NULL
            OR m.unit_id IS NOT NULL
            OR (s.unit_id IS NOT NULL AND NOT coalesce(r.no_limit, false))
        END AS is_observed,
        CASE WHEN w.kind IN ('grade', 'threshold', 'ratio') THEN l.unit_id IS NOT NULL END
            AS is_tested,
        CASE WHEN w.kind IN ('grade', 'threshold', 'ratio') THEN b.unit_id IS NOT NULL END
            AS has_baseline,
        coalesce(e.onset_at, l.onset_at) AS onset_at,
        coalesce(e.onset_axis, l.onset_axis) AS onset_axis,
        coalesce(e.onset_precision, l.onset_precision) AS onset_precision,
        -- With an event that has an onset, that one tells the grade.
        CASE WHEN e.unit_id IS NULL THEN coalesce(m.grade, l.grade) ELSE e.grade END AS grade,
        coalesce(e.is_worsened, false) AS is_worsened,
        coalesce(p.is_old, false) OR q.unit_id IS NOT NULL AS is_pre_existing,
        p.is_in_clean_window,
        l.value_flags,
        l.unit_id IS NOT NULL AND b.unit_id IS NULL AS no_baseline,
        r.no_limit,
        m.unit_id IS NOT NULL AS is_start_missing,
        coalesce(l.is_switch_graded, false) AS is_switch_graded
    FROM unit_window AS w
    LEFT JOIN episode_hit AS e USING (unit_id, outcome, window_name)
    LEFT JOIN undated_hit AS m USING (unit_id, outcome, window_name)
    LEFT JOIN rate_unit AS r USING (unit_id, outcome)
    LEFT JOIN lab_result AS l USING (unit_id, outcome, window_name)
    LEFT JOIN lab_baseline AS b USING (unit_id, outcome, window_name)
    LEFT JOIN not_new AS p USING (unit_id, outcome, window_name)
    LEFT JOIN lab_pre_existing AS q USING (unit_id, outcome, window_name)
    LEFT JOIN observed AS s USING (unit_id, observed_from, cut_at)
    WHERE w.kind <> 'composite'
)
SELECT
    unit_id,
    outcome,
    window_name,
    is_closed,
    is_hit,
    -- A grade that had only unlike results to be compared with is no known no.
    is_hit OR NOT coalesce(is_observed, is_tested) OR is_switch_graded,
    is_observed,
    is_tested,
    has_baseline,
    onset_at,
    onset_precision,
    onset_axis,
    grade,
    is_worsened,
    is_pre_existing,
    list_sort(list_distinct(list_concat(
        coalesce(value_flags, []),
        list_filter(
            [
                CASE WHEN no_baseline THEN 'no_baseline' END,
                CASE WHEN is_start_missing THEN 'missing_start' END,
                CASE WHEN is_in_clean_window AND NOT is_hit THEN 'in_clean_window' END,
                CASE WHEN no_limit THEN 'no_limit_for_age' END,
                CASE WHEN onset_precision = 'day' THEN 'imprecise' END,
                CASE WHEN kind = 'fever' AND grade = 3 THEN 'duration_unknown' END
            ],
            lambda flag: flag IS NOT NULL
        )
    )))
FROM looked;
