-- Counts that merge: one row per outcome, window, stratum and denominator (docs/windows.md, 10).
--
-- Patients never straddle buckets, so every column, patients and their squares included, is a sum.

CREATE TABLE unit_stratum AS
WITH one_way AS (
    UNPIVOT (
        SELECT
            unit_id,
            'all' AS "all",
            drug,
            indication_type,
            CASE WHEN ordinal_in_record = 1 THEN 'first' ELSE 'later' END AS ordinal,
            CASE is_naive WHEN true THEN 'yes' WHEN false THEN 'no' ELSE 'unknown' END AS naive,
            setting,
            age_band,
            sex,
            site_id AS site,
            evidence,
            CASE WHEN premedicated THEN 'yes' ELSE 'no' END AS premedicated,
            calendar_quarter
        FROM out_course
    )
    ON COLUMNS (* EXCLUDE unit_id)
    INTO NAME stratum VALUE stratum_value
)
SELECT unit_id, stratum, stratum_value
FROM one_way
SEMI JOIN stratum_wanted USING (stratum)
UNION ALL
SELECT a.unit_id, t.first || ' x ' || t.second, a.stratum_value || ' x ' || b.stratum_value
FROM two_way AS t
JOIN one_way AS a ON a.stratum = t.first
JOIN one_way AS b ON b.stratum = t.second AND b.unit_id = a.unit_id;

CREATE TABLE stratum_status AS
SELECT
    o.study_id,
    o.site_id,
    o.outcome,
    o.window_name,
    s.stratum,
    s.stratum_value,
    any_value(k.family) AS family,
    count(*) FILTER (WHERE counted) AS n_closed_units,
    count(*) FILTER (WHERE o.status IN ('open', 'open_event')) AS n_open,
    count(*) FILTER (WHERE o.status = 'open_event') AS n_open_event,
    count(*) FILTER (WHERE o.status = 'censored') AS n_censored,
    count(*) FILTER (WHERE o.status IN ('not_at_risk', 'superseded_same_day')) AS n_not_at_risk,
    count(*) FILTER (WHERE o.status IN ('ineligible', 'unplaceable')) AS n_ineligible,
    -- Null where the outcome has no such denominator.
    CASE WHEN any_value(k.family) = 'seen' THEN
        count(*) FILTER (WHERE known AND o.is_observed) END AS n_observed,
    CASE WHEN any_value(k.family) = 'lab' THEN
        count(*) FILTER (WHERE known AND o.is_tested) END AS n_tested,
    CASE WHEN any_value(k.family) = 'lab' THEN
        count(*) FILTER (WHERE known AND o.is_tested AND o.has_baseline)
    END AS n_tested_with_baseline,
    CASE WHEN any_value(k.family) = 'composite' THEN
        count(*) FILTER (WHERE known AND o.is_determined) END AS n_determined,
    count(*) AS n_rows
FROM (
    SELECT
        *,
        status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
            AS counted,
        status IN ('event', 'no_event', 'untested', 'unobserved', 'undetermined') AS known
    FROM out_unit_outcome
    WHERE is_published
) AS o
JOIN unit_stratum AS s USING (unit_id)
JOIN (
    SELECT outcome, CASE
        WHEN kind IN ('grade', 'threshold', 'ratio') THEN 'lab'
        WHEN kind = 'composite' THEN 'composite'
        ELSE 'seen'
    END AS family
    FROM study_outcome
) AS k USING (outcome)
GROUP BY o.study_id, o.site_id, o.outcome, o.window_name, s.stratum, s.stratum_value;

-- Which units a denominator holds. `complete` is the headline: censored units are left out of it,
-- and taken as non-events in `all`.
CREATE TABLE denominator_unit AS
SELECT
    site_id, unit_id, outcome, window_name, patient_key, status = 'event' AS is_event, person_us, d
FROM out_unit_outcome, unnest(list_filter(
    [
        'all',
        CASE WHEN status <> 'censored' THEN 'complete' END,
        CASE WHEN status <> 'censored' AND is_observed THEN 'observed' END,
        CASE WHEN status <> 'censored' AND is_tested THEN 'tested' END,
        CASE WHEN status <> 'censored' AND is_tested AND has_baseline THEN 'tested_with_baseline' END,
        CASE WHEN status <> 'censored' AND is_determined THEN 'determined' END
    ],
    lambda name: name IS NOT NULL
)) AS t(d)
WHERE is_published
  AND status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined');

