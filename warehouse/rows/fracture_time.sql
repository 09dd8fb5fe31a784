-- Fractures and time at risk before and after the first unit in record: one row per patient treated.
--
-- Dates are half-open: before is [record's start, index - left out), after is [index + left out,
-- end of follow-up). Codes that follow each other closely are one fracture, dated by the first.
-- Parameters: concepts, gap_days, left_before, left_after, through (local date up to which diagnoses
-- are complete, itself not; null where nobody says).

WITH told AS (
    SELECT DISTINCT e.patient_key, utc_to_local(e.occurred_at, e.zone)::DATE AS day
    FROM current."DiagnosisRecorded" AS e
    SEMI JOIN temp.first_unit AS f ON f.patient_key = e.patient_key
    SEMI JOIN temp.effect_code AS c
      ON list_contains($concepts, c.concept) AND c.event_type = 'DiagnosisRecorded'
     AND is_listed(c.code, c.code_system, c.match, e.code, e.code_system)
    WHERE e.time_precision IN ('instant', 'day')
),
fracture AS (
    SELECT patient_key, day
    FROM told
    QUALIFY coalesce(
        day - lag(day) OVER (PARTITION BY patient_key ORDER BY day) > $gap_days::INTEGER, true
    )
),
span AS (
    SELECT
        *,
        index_date - $left_before::INTEGER AS before_until,
        index_date + $left_after::INTEGER AS after_from,
        least(followed_until, $through::DATE) AS after_until,
    FROM temp.first_unit
)
SELECT
    s.site_id,
    s.patient_key,
    any_value(s.drug) AS drug,
    any_value(s.indication_type) AS indication_type,
    any_value(greatest(0, s.before_until - s.record_from)) AS days_before,
    any_value(CASE WHEN $through::DATE IS NULL THEN 0
        ELSE greatest(0, s.after_until - s.after_from) END) AS days_after,
    count(*) FILTER (WHERE f.day >= s.record_from AND f.day < s.before_until) AS n_before,
    count(*) FILTER (WHERE f.day >= s.after_from AND f.day < s.after_until
        AND $through::DATE IS NOT NULL) AS n_after
FROM span AS s
LEFT JOIN fracture AS f ON f.patient_key = s.patient_key
GROUP BY s.site_id, s.patient_key
ORDER BY s.patient_key
