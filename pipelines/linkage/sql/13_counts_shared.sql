-- Who is on both sides of a comparison: sums of products over patients (signals.comparison).
--
-- A patient in several values of a stratum makes their risks hang together. `pair`: two values;
-- `rest`: a value and all the others together. Nobody is on both sides of most pairs: no row.

-- What each such patient has in each of the values, and in all of them.
CREATE TABLE shared_patient AS
SELECT
    p.cell,
    p.patient,
    s.number,
    s.stratum,
    s.stratum_value,
    s.has_pairs,
    s.has_rest,
    p.e,
    p.n,
    sum(p.e) OVER same AS all_e,
    sum(p.n) OVER same AS all_n,
    min(s.stratum_value) OVER same AS first_value
FROM patient_cell AS p
JOIN (
    SELECT
        *,
        w.first IS NULL AS has_rest,
        stratum = 'drug' OR w.first IN ('drug', 'ordinal') OR w.second IN ('drug', 'ordinal')
            AS has_pairs
    FROM stratum_number AS n
    LEFT JOIN two_way AS w ON w.first || ' x ' || w.second = n.stratum
    -- Nobody is at two sites; quarters are not compared with one another.
    WHERE stratum NOT IN ('all', 'site', 'calendar_quarter')
) AS s USING (number)
-- Only patients whose units have several values: of most strata they are few.
SEMI JOIN (
    SELECT i.patient, u.stratum
    FROM unit_stratum AS u
    JOIN unit_number AS i USING (unit_id)
    GROUP BY i.patient, u.stratum
    HAVING min(u.stratum_value) < max(u.stratum_value)
) AS several ON several.patient = p.patient AND several.stratum = s.stratum
WHERE s.has_rest OR s.has_pairs
WINDOW same AS (PARTITION BY p.cell, p.patient, s.stratum);

CREATE TABLE out_counts_shared AS
SELECT
    setting.study_id,
    c.site_id,
    c.outcome,
    c.window_name,
    s.stratum,
    s.stratum_value,
    s.contrast,
    s.other_value,
    c.denominator,
    s.* EXCLUDE (cell, stratum, stratum_value, contrast, other_value)
FROM (
    SELECT
        cell, stratum, stratum_value, 'rest' AS contrast, 'rest' AS other_value,
        count(*) AS n_patients,
        -- So that a patient of several values is counted once in all of them.
        count(*) FILTER (WHERE stratum_value > first_value) AS n_again,
        sum(e * (all_e - e))::BIGINT AS sum_ee,
        sum(e * (all_n - n))::BIGINT AS sum_en,
        sum(n * (all_e - e))::BIGINT AS sum_ne,
        sum(n * (all_n - n))::BIGINT AS sum_nn
    FROM shared_patient
    WHERE has_rest AND all_n > n
    GROUP BY cell, stratum, stratum_value
    UNION ALL
    SELECT
        a.cell, a.stratum, a.stratum_value, 'pair', b.stratum_value,
        count(*),
        0,
        sum(a.e * b.e)::BIGINT,
        sum(a.e * b.n)::BIGINT,
        sum(a.n * b.e)::BIGINT,
        sum(a.n * b.n)::BIGINT
    FROM shared_patient AS a
    JOIN shared_patient AS b
      ON b.cell = a.cell AND b.patient = a.patient AND b.stratum = a.stratum
     AND b.stratum_value > a.stratum_value
    WHERE a.has_pairs
    GROUP BY a.cell, a.stratum, a.stratum_value, b.stratum_value
) AS s
JOIN denominator_cell AS c USING (cell)
CROSS JOIN setting;
