-- Which records tell of one dose (docs/windows.md, section 2).
--
-- Records of a study drug by a studied route, in force. Administrations with a duration that
-- overlap, or follow within the bag gap, are one dose. Within one source point doses are one only
-- when they share time and order. Two sources tell the same doses: at one moment the first of one
-- source is the first of the other, and what one source tells as a point within the duration that
-- another tells is one with it. Orders and dispenses are doses of their own here; 02_evidence says
-- which of them an administration covers.

CREATE MACRO is_in_force(evidence, status) AS coalesce(
    CASE evidence
        WHEN 'ordered' THEN status IN ('active', 'on-hold', 'completed', 'stopped', 'unknown')
        WHEN 'dispensed' THEN status IN ('completed', 'stopped', 'in-progress', 'unknown')
        WHEN 'stated' THEN status IN (
            'active', 'on-hold', 'completed', 'stopped', 'in-progress', 'unknown'
        )
        ELSE status IN ('completed', 'stopped', 'in-progress')
    END,
    false
);

CREATE TABLE study_record AS
SELECT
    e.* EXCLUDE (told_end),
    e.occurred_at AS started_at,
    coalesce(e.told_end, e.occurred_at) AS closed_at,
    e.told_end IS NULL AS is_end_missing,
    coalesce(e.told_end > e.occurred_at, false) AS has_duration,
    is_in_force(e.evidence, e.status) AS is_in_force,
    CASE
        -- That somebody says it was taken makes no dose: a sign of earlier exposure (03_unit).
        WHEN e.evidence = 'stated' THEN 'evidence_not_counted'
        WHEN e.occurred_at IS NULL OR e.time_precision IS NULL
            OR e.time_precision NOT IN ('instant', 'day') THEN 'unplaceable'
        WHEN e.evidence IS NULL THEN 'evidence_not_counted'
        WHEN NOT is_in_force(e.evidence, e.status) THEN
            CASE e.evidence
                WHEN 'administered' THEN 'not_administered' ELSE 'not_in_force'
            END
        WHEN e.route IS NULL THEN 'route_unknown'
        WHEN NOT list_contains(e.routes, e.route) THEN 'route_not_studied'
        WHEN e.told_end < e.occurred_at THEN 'ends_before_start'
    END AS why_not
FROM (
    SELECT
        i.*,
        d.drug,
        d.drug_class,
        d.course_gap_us,
        s.routes,
        -- An order or a dispense lasts no time: its validity is no infusion.
        CASE WHEN i.evidence = 'administered' THEN i.ended_at END AS told_end
    FROM infusion_event AS i
    JOIN study_drug AS d USING (concept)
    CROSS JOIN setting AS s
    WHERE i.patient_key IS NOT NULL
) AS e;

CREATE TABLE lasting_record AS
WITH marked AS (
    SELECT
        *,
        coalesce(
            started_at > max(closed_at) OVER (
                PARTITION BY patient_key, drug ORDER BY started_at, closed_at, record_key
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) + to_microseconds((SELECT bag_gap_us FROM setting)),
            true
        ) AS is_new
    FROM study_record
    WHERE why_not IS NULL AND has_duration
)
SELECT
    * EXCLUDE (is_new),
    'run ' || sum(is_new::INTEGER) OVER (
        PARTITION BY patient_key, drug ORDER BY started_at, closed_at, record_key
        ROWS UNBOUNDED PRECEDING
    ) AS dose
FROM marked;

-- The nth point dose that a source tells of a moment, in the order of its keys.
CREATE TABLE point_record AS
WITH told AS (
    SELECT *, min(record_key) OVER (
        PARTITION BY patient_key, drug, evidence, started_at, time_precision, source,
            coalesce('order ' || order_key, 'record ' || record_key)
    ) AS first_key
    FROM study_record
    WHERE why_not IS NULL AND NOT has_duration
)
SELECT
    * EXCLUDE (first_key),
    concat_ws(' ', evidence, started_at, time_precision, dense_rank() OVER (
        PARTITION BY patient_key, drug, evidence, started_at, time_precision, source
        ORDER BY first_key
    )) AS dose
FROM told;

-- A point of one source within a duration of another; a source's own bolus beside its drip is not.
CREATE TABLE point_within AS
SELECT p.patient_key, p.drug, p.dose, any_value(r.dose) AS run
FROM (
    SELECT patient_key, drug, dose, started_at, list(DISTINCT source) AS sources
    FROM point_record
    WHERE evidence = 'administered' AND time_precision = 'instant'
    GROUP BY patient_key, drug, dose, started_at
) AS p
JOIN lasting_record AS r
  ON r.patient_key = p.patient_key AND r.drug = p.drug
 AND p.started_at BETWEEN r.started_at AND r.closed_at
GROUP BY p.patient_key, p.drug, p.dose
HAVING NOT bool_or(list_contains(p.sources, r.source));

-- Every record with the dose that it tells of, before restarts are joined (02_dose).
CREATE TABLE told_record AS
FROM lasting_record
UNION ALL BY NAME
SELECT p.* REPLACE (coalesce(w.run, p.dose) AS dose)
FROM point_record AS p
LEFT JOIN point_within AS w USING (patient_key, drug, dose);
