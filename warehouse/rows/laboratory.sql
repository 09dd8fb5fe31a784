-- Quantiles over patients of what was measured on each day around eligible units.
--
-- Parameters: study, concepts. Tables: temp.effect_code (the study's codes), temp.analyte_unit.

WITH unit AS (
    SELECT site_id, patient_key, unit_id, started_at, index_date
    FROM linkage.course
    WHERE study_id = $study AND is_eligible
),
result AS (
    SELECT
        e.record_key,
        e.source_part,
        e.patient_key,
        c.concept,
        a.canonical_unit AS unit,
        e.value * a.factor + a.added AS value,
        e.occurred_at,
        e.time_precision,
        utc_to_local(e.occurred_at, e.zone)::DATE AS local_date
    FROM current."LabResulted" AS e
    JOIN temp.effect_code AS c
      ON c.event_type = 'LabResulted'
     AND list_contains($concepts, c.concept)
     AND is_listed(c.code, c.code_system, c.match, e.code, e.code_system)
    JOIN temp.analyte_unit AS a ON a.concept = c.concept AND a.unit = e.unit
    WHERE e.time_precision IN ('instant', 'day')
      AND e.value IS NOT NULL
      AND coalesce(e.status, 'final') NOT IN ('cancelled', 'entered-in-error', 'registered', 'unknown')
      AND coalesce(e.specimen_quality, 'acceptable') = 'acceptable'
),
near AS (
    SELECT
        r.*,
        u.site_id,
        u.unit_id,
        CASE r.time_precision
            WHEN 'instant' THEN
                floor((epoch_us(r.occurred_at) - epoch_us(u.started_at)) / 86400e6)::BIGINT
            -- Whether it was before or after the infusion of its day is not known.
            ELSE nullif(r.local_date - u.index_date, 0)
        END AS day
    FROM result AS r
    JOIN unit AS u USING (patient_key)
),
placed AS (
    SELECT *
    FROM near
    WHERE day BETWEEN -14 AND 13
    QUALIFY row_number() OVER (
        PARTITION BY record_key, source_part, concept ORDER BY day < 0, abs(day), unit_id
    ) = 1
),
per_patient AS (
    SELECT site_id, concept, unit, day, patient_key, median(value) AS value, count(*) AS n
    FROM placed
    GROUP BY ALL
)
SELECT
    $study AS study_id,
    site_id,
    concept,
    unit,
    day,
    count(*) AS n_patients,
    sum(n)::BIGINT AS n_results,
    quantile_cont(value, 0.1) AS p10,
    quantile_cont(value, 0.25) AS p25,
    median(value) AS median,
    quantile_cont(value, 0.75) AS p75,
    quantile_cont(value, 0.9) AS p90
FROM per_patient
GROUP BY ALL
ORDER BY site_id, concept, day
