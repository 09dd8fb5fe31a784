-- Bone density before and a year after the first unit in record: one row per patient treated.
--
-- Both scans must be of the same scale: height-adjusted where both are, else as they are. Of scans of
-- one day the later counts. Parameters: concept, baseline_days, follow_up_days, margin_days, through
-- (local date up to which scans are complete, itself not; null where nobody says).

WITH scan AS (
    SELECT
        e.patient_key,
        utc_to_local(e.occurred_at, e.zone)::DATE AS day,
        e.z_score,
        e.height_adjusted_z_score AS adjusted,
        e.occurred_at,
        -- Two sources may tell two things of one scan: never the order of arrival.
        e.content_hash
    FROM current."BoneDensityMeasured" AS e
    SEMI JOIN temp.effect_code AS c
      ON c.concept = $concept AND c.event_type = 'BoneDensityMeasured'
     AND is_listed(c.code, c.code_system, c.match, e.code, e.code_system)
    WHERE e.time_precision IN ('instant', 'day')
      AND coalesce(e.z_score, e.height_adjusted_z_score) IS NOT NULL
),
baseline AS (
    SELECT f.patient_key, s.z_score, s.adjusted
    FROM temp.first_unit AS f
    JOIN scan AS s
      ON s.patient_key = f.patient_key
     AND s.day BETWEEN f.index_date - $baseline_days::INTEGER AND f.index_date
    QUALIFY row_number() OVER (
        PARTITION BY f.patient_key ORDER BY s.day DESC, s.occurred_at DESC, s.content_hash DESC
    ) = 1
),
follow_up AS (
    SELECT f.patient_key, s.z_score, s.adjusted
    FROM temp.first_unit AS f
    JOIN scan AS s
      ON s.patient_key = f.patient_key
     AND abs(s.day - f.index_date - $follow_up_days::INTEGER) <= $margin_days::INTEGER
    QUALIFY row_number() OVER (
        PARTITION BY f.patient_key
        ORDER BY
            abs(s.day - f.index_date - $follow_up_days::INTEGER), s.day, s.occurred_at DESC,
            s.content_hash DESC
    ) = 1
)
SELECT
    f.site_id,
    f.patient_key,
    f.drug,
    f.indication_type,
    coalesce(b.adjusted + a.adjusted IS NOT NULL, false) AS is_adjusted,
    CASE WHEN is_adjusted THEN b.adjusted ELSE b.z_score END AS z_before,
    CASE WHEN is_adjusted THEN a.adjusted ELSE a.z_score END AS z_after,
    CASE
        -- A nearer scan may still come.
        WHEN coalesce(f.index_date + ($follow_up_days + $margin_days)::INTEGER >= $through, true)
            THEN 'open'
        WHEN b.patient_key IS NULL THEN 'no_before'
        WHEN a.patient_key IS NULL THEN 'no_after'
        WHEN z_before + z_after IS NULL THEN 'measure_switch'
        ELSE 'compared'
    END AS status
FROM temp.first_unit AS f
LEFT JOIN baseline AS b USING (patient_key)
LEFT JOIN follow_up AS a USING (patient_key)
ORDER BY f.patient_key
