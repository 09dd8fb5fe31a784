-- What one administration is (docs/windows.md, section 2).
--
-- Records of a study drug by a studied route, given and not merely planned. Records with a duration
-- that overlap, or follow within the bag gap, are one administration; point doses are one only when
-- they share time and order.

CREATE TABLE study_record AS
SELECT
    e.*,
    d.drug,
    d.drug_class,
    d.course_gap_us,
    e.occurred_at AS started_at,
    coalesce(e.ended_at, e.occurred_at) AS closed_at,
    e.ended_at IS NULL AS is_end_missing,
    coalesce(e.ended_at > e.occurred_at, false) AS has_duration,
    CASE
        WHEN e.occurred_at IS NULL OR e.time_precision NOT IN ('instant', 'day') THEN 'unplaceable'
        WHEN NOT list_contains(s.evidence, e.evidence) OR e.evidence IS NULL
            THEN 'evidence_not_counted'
        WHEN e.status IS NULL OR e.status NOT IN ('completed', 'stopped', 'in-progress')
            THEN 'not_administered'
        WHEN e.route IS NULL THEN 'route_unknown'
        WHEN NOT list_contains(s.routes, e.route) THEN 'route_not_studied'
        WHEN e.ended_at < e.occurred_at THEN 'ends_before_start'
    END AS why_not
FROM infusion_event AS e
JOIN study_drug AS d USING (concept)
CROSS JOIN setting AS s
WHERE e.patient_key IS NOT NULL;

CREATE TABLE record_group AS
WITH given AS (SELECT * FROM study_record WHERE why_not IS NULL),
durations AS (
    SELECT
        *,
        coalesce(
            started_at > max(closed_at) OVER (
                PARTITION BY patient_key, drug ORDER BY started_at, closed_at, record_key
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) + to_microseconds((SELECT bag_gap_us FROM setting)),
            true
        ) AS is_new
    FROM given
    WHERE has_duration
)
SELECT
    * EXCLUDE (is_new),
    'run ' || sum(is_new::INTEGER) OVER (
        PARTITION BY patient_key, drug ORDER BY started_at, closed_at, record_key
        ROWS UNBOUNDED PRECEDING
    ) AS group_name
FROM durations
UNION ALL BY NAME
SELECT
    *,
    CASE
        WHEN order_key IS NULL THEN 'point ' || record_key
        ELSE 'order ' || started_at || ' ' || order_key
    END AS group_name
FROM given
WHERE NOT has_duration;

CREATE TABLE administration AS
SELECT
    first(record_key ORDER BY started_at, record_key) AS infusion_key,
    list(record_key ORDER BY started_at, record_key) AS record_keys,
    first(site_id ORDER BY started_at, record_key) AS site_id,
    first(zone ORDER BY started_at, record_key) AS zone,
    patient_key,
    drug,
    any_value(drug_class) AS drug_class,
    any_value(course_gap_us) AS course_gap_us,
    min(started_at) AS started_at,
    max(closed_at) AS ended_at,
    bool_or(time_precision = 'day') AS is_day_precision,
    local_day_of(min(started_at), first(zone ORDER BY started_at, record_key)) AS first_day,
    local_day_of(max(closed_at), first(zone ORDER BY started_at, record_key)) AS last_day,
    bool_or(is_end_missing) AS is_end_missing,
    bool_or(status = 'in-progress' AND is_end_missing) AS is_running,
    CASE WHEN bool_or(status = 'stopped') THEN 'stopped' ELSE min(status) END AS status,
    min(evidence) AS evidence,
    min(route) AS route,
    -- Two records of one administration may be two bags or one dose told twice: no sum is safe.
    CASE WHEN count(*) = 1 THEN any_value(dose_value) END AS dose_value,
    CASE WHEN count(*) = 1 THEN any_value(dose_unit) END AS dose_unit,
    first(encounter_key ORDER BY started_at, record_key) AS encounter_key,
    count(*) AS n_records
FROM record_group
GROUP BY patient_key, drug, group_name;