-- A unit counts in some sixty cells of outcome, window and denominator, times a dozen strata: by their
-- numbers, for grouping by seven texts takes longer than all the rest of linkage.
CREATE TABLE denominator_cell AS
SELECT row_number() OVER ()::INTEGER AS cell, *
FROM (SELECT DISTINCT site_id, outcome, window_name, d AS denominator FROM denominator_unit);

CREATE TABLE stratum_number AS
SELECT row_number() OVER ()::INTEGER AS number, *
FROM (SELECT DISTINCT stratum, stratum_value FROM unit_stratum);

CREATE TABLE unit_number AS
SELECT
    unit_id,
    row_number() OVER ()::INTEGER AS unit,
    dense_rank() OVER (ORDER BY patient_key)::INTEGER AS patient
FROM out_course;

CREATE TABLE patient_cell AS
SELECT
    u.cell, s.number, u.patient,
    count(*) AS n,
    count(*) FILTER (WHERE u.is_event) AS e,
    sum(u.person_us)::BIGINT AS person_us
FROM (
    SELECT c.cell, i.unit, i.patient, u.is_event, u.person_us
    FROM denominator_unit AS u
    JOIN unit_number AS i USING (unit_id)
    JOIN denominator_cell AS c
      ON c.site_id = u.site_id AND c.outcome = u.outcome
     AND c.window_name = u.window_name AND c.denominator = u.d
) AS u
JOIN (
    SELECT i.unit, n.number
    FROM unit_stratum
    JOIN unit_number AS i USING (unit_id)
    JOIN stratum_number AS n USING (stratum, stratum_value)
) AS s USING (unit)
GROUP BY u.cell, s.number, u.patient;

CREATE TABLE stratum_moment AS
WITH summed AS (
    SELECT
        cell, number,
        sum(n)::BIGINT AS n_units,
        sum(e)::BIGINT AS n_events,
        count(*) AS n_patients,
        sum(e * e)::BIGINT AS sum_e2,
        sum(e * n)::BIGINT AS sum_en,
        sum(n * n)::BIGINT AS sum_n2,
        sum(person_us)::BIGINT AS person_us
    FROM patient_cell
    GROUP BY cell, number
)
SELECT c.* EXCLUDE (cell), n.* EXCLUDE (number), summed.* EXCLUDE (cell, number)
FROM summed
JOIN denominator_cell AS c USING (cell)
JOIN stratum_number AS n USING (number);

CREATE TABLE out_counts AS
SELECT
    t.study_id,
    t.site_id,
    t.outcome,
    t.window_name,
    t.stratum,
    t.stratum_value,
    d.denominator,
    coalesce(m.n_units, 0) AS n_units,
    coalesce(m.n_events, 0) AS n_events,
    coalesce(m.n_patients, 0) AS n_patients,
    coalesce(m.sum_e2, 0) AS sum_e2,
    coalesce(m.sum_en, 0) AS sum_en,
    coalesce(m.sum_n2, 0) AS sum_n2,
    coalesce(m.person_us, 0) AS person_us,
    t.n_closed_units,
    t.n_open,
    t.n_open_event,
    t.n_censored,
    t.n_not_at_risk,
    t.n_ineligible,
    t.n_observed,
    t.n_tested,
    t.n_tested_with_baseline,
    t.n_determined,
    t.n_rows
FROM stratum_status AS t
JOIN (
    VALUES
        ('all', 'complete'), ('all', 'all'),
        ('seen', 'observed'),
        ('lab', 'tested'), ('lab', 'tested_with_baseline'),
        ('composite', 'determined')
) AS d(family, denominator)
  ON d.family = 'all'
  OR d.family = t.family
LEFT JOIN stratum_moment AS m
  ON m.site_id = t.site_id
 AND m.outcome = t.outcome AND m.window_name = t.window_name AND m.denominator = d.denominator
 AND m.stratum = t.stratum AND m.stratum_value = t.stratum_value;
